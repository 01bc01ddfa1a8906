"""`danlu check`: validate a recipe, profile its data, audit the splits; or compare new data with a model's training
data. Trains nothing, imports no torch.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from danlu.artifacts.files import StrPath
from danlu.core.arguments import checked
from danlu.data.audit import in_order
from danlu.errors import ArgumentError
from danlu.experiment.against import check_against
from danlu.experiment.data_context import load_input
from danlu.experiment.read_texts import read_texts
from danlu.recipe.schema import Recipe
from danlu.reporting.results import DataProfile, DriftReport


@checked
def check(
    recipe: Recipe | Mapping[str, Any] | str | Path | object,
    *,
    data: object | None = None,
    against: StrPath | None = None,
) -> dict[str, Any]:
    """Check a recipe against its data, or new data against those of a training.

    Args:
        recipe: a Recipe, a mapping, a file or the name of a built-in recipe. With `against`, the new data: a file,
            folder, glob, a list of these or builtin:NAME, or rows in memory.
        data: rows in memory instead of the recipe's `data.source`: a frame of polars or pandas, an Arrow table, a
            dict of columns … (see the guide).
        against: a bundle or a run.

    Returns:
        the data profile: kind, task, splits, columns with the reason for each type, audit findings; of conversations
        and preferences also `shown`, one row as the model reads it, with the parts that are learned. With `against`:
        rows, columns (share of missing values, values that cannot be read, unseen categories with counts, values
        outside the training range, drift), missing_columns, extra_columns, findings.

    Raises:
        RecipeError: lists every problem of the recipe.
        DataError: the data is wrong.
        ArtifactError: the bundle is damaged.
        MissingExtra: the model needs packages that are not installed.

    Example:
        >>> import danlu
        >>> found = danlu.check("wine")
        >>> found["kind"], found["task"], found["rows"]
        ('tabular', 'classification', 178)
        >>> danlu.check("builtin:wine", against="runs/wine")["missing_columns"]
        []
    """
    if against is not None:
        if data is not None:
            raise ArgumentError("data: with against, give the new data first and nothing as data", code="DL401")
        return DriftReport(check_against(against, recipe))
    if not isinstance(recipe, Recipe | Mapping | str | Path):
        raise ArgumentError(
            f"recipe: cannot take a value of type {type(recipe).__name__}; give a Recipe, a mapping or a file; rows "
            "are compared with a model's training data with against=BUNDLE, or checked with a recipe by data=",
            code="DL402",
        )
    context = load_input(recipe, data)
    texts = read_texts(context)
    context = replace(context, findings=in_order((*context.findings, *texts.findings)))
    return DataProfile({**context.profile(), "shown": list(texts.shown)})
