"""Sections that the recipe already has and danlu does not implement yet.

Their options are typed, so a recipe that uses them is checked like any other; then it is refused with one sentence that
says so. Whoever builds a part takes its line out of BUILT and moves its table to the folder that does the work.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat

from danlu.core.component import Frozen, OneOf
from danlu.recipe.components import CompressionOptions


class Prune(CompressionOptions):
    """Remove the share `amount` of the weights, whole channels when structured."""

    name: Literal["prune"] = "prune"
    amount: Annotated[float, Field(gt=0.0, lt=1.0)]
    structured: bool = True


class Quantize(CompressionOptions):
    """Store and compute with integers."""

    name: Literal["quantize"] = "quantize"
    scheme: Literal["int8-static", "int8-dynamic", "int8-weights"] = "int8-static"


COMPRESSIONS: dict[str, type[CompressionOptions]] = {"prune": Prune, "quantize": Quantize}


class Budget(Frozen):
    """Limit how much of a metric compression may cost."""

    metric: str
    max_drop: NonNegativeFloat


class Compression(Frozen):
    """Make the model smaller by steps, applied in order."""

    steps: tuple[Annotated[CompressionOptions, OneOf("compression")], ...]
    budget: Budget | None = None


# Values that each key accepts today; a key that is not here is fully implemented.
BUILT: dict[str, tuple[Any, ...]] = {
    "compression": (None,),
}


def not_built(recipe: Frozen) -> Iterator[tuple[str, str]]:
    """Return the keys of a valid recipe that are not implemented, each with its error."""
    for key, built in BUILT.items():
        value: Any = recipe
        for part in key.split("."):
            value = getattr(value, part, None)
        if value is None or value in built:
            continue
        usable = [str(choice) for choice in built if choice not in (None, ())]
        cure = f"use {' or '.join(usable)}, or leave it out" if usable else "leave it out"
        asked = getattr(value, "name", value) if not isinstance(value, Frozen | tuple) else key.rsplit(".", 1)[-1]
        yield key, f"{asked} is not built yet in this version of danlu; {cure}"
