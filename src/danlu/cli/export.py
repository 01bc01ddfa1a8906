"""danlu export BUNDLE FOLDER"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from danlu.core.console import say


def export(
    bundle: Annotated[Path, Parameter(help="A bundle's or a run's folder.")],
    folder: Annotated[Path, Parameter(help="The folder to write, which is not there yet.")],
    *,
    own_code: Annotated[
        bool, Parameter(help="Import the module that the bundle names, where its model is your own.", negative=())
    ] = False,
) -> int:
    """Write a bundle's model in the form of the library that it is of, and check what that answers."""
    from danlu.verbs.export import export as export_verb

    say(f"{export_verb(bundle, folder, own_code)}: needs no danlu to be read")
    return 0
