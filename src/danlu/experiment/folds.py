"""Folds of a recipe: how the rows outside the test split are dealt into them. Imports no torch."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from danlu.artifacts.run import refuse_existing
from danlu.core.component import components
from danlu.core.seeds import Seed
from danlu.data.folds import fold_dataset
from danlu.data.splits import Splits
from danlu.experiment.data_context import DataContext, load_data
from danlu.recipe.load import as_recipe
from danlu.recipe.schema import Recipe
from danlu.recipe.sections.data import SplitOptions
from danlu.recipe.sections.evaluation import Folds


def load_for_new_run(
    recipe: Recipe | Mapping[str, Any] | str | Path, output: Path, name: str | None, overwrite: bool
) -> DataContext:
    """Load the data of a recipe for a new run, after a look at whether the run may be written.

    Folds are checked here, once per run: a search trains many models on the same rows.

    Raises:
        RecipeError, DataError, ArgumentError, MissingExtra: before anything is written.
    """
    refuse_existing(output, name, overwrite)
    context = load_data(as_recipe(recipe))
    check_folds(context)
    return context


def fold_splitter(opened: DataContext, asked: Folds) -> dict[str, Any]:
    """Return the splitter of the folds: that of `data.split` unless the folds set their own."""
    if asked.grouped is not None:
        return {"name": "group", "column": asked.grouped}
    if asked.stratified is not None:
        return {"name": "stratified" if asked.stratified else "random"}
    by = opened.recipe.data.split.by
    assert by is not None, "a resolved recipe names its splitter"
    return by.model_dump()


def fold_splits(opened: DataContext, asked: Folds) -> Iterator[Splits]:
    """Yield the splits of every fold over all rows outside the test split; deterministic."""
    chosen = fold_splitter(opened, asked)
    by = components("splitter")[chosen["name"]].model_validate(chosen)
    section: SplitOptions = opened.recipe.data.split.model_copy(update={"by": by})
    rows = np.sort(np.concatenate([opened.splits.train.rows, opened.splits.validation.rows]))
    seed = Seed(opened.recipe.seed)
    return fold_dataset(opened.dataset, section, asked.folds, seed, asked.repeats, rows, asked.column)


def check_folds(opened: DataContext) -> None:
    """Raise DataError if the rows cannot be split into the recipe's folds."""
    asked = opened.recipe.evaluation.cross_validation
    if asked is not None:
        next(fold_splits(opened, asked))
