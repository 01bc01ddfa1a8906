"""danlu plan RECIPE"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from danlu.cli.options import Json, Overrides, RecipeArgument
from danlu.cli.show import print_json
from danlu.core.errors import DanluError

if TYPE_CHECKING:
    from danlu.verbs.plan import Prediction

Memory = Annotated[float | None, Parameter(name="--memory", help="Plan for so many GB in place of what is free here.")]


def plan(recipe: RecipeArgument, *, overrides: Overrides = (), memory: Memory = None, json: Json = False) -> int:
    """Foresee the memory, arithmetic and time of a training, and what would fit if it does not."""
    from danlu.recipe.load import load_recipe
    from danlu.verbs.plan import plan as plan_verb

    found = plan_verb(load_recipe(recipe, overrides), None if memory is None else round(memory * 1e9))
    if json:
        print_json(asdict(found))
    else:
        _print(found)
    return 0 if found.fits else DanluError.exit_code


def _print(found: "Prediction") -> None:
    free = "" if found.free_bytes is None else f" of {size(found.free_bytes)} that may be used"
    print(f"device    {found.device}")
    print(f"model     {found.parameters:,} parameters; {size(found.state_bytes)} with gradients and optimizer")
    print(f"memory    {size(found.peak_bytes)} at its most{free}, at {found.batch_size} samples a step")
    print(f"compute   {found.flops / 1e9:,.3g} GFLOP a step, {found.flops * found.steps / 1e12:,.3g} TFLOP in all")
    if found.step_seconds is not None and found.seconds is not None:
        print(f"time      {found.step_seconds * 1000:,.3g} ms a step; {found.steps:,} steps take {span(found.seconds)}")
    if found.fits:
        return
    print("it does not fit" + ("; what would:" if found.cures else ", and none of the settings known here helps"))
    for words, peak in found.cures.items():
        print(f"    {' '.join(f'--set {word}' for word in words.split())}    ({size(peak)})")


def size(count: int) -> str:
    """Bytes as people say them."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count} bytes"


def span(seconds: float) -> str:
    """Seconds as people say them."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"
