"""`danlu check`: validate a recipe, profile its data, audit the splits. Trains nothing, imports no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from danlu.experiment.data_context import load_data
from danlu.recipe.load import as_recipe
from danlu.recipe.schema import Recipe


def check(recipe: Recipe | Mapping[str, Any] | str | Path) -> dict[str, Any]:
    """Check a recipe against its data.

    Returns:
        the data profile: kind, task, splits, columns with the reason for each type, audit findings.

    Raises:
        RecipeError: lists every problem of the recipe.
        DataError: the data is wrong.
        MissingExtra: the model needs packages that are not installed.
    """
    return load_data(as_recipe(recipe)).profile()
