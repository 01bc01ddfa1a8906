"""`danlu plan`: predict memory, FLOPs and time of a training, and suggest settings if it does not fit.

A few real steps with small batches are measured; the full batch is extrapolated from them, and timed if it fits.
Nothing is written.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from danlu.core.arguments import checked
from danlu.errors import ArgumentError
from danlu.experiment.data_context import load_input
from danlu.experiment.training_estimate import TrainingEstimate, estimate_training
from danlu.models.base import SelfFittingModel
from danlu.recipe.schema import Recipe


@checked
def plan(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    *,
    data: object | None = None,
    memory_bytes: PositiveInt | None = None,
) -> TrainingEstimate:
    """Predict the cost of training a recipe on this machine.

    Args:
        recipe: a Recipe, a mapping, a file or the name of a built-in recipe.
        data: rows in memory instead of the recipe's `data.source`: a frame of polars or pandas, an Arrow table, a
            dict of columns … (see the guide).
        memory_bytes: assume a device with this much memory instead of the free memory here.

    Raises:
        RecipeError, DataError, MissingExtra: as training would.
        ArgumentError: the model is not trained by gradient steps, or there is no memory to plan for.

    Example:
        >>> import danlu
        >>> estimate = danlu.plan("wine")
        >>> estimate.parameters, estimate.steps, estimate.fits
        (5549, 480, True)
    """
    if memory_bytes is not None and memory_bytes <= 0:
        raise ArgumentError(f"the memory to plan for must be more than 0 bytes, got {memory_bytes:,}", code="DL402")
    context = load_input(recipe, data)
    if isinstance(context.model, SelfFittingModel):
        raise ArgumentError(
            f"model.name: `danlu plan` needs gradient steps to count and time, and {context.model.name} has none; "
            "train it, its training shows progress and stops early",
            code="DL409",
        )
    return estimate_training(context, memory_bytes)
