"""`danlu check`: validate a recipe, profile its data, audit the splits. Trains nothing, imports no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from danlu.experiment.data_context import load_input
from danlu.recipe.schema import Recipe
from danlu.reporting.results import DataProfile


def check(recipe: Recipe | Mapping[str, Any] | str | Path, *, data: object | None = None) -> dict[str, Any]:
    """Check a recipe against its data.

    Args:
        recipe: a Recipe, a mapping, a file or the name of a built-in recipe.
        data: rows in memory instead of the recipe's `data.source`: a frame of polars or pandas, an Arrow table, a
            dict of columns … (see the guide).

    Returns:
        the data profile: kind, task, splits, columns with the reason for each type, audit findings.

    Raises:
        RecipeError: lists every problem of the recipe.
        DataError: the data is wrong.
        MissingExtra: the model needs packages that are not installed.

    Example:
        >>> import danlu
        >>> found = danlu.check("wine")
        >>> found["kind"], found["task"], found["rows"]
        ('tabular', 'classification', 178)
    """
    return DataProfile(load_input(recipe, data).profile())
