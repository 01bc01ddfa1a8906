"""How a value shows itself in a notebook: the layer of the pages draws it, and stands above the value.

As with the tables of components, `danlu.registry` hands down where the functions are.
"""

import importlib
from collections.abc import Callable

RENDERERS: dict[str, str] = {}  # what is shown -> "module:function", which makes HTML of it


def render_html(shown: str, value: object) -> str | None:
    """Draw a value as a piece of HTML; None where nothing can be drawn.

    Args:
        shown: a key of `RENDERERS`.
        value: what that function takes.
    """
    if shown not in RENDERERS:
        return None
    module, name = RENDERERS[shown].split(":")
    draw: Callable[[object], str | None] = getattr(importlib.import_module(module), name)
    return draw(value)
