"""Text for people: suggestions for misspelt names, and message templates that a page can translate.

A run writes its messages in English and keeps key and figures beside them; a report looks up the same key in the
templates of another language (key -> `{rows:,} of {all:,} rows …`).
"""

import difflib
from collections.abc import Iterable


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
