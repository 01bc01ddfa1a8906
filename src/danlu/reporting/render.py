"""HTML pages from templates: one file with its own style and script, and a policy that forbids everything else.

In: a template's name and values. Out: HTML. The template escapes everything that comes from the data.
"""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from danlu.reporting.format import format_bound, format_number, shorten
from danlu.reporting.i18n import Translator

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_COLUMNS = 30  # shown at first; the others unfold


def render(template: str, t: Translator, parts: tuple[str, ...] = ("page",), **values: Any) -> str:
    """Render a page, or a piece of one, in one language.

    Args:
        template: its file.
        parts: names of the scripts and styles of the page, `page` first.
        values: what the template shows.
    """
    script = "\n".join(_read(f"{part}.js") for part in parts)
    return (
        _environment(t)
        .get_template(template)
        .render(
            style="\n".join(_read(f"{part}.css") for part in parts),
            card_style=_read("notebook.css"),
            script=script,
            # The policy allows this script only: should a value ever get past the escaping, it cannot run.
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
            most_columns=MAX_COLUMNS,
            **values,
        )
    )


@cache
def _environment(t: Translator) -> "Environment":
    """Return the templates of a language, each compiled once."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("danlu.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": format_number, "short": shorten, "rounded": format_bound}
    environment.globals |= {"t": t}
    return environment


def _read(name: str) -> str:
    return files("danlu.reporting").joinpath(name).read_text(encoding="utf-8")
