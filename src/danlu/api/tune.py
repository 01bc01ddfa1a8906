"""`danlu tune`: search over recipes. Many are trained, and the run keeps the best trial's model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from danlu.artifacts.run import RunDirectory
from danlu.core.arguments import checked
from danlu.experiment.folds import load_for_new_run
from danlu.recipe.schema import Recipe
from danlu.search.study import run_search


@checked
def tune(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    *,
    data: object | None = None,
    output: str | Path = "runs",
    name: str | None = None,
    overwrite: bool = False,
    trials: PositiveInt | None = None,
) -> RunDirectory:
    """Run the search described by the recipe's `tuning` section.

    Args:
        recipe: a Recipe, a mapping, a file or the name of a built-in recipe.
        data: rows in memory instead of the recipe's `data.source`: a frame of polars or pandas, an Arrow table, a
            dict of columns … (see the guide); the run keeps them.
        output: folder of runs.
        name: the run's folder inside it; by default the recipe's name and the time.
        overwrite: replace a run of that name.
        trials: number of trials instead of the recipe's.

    Returns:
        the run with the best trial's model and recipe. Not evaluated yet.

    Raises:
        RecipeError, DataError, ArgumentError, MissingExtra: before anything is written.
        DanluError: every trial failed.
        Stopped: a signal asked to stop; `resume` continues.

    Example:
        >>> import danlu
        >>> search = {
        ...     "name": "search",
        ...     "data": {"source": "builtin:wine"},
        ...     "model": "linear",
        ...     "training": {"epochs": 2},
        ...     "tuning": {"sampler": "random", "space": {"training.optimizer.lr": {"log": [1e-3, 1e-1]}}},
        ... }
        >>> run = danlu.tune(search, trials=2, name="search")
        >>> 1e-3 < danlu.load_recipe(run.path / "recipe.yaml").training.optimizer.lr < 1e-1
        True
    """
    context = load_for_new_run(recipe, Path(output), name, overwrite, data)
    return run_search(context, Path(output), name, overwrite, trials)
