"""danlu models"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from danlu.cli.options import Json
from danlu.cli.show import print_json, print_table
from danlu.core.console import say

if TYPE_CHECKING:
    from danlu.verbs.models import Known


def models(
    *,
    task: Annotated[
        Literal["table", "images", "texts", "language"] | None, Parameter(help="Only those for this kind of data.")
    ] = None,
    like: Annotated[
        str | None, Parameter(help="A name or glob; 'timm:resnet*' looks through all of timm's models.")
    ] = None,
    json: Json = False,
) -> int:
    """List the models a recipe may name: parameters, megabytes of fp32 weights, operations of one sample."""
    from danlu.verbs.models import models as models_verb

    found = models_verb(task, like)
    if json:
        print_json([asdict(known) for known in found])
        return 0
    print_table([_row(known) for known in found])
    say(
        "figures of new weights, forward, at the input named; any model of timm is timm:NAME, any of transformers "
        "hf:NAME or hf:./FOLDER, one of your own own:package.module:function"
    )
    return 0


def _row(known: "Known") -> dict[str, Any]:
    """A line of the table; what a model that grows weighs, its data decides."""
    return {
        "model": known.name,
        "size": known.size,
        "takes": known.takes,
        "parameters": "" if known.parameters is None else f"{known.parameters:,}",
        "MB": "as it grows" if known.megabytes is None and not known.extra else known.megabytes,
        "MFLOPs": None if known.flops is None else _millions(known.flops),
        "at": known.at,
        "needs": f"danlu[{known.extra}]" if known.extra else "",
    }


def _millions(count: int) -> str:
    return f"{count / 1e6:,.0f}" if count >= 1e8 else f"{count / 1e6:.3g}"
