"""danlu export BUNDLE FOLDER"""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from danlu.artifacts.files import read_json
from danlu.cli.options import Json
from danlu.cli.show import print_document
from danlu.core.console import info


def export(
    bundle: Annotated[Path, Parameter(help="A bundle's or a run's folder.")],
    folder: Annotated[Path, Parameter(help="The folder to write; must not exist yet.")],
    *,
    to: Annotated[
        Literal["transformers", "sentence-transformers", "timm", "lightgbm", "numpy"] | None,
        Parameter(help="The format; by default that of the model's own library. numpy is for models of tables."),
    ] = None,
    own_code: Annotated[
        bool, Parameter(help="Import the module that the bundle names, if its model is your own.", negative=())
    ] = False,
    as_json: Json = False,
) -> int:
    """Write a bundle's model in its library's own format, and verify its predictions."""
    from danlu.api.export import export as export_verb

    written = export_verb(bundle, folder, to=to, own_code=own_code)
    info(f"{written}: can be read without danlu")
    if as_json:
        print_document({"folder": str(written), **read_json(written / "danlu.json")})
    return 0
