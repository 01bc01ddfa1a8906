"""`danlu check`: is the recipe right, what is the data, would a test be honest? Trains nothing, imports no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from danlu.recipe.load import as_recipe
from danlu.recipe.schema import Recipe
from danlu.verbs.prepare import open_data


def check(recipe: Recipe | Mapping[str, Any] | str | Path) -> dict[str, Any]:
    """Check a recipe against its data.

    Returns:
        the data's profile: kind, task, splits, columns with the reason of each type, findings of the audit.

    Raises:
        RecipeError: with every problem of the recipe.
        DataError: the data is wrong.
        MissingExtra: the model needs packages that are not installed.
    """
    return open_data(as_recipe(recipe)).profile()
