"""Folds of a recipe: how the rows outside the test split are dealt into them. Imports no torch."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from danlu.artifacts.ownership import refuse_existing
from danlu.core.component import components
from danlu.core.seeds import Seed
from danlu.data.folds import fold_dataset
from danlu.data.mixing import mix_sources
from danlu.data.questions import require_answers
from danlu.data.splits import Splits
from danlu.errors import ArgumentError
from danlu.experiment.data_context import DataContext, load_input, require_readable_images
from danlu.recipe.schema import Recipe
from danlu.recipe.sections.data import SplitOptions
from danlu.recipe.sections.evaluation import Folds


def load_for_new_run(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    output: Path,
    name: str | None,
    overwrite: bool,
    data: object | None = None,
) -> DataContext:
    """Load a recipe's data for a new run; reject an existing folder.

    Folds are checked here, once per run: a search trains many models on the same rows.

    Args:
        recipe: a Recipe, a mapping, a file or the name of a built-in recipe.
        output: folder of runs.
        name: the run's folder inside it, if the user chose one.
        overwrite: replace a run of that name.
        data: rows in memory, instead of the recipe's source.

    Raises:
        RecipeError, DataError, ArgumentError, MissingExtra: before anything is written.
    """
    refuse_existing(output, name, overwrite)
    context = load_input(recipe, data)
    require_answers(context.dataset.questions)
    check_folds(context)
    require_readable_images(context)
    if name is not None:
        _refuse_own_source(context, output / name)
    return context


def _refuse_own_source(context: DataContext, run: Path) -> None:
    """Raise ArgumentError if the recipe's data lies in the run that is to be replaced."""
    for source in context.recipe.data.sources:
        if run.resolve() in Path(source).parents:
            raise ArgumentError(f"{run}: holds the data of this recipe ({source}); choose another --name", code="DL404")


def fold_splitter(context: DataContext, options: Folds) -> dict[str, Any]:
    """Return the splitter of the folds: that of `data.split` unless the folds set their own."""
    if options.grouped is not None:
        return {"name": "group", "column": options.grouped}
    if options.stratified is not None:
        return {"name": "stratified" if options.stratified else "random"}
    by = context.recipe.data.split.by
    assert by is not None, "a resolved recipe names its splitter"
    return by.model_dump()


def fold_splits(context: DataContext, options: Folds) -> Iterator[Splits]:
    """Yield the splits of every fold over all rows outside the test split; deterministic."""
    chosen = fold_splitter(context, options)
    by = components("splitter")[chosen["name"]].model_validate(chosen)
    section: SplitOptions = context.recipe.data.split.model_copy(update={"by": by})
    train = context.unmixed or context.splits.train
    rows = np.sort(np.concatenate([train.rows, context.splits.validation.rows]))
    seed = Seed(context.recipe.seed)
    folds = fold_dataset(context.dataset, section, options.folds, seed, options.repeats, rows, options.column)
    return (mix_sources(splits, context.dataset, seed) for splits in folds)


def check_folds(context: DataContext) -> None:
    """Raise DataError if the rows cannot be split into the recipe's folds."""
    options = context.recipe.evaluation.cross_validation
    if options is not None:
        next(fold_splits(context, options))
