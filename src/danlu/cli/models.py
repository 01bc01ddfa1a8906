"""danlu models"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from danlu.cli.options import Json
from danlu.cli.show import print_json, print_table
from danlu.core.console import info

if TYPE_CHECKING:
    from danlu.models.catalog import ModelInfo


def models(
    *,
    task: Annotated[
        Literal["table", "images", "texts", "language"] | None, Parameter(help="Only those for this kind of data.")
    ] = None,
    like: Annotated[str | None, Parameter(help="A name or glob; 'timm:resnet*' searches all models of timm.")] = None,
    json: Json = False,
) -> int:
    """List the models a recipe may name: parameters, megabytes in fp32, FLOPs per sample."""
    from danlu.api.list_models import list_models as models_verb

    found = models_verb(task, like=like)
    if json:
        print_json([asdict(known) for known in found])
        return 0
    print_table([_row(known) for known in found])
    info(
        "FLOPs are those of a forward pass at the input given. Any timm model is timm:NAME, any transformers model "
        "hf:NAME or hf:./FOLDER, a model of your own own:package.module:function"
    )
    return 0


def _row(known: "ModelInfo") -> dict[str, Any]:
    """Return a table row; the size of trees and boosting depends on the data."""
    return {
        "model": known.name,
        "size": known.size,
        "takes": known.takes,
        "parameters": "" if known.parameters is None else f"{known.parameters:,}",
        "MB": "varies" if known.megabytes is None and not known.extra else known.megabytes,
        "MFLOPs": None if known.flops is None else _format_millions(known.flops),
        "at": known.at,
        "needs": f"danlu[{known.extra}]" if known.extra else "",
    }


def _format_millions(count: int) -> str:
    return f"{count / 1e6:,.0f}" if count >= 1e8 else f"{count / 1e6:.3g}"
