"""The nearest valid name to a misspelt one."""

import difflib
from collections.abc import Iterable


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name most like `name`, upper and lower case being alike, or None when none is near."""
    spelt: dict[str, str] = {}
    for each in allowed:
        spelt.setdefault(each.lower(), each)
    found = difflib.get_close_matches(name.lower(), list(spelt), n=1, cutoff=0.6)
    return spelt[found[0]] if found else None


def suggestion(name: str, allowed: Iterable[str]) -> str:
    """`; the nearest is "x" (allowed: x, y)`, to be put behind a refusal."""
    allowed = list(allowed)
    near = nearest(name, allowed)
    listed = ", ".join(allowed) if len(allowed) <= 30 else ", ".join(allowed[:30]) + f" and {len(allowed) - 30} more"
    return (f'; the nearest is "{near}"' if near else "") + f" (allowed: {listed})"
