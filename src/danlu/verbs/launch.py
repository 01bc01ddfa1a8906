"""`--processes N`: the same command in several processes of this machine, which train one run together.

What is wrong with the recipe is said before any of them is started.
"""

import os
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from danlu.artifacts.run import RECIPE, RunDirectory, free_name, refuse_existing
from danlu.core.console import say
from danlu.core.errors import ArgumentError
from danlu.core.threads import usable_cores
from danlu.core.world import this_world
from danlu.recipe.load import load_recipe
from danlu.recipe.schema import Recipe
from danlu.recipe.sections import Parallel
from danlu.training.parallel.layout import choose_layout, nearest_layout
from danlu.verbs.unstepped import refuse_processes

DANLU = (sys.executable, "-m", "danlu")


def launch_new(
    arguments: Sequence[str],
    recipe: Recipe,
    output: Path,
    name: str | None,
    overwrite: bool,
    processes: int,
    restarts: int,
) -> int:
    """Train a recipe by several processes.

    Args:
        arguments: of danlu, as one process would be given them.
        recipe: that they name, to be refused here where it is wrong.
        output: the folder of runs.
        name: the run's folder below it; chosen here when left out, since all processes write one run.
        overwrite: replace a run of that name.
        processes: how many.
        restarts: how often all are started anew after a signal has ended one.

    Returns:
        the exit code.

    Raises:
        ArgumentError: the processes do not fit the recipe, or the run is there already.
    """
    check_fit(recipe, processes)
    refuse_existing(output, name, overwrite)
    named = () if name else ("--name", free_name(output, recipe.name))
    return launch((*DANLU, *arguments, *named), processes, restarts)


def launch_on(arguments: Sequence[str], run: Path, processes: int, restarts: int) -> int:
    """Go on with a run by several processes, as many as it had or others.

    Raises:
        ArgumentError: it is no run, or the processes do not fit its recipe.
    """
    check_fit(load_recipe(RunDirectory.open(run).path / RECIPE), processes, nearest_layout)
    return launch((*DANLU, *arguments), processes, restarts)


def check_fit(recipe: Recipe, processes: int, choose: Callable[[Parallel, int], object] = choose_layout) -> None:
    """Raise ArgumentError unless so many processes can be laid out as the recipe says."""
    if this_world().size > 1:
        raise ArgumentError("--processes starts processes, and this is one of several already; leave it out here")
    if processes < 1:
        raise ArgumentError(f"--processes {processes}: there must be one at least")
    refuse_processes(recipe.model, processes)
    if recipe.tuning is not None and processes > 1:
        raise ArgumentError(f"--processes {processes}: a search is led by one process; leave it out")
    asked = recipe.training.parallel
    choose(Parallel() if asked == "auto" else asked, processes)


def launch(command: Sequence[str], processes: int, restarts: int) -> int:
    """Run a command in several processes until all have ended; the exit code of the one that was the cause.

    Args:
        command: the program and its arguments.
        processes: how many.
        restarts: how often all are started anew after a signal has ended one.

    Raises:
        ArgumentError: there cannot be so many restarts.
    """
    from danlu.training.parallel.workers import run_workers

    if restarts < 0:
        raise ArgumentError(f"--restarts {restarts}: say 0 for none")
    # Libraries that no recipe speaks to start as many threads as there are cores, in every process.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))
    ended = run_workers(command, processes, restarts, name=uuid.uuid4().hex)
    if ended.message is not None:
        say(ended.message)
    return ended.exit_code
