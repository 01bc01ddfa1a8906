"""danlu export BUNDLE FOLDER"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from danlu.core.console import info


def export(
    bundle: Annotated[Path, Parameter(help="A bundle's or a run's folder.")],
    folder: Annotated[Path, Parameter(help="The folder to write; must not exist yet.")],
    *,
    own_code: Annotated[
        bool, Parameter(help="Import the module that the bundle names, if its model is your own.", negative=())
    ] = False,
) -> int:
    """Write a bundle's model in its library's own format, and verify its predictions."""
    from danlu.api.export import export as export_verb

    info(f"{export_verb(bundle, folder, own_code=own_code)}: can be read without danlu")
    return 0
