"""`danlu run`: every stage that the recipe names, from data to report.

The stages that need torch are imported once recipe and data are known to be right: a refusal comes at once.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from danlu.artifacts.bundle import MANIFEST
from danlu.artifacts.run import RECIPE, RunDirectory, refuse_existing
from danlu.core.world import this_world
from danlu.recipe.load import as_recipe, load_recipe
from danlu.recipe.schema import Recipe
from danlu.verbs.begun import begun_before
from danlu.verbs.prepare import open_data


def run(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    output: str | Path = "runs",
    name: str | None = None,
    overwrite: bool = False,
    profile: bool = False,
) -> RunDirectory:
    """Train, evaluate and report; where the recipe says what to search, search first.

    Args:
        recipe: a Recipe, plain values, a file or a built-in's name.
        output: the folder of runs.
        name: the run's folder below it; the recipe's name and the time when left out.
        overwrite: replace a run of that name.
        profile: write where the time of some steps goes.

    Raises:
        RecipeError, DataError, ArgumentError, MissingExtra: before anything is written.
        ArtifactError: the run cannot be written.
    """
    begun = begun_before(Path(output))
    if begun is not None:
        return run_on(begun.path, profile)
    refuse_existing(Path(output), name, overwrite)
    opened = open_data(as_recipe(recipe))
    from danlu.verbs.evaluate import evaluate_opened
    from danlu.verbs.folds import require_folds
    from danlu.verbs.train import train_opened

    require_folds(opened)  # here and not where a model is trained: a search trains many on the same rows
    if opened.recipe.tuning is not None:
        from danlu.verbs.tune import tune_opened

        directory = tune_opened(opened, Path(output), name, overwrite)
        opened = replace(opened, recipe=load_recipe(directory.path / RECIPE))
    else:
        directory = train_opened(opened, Path(output), name, overwrite, profile=profile)
    if this_world().is_main:
        evaluate_opened(opened, directory)
    return directory


def run_on(run: str | Path, profile: bool = False) -> RunDirectory:
    """Go on with a run that was stopped or killed: train to the end what is not, evaluate, report.

    Raises:
        ArgumentError: it is no run.
        DataError: the data has changed.
        ArtifactError: the run is damaged.
    """
    from danlu.verbs.evaluate import evaluate
    from danlu.verbs.train import resume

    directory = RunDirectory.open(run)
    if not (directory.model / MANIFEST).is_file():
        resume(directory.path, profile=profile)
    if this_world().is_main:
        evaluate(directory.path)
    return directory


def dry_run(recipe: Recipe | Mapping[str, Any] | str | Path) -> None:
    """Send two batches through every stage but folds, in a folder that is gone afterwards."""
    recipe = as_recipe(recipe)
    once = recipe.evaluation.model_copy(update={"folds": None})
    opened = open_data(recipe.model_copy(update={"evaluation": once}))
    from danlu.verbs.evaluate import evaluate
    from danlu.verbs.train import train_opened

    with tempfile.TemporaryDirectory(prefix="danlu-dry-run-") as folder:
        directory = train_opened(opened, Path(folder), None, overwrite=False, dry=True)
        evaluate(directory.path)
