"""`danlu train`: train a recipe into a run directory, or resume a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from danlu.artifacts.files import StrPath
from danlu.artifacts.run import RunDirectory
from danlu.artifacts.trials import is_search
from danlu.core.arguments import checked
from danlu.core.console import info
from danlu.errors import ArgumentError
from danlu.experiment.earlier_run import recipe_to_begin
from danlu.experiment.folds import load_for_new_run
from danlu.experiment.trainer import resume_training, train_run
from danlu.launch.processes import find_interrupted_run
from danlu.recipe.schema import Recipe
from danlu.search.study import resume_search, train_or_search


@checked
def train(
    recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
    *,
    from_run: StrPath | None = None,
    data: object | None = None,
    output: str | Path = "runs",
    name: str | None = None,
    overwrite: bool = False,
    profile: bool = False,
) -> RunDirectory:
    """Train a model.

    Args:
        recipe: a Recipe, a mapping, a file, or the name of a built-in recipe; with `from_run` None for that run's own.
        from_run: a finished run whose weights and preparation a new run begins from.
        data: rows in memory instead of the recipe's `data.source`: a frame of polars or pandas, an Arrow table, a
            dict of columns … (see the guide); the run keeps them.
        output: the folder of runs.
        name: the run's folder in it; None for the recipe's name and the time.
        overwrite: replace a run of that name.
        profile: write a profile of some steps.

    Returns:
        the run with its bundle under `model`, not evaluated yet.

    Raises:
        RecipeError, DataError, ArgumentError, MissingExtra: before anything is written.
        ArtifactError: the run cannot be written.

    Example:
        >>> import danlu
        >>> recipe = danlu.load_recipe("wine", overrides=["training.epochs=2"])
        >>> run = danlu.train(recipe, name="short")
        >>> run.metrics()[-1]["epoch"]
        2.0
    """
    interrupted = find_interrupted_run(Path(output))
    if interrupted is not None:
        return resume(interrupted.path, profile=profile)
    begun = recipe_to_begin(recipe, from_run, in_memory=data is not None)
    context = load_for_new_run(begun, Path(output), name, overwrite, data)
    if context.recipe.tuning is not None:
        info("`danlu train` ignores the recipe's tuning section; use `danlu tune` or `danlu run` to search")
    return train_run(context, Path(output), name, overwrite, profile=profile, learn=train_or_search)


@checked
def resume(run: StrPath, *, verify: PositiveInt | None = None, profile: bool = False) -> RunDirectory:
    """Resume an interrupted run, bit for bit as if never interrupted.

    A search goes on with its next trial.

    Args:
        run: its folder.
        verify: first repeat at least this many of the last steps and compare.
        profile: write a profile of some steps.

    Raises:
        ArgumentError: it is not a run, it is finished, or no checkpoint is old enough to verify from.
        DataError: the data has changed.
        ArtifactError: the run is damaged, or does not reproduce its steps.

    Example:
        >>> import danlu
        >>> try:
        ...     danlu.resume("runs/wine")  # trained to its end
        ... except danlu.DanluError as error:
        ...     print(error.code)
        DL406
    """
    if not is_search(Path(run)):
        return resume_training(run, verify=verify, profile=profile, learn=train_or_search)
    if verify is not None:
        raise ArgumentError(
            "--verify repeats the steps of one training, and this run is a search; remove --verify", code="DL406"
        )
    return resume_search(run)
