"""Pages from templates: one file that holds its style and its script, and that a browser lets do nothing else.

In: a template's name and values. Out: HTML. Whatever comes from the data is escaped by the template.
"""

import base64
import hashlib
from importlib.resources import files
from typing import Any

from danlu.report.tongue import Tongue
from danlu.report.writing import number, rounded, short

MOST_COLUMNS = 30  # shown at once; the others open on demand


def render(template: str, t: Tongue, **values: Any) -> str:
    """A page in one language."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("danlu.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "short": short, "rounded": rounded}
    environment.globals |= {"t": t}
    script = _read("page.js")
    return environment.get_template(template).render(
        style=_read("style.css"),
        script=script,
        # A page may run this very script and no other; should a value ever escape its escaping, it stays text.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        most_columns=MOST_COLUMNS,
        **values,
    )


def _read(name: str) -> str:
    return files("danlu.report").joinpath(name).read_text(encoding="utf-8")
