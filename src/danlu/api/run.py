"""`danlu run`: run every stage that the recipe names, from data to report.

Stages that need torch are imported after recipe and data have been checked, so errors appear quickly.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from danlu.artifacts.bundle import MANIFEST
from danlu.artifacts.files import StrPath
from danlu.artifacts.ownership import RECIPE
from danlu.artifacts.run import RunDirectory
from danlu.artifacts.run_recipe import load_run_recipe
from danlu.core.arguments import checked
from danlu.core.distributed.env import dist_env
from danlu.data.questions import require_answers
from danlu.experiment.data_context import load_data, require_judged_rows, require_readable_images
from danlu.experiment.earlier_run import recipe_to_begin
from danlu.experiment.folds import load_for_new_run
from danlu.experiment.run_data import with_written_source
from danlu.launch.processes import find_interrupted_run
from danlu.recipe.load import as_recipe
from danlu.recipe.schema import Recipe

DRY_ROWS = 4  # of the pictures of a dry run


@checked
def run(
    recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
    *,
    from_run: StrPath | None = None,
    data: object | None = None,
    output: str | Path = "runs",
    name: str | None = None,
    overwrite: bool = False,
    profile: bool = False,
) -> RunDirectory:
    """Train, evaluate and report; with a `tuning` section, search first, with a `compression` section compress.

    Args:
        recipe: a Recipe, a mapping, a file or the name of a built-in recipe; with `from_run` None for that run's own.
        from_run: a finished run whose weights and preparation a new run begins from.
        data: rows in memory instead of the recipe's `data.source`: a frame of polars or pandas, an Arrow table, a
            dict of columns … (see the guide); the run keeps them.
        output: folder of runs.
        name: the run's folder inside it; by default the recipe's name and the time.
        overwrite: replace a run of that name.
        profile: write a profile of some steps.

    Raises:
        RecipeError, DataError, ArgumentError, MissingExtra: before anything is written.
        ArtifactError: the run cannot be written.

    Example:
        >>> import danlu
        >>> run = danlu.run("wine", name="wine")
        >>> run.evaluation()["test"]["accuracy"]["value"] > 0.8
        True
    """
    interrupted = find_interrupted_run(Path(output))
    if interrupted is not None:
        return resume_run(interrupted.path, profile=profile)
    begun = recipe_to_begin(recipe, from_run, in_memory=data is not None)
    context = load_for_new_run(begun, Path(output), name, overwrite, data)
    require_judged_rows(context)
    from danlu.experiment.run_deployment import deploy_run
    from danlu.experiment.run_evaluation import evaluate_run
    from danlu.experiment.trainer import train_run
    from danlu.search.study import run_search, train_or_search

    if context.recipe.tuning is not None:
        directory = run_search(context, Path(output), name, overwrite)
        context = replace(context, recipe=load_run_recipe(directory.path / RECIPE))
    else:
        directory = train_run(context, Path(output), name, overwrite, profile=profile, learn=train_or_search)
    if dist_env().is_main:
        evaluate_run(with_written_source(context, directory), directory, learn=train_or_search)
        _compress(directory, context.recipe)
        deploy_run(context.recipe, directory)
    return directory


def _compress(directory: RunDirectory, recipe: Recipe) -> None:
    """Compress the run's model where its recipe asks for it."""
    if recipe.compression is not None:
        from danlu.api.compress import compress

        compress(directory)


def resume_run(run: StrPath, *, profile: bool = False, language: str | None = None) -> RunDirectory:
    """Resume a run that was stopped or killed: finish training, evaluate, report.

    Args:
        run: its folder.
        profile: write a profile of some steps.
        language: of report and model card; None for the recipe's.

    Raises:
        ArgumentError: it is not a run.
        DataError: the data has changed.
        ArtifactError: the run is damaged.
    """
    from danlu.api.evaluate import evaluate
    from danlu.api.train import resume
    from danlu.experiment.run_deployment import deploy_run

    directory = RunDirectory.open(run)
    if not (directory.model / MANIFEST).is_file():
        resume(directory.path, profile=profile)
    if dist_env().is_main:
        evaluate(directory.path, language=language)
        _compress(directory, load_run_recipe(directory.path / RECIPE))
        deploy_run(load_run_recipe(directory.path / RECIPE), directory)
    return directory


def dry_run(recipe: Recipe | Mapping[str, Any] | str | Path) -> None:
    """Run every stage except cross-validation on two batches, in a temporary folder.

    One row is explained and pictures are of a few, where the recipe asks for these.
    """
    recipe = as_recipe(recipe)
    once = recipe.evaluation.model_copy(update={"folds": None})
    one = recipe.explanation and recipe.explanation.model_copy(update={"samples": 1})
    few = recipe.visualization and recipe.visualization.model_copy(update={"rows": DRY_ROWS})
    changed = {"evaluation": once, "explanation": one, "visualization": few}
    context = load_data(recipe.model_copy(update=changed))
    require_judged_rows(context)
    require_answers(context.dataset.questions)
    require_readable_images(context)
    from danlu.api.evaluate import evaluate
    from danlu.experiment.trainer import train_run
    from danlu.search.study import train_or_search

    with tempfile.TemporaryDirectory(prefix="danlu-dry-run-") as folder:
        directory = train_run(context, Path(folder), None, overwrite=False, dry_run=True, learn=train_or_search)
        evaluate(directory.path)
