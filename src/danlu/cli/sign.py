"""danlu sign BUNDLE --key FILE"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from danlu.cli.options import Json
from danlu.cli.show import print_document
from danlu.core.console import info


def sign(
    bundle: Annotated[Path | None, Parameter(help="Folder of a bundle or a run.")] = None,
    *,
    key: Annotated[Path | None, Parameter(help="The private key, as --new-key writes it.")] = None,
    new_key: Annotated[
        Path | None, Parameter(help="Make a key instead: the private one here, the public one beside it as FILE.pub.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Sign a bundle, so that danlu serve --trusted can tell who made it."""
    from danlu.api.sign import sign as sign_verb

    written = sign_verb(bundle, key=key, new_key=new_key)
    if as_json:
        print_document({"file": str(written)})
    elif new_key is not None:
        info(f"wrote {new_key}, which signs: keep it to yourself; and {written}, which others trust")
    else:
        info(f"wrote {written}; the bundle is not changed in place from now on")
