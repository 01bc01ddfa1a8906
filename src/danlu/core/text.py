"""Text for people: suggestions for misspelt names, and message templates that a page can translate.

A run writes its messages in English and keeps key and figures beside them; a report looks up the same key in the
templates of another language (key -> `{rows:,} of {all:,} rows …`).
"""

import difflib
import re
import string
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

# Control characters but line breaks and tabs, of both halves of Latin-1, and what turns the direction of a line.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
NEAREST = re.compile(r'; the nearest is "([^"]*)"')  # as `suggestion` writes it


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed name most similar to `name`, ignoring case, or None."""
    spelt: dict[str, str] = {}
    for each in allowed:
        spelt.setdefault(each.lower(), each)
    found = difflib.get_close_matches(name.lower(), list(spelt), n=1, cutoff=0.6)
    return spelt[found[0]] if found else None


def suggestion(name: str, allowed: Iterable[str]) -> str:
    """Return `; the nearest is "x" (allowed: x, y)`, to be appended to an error."""
    allowed = list(allowed)
    near = nearest(name, allowed)
    listed = ", ".join(allowed) if len(allowed) <= 30 else ", ".join(allowed[:30]) + f" and {len(allowed) - 30} more"
    return (f'; the nearest is "{near}"' if near else "") + f" (allowed: {listed})"


def nearest_in(message: str) -> str | None:
    """Return the nearest allowed name in a message that `suggestion` ended, or None."""
    found = NEAREST.search(message)
    return found[1] if found else None


def printable(text: str) -> str:
    """Return a text for a terminal, on which none of its signs act.

    They are shown by their codes, as \\x1b.
    """
    return UNPRINTABLE.sub(lambda sign: sign[0].encode("unicode_escape").decode(), text)


Templates = Mapping[str, str]
MAX_LISTED = 3  # items of a list that are named


def format_message(templates: Templates, key: str, values: Mapping[str, Any]) -> str:
    """Fill a template with values.

    Args:
        templates: hold the key; also `between` and `more` for lists, and `KEY.NAME` where a list of that name
            holds dicts of values.
        values: a value per placeholder. Of a list the first few are named; a split gets its name in the templates.
    """
    return templates[key].format(
        **{name: _format_value(templates, key, name, values[name]) for name in placeholders(templates[key])}
    )


def match_message(templates: Templates, said: str) -> tuple[str, dict[str, str]] | None:
    """Return the key and the formatted values behind a message, or None.

    Of several templates that match, the one whose placeholders cover the fewest characters wins.
    """
    found = [
        (key, match.groupdict())
        for key, template in templates.items()
        if (match := _template_regex(template).fullmatch(said)) is not None
    ]
    return min(found, key=lambda each: sum(map(len, each[1].values())), default=None)


@cache
def _template_regex(template: str) -> re.Pattern[str]:
    parts = string.Formatter().parse(template)
    told = (re.escape(said) + (f"(?P<{name}>.+)" if name else "") for said, name, _, _ in parts)
    return re.compile("".join(told), re.DOTALL)


def placeholders(template: str) -> set[str]:
    """Return the names of a template's placeholders."""
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def _format_value(templates: Templates, key: str, name: str, value: Any) -> Any:
    if name == "split":
        return templates.get(f"split.{value}", value)
    if not isinstance(value, list | tuple):
        return value
    told = [
        format_message(templates, f"{key}.{name}", each) if isinstance(each, dict) else str(each)
        for each in value[:MAX_LISTED]
    ]
    rest = len(value) - MAX_LISTED
    return templates["between"].join(told) + (templates["more"].format(count=rest) if rest > 0 else "")
