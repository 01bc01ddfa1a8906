"""`--processes N`: run the same command in N local processes that train one run together.

The recipe is checked before any process is started.
"""

import os
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from danlu.artifacts.run import RECIPE, RunDirectory, unused_name, refuse_existing
from danlu.core.console import info
from danlu.core.errors import ArgumentError
from danlu.core.threads import usable_cores
from danlu.core.world import dist_env
from danlu.recipe.load import load_recipe
from danlu.recipe.schema import Recipe
from danlu.recipe.sections import Parallel
from danlu.training.parallel.layout import choose_layout, nearest_layout
from danlu.verbs.unstepped import check_single_process

DANLU_COMMAND = (sys.executable, "-m", "danlu")


def launch_run(
    arguments: Sequence[str],
    recipe: Recipe,
    output: Path,
    name: str | None,
    overwrite: bool,
    processes: int,
    restarts: int,
) -> int:
    """Start a new run in several processes.

    Args:
        arguments: danlu's arguments for a single process.
        recipe: the recipe they name, checked here.
        output: folder of runs.
        name: the run's folder inside it; chosen here by default, since all processes share one run.
        overwrite: replace a run of that name.
        processes: number of processes.
        restarts: how many times all processes are restarted after one was killed by a signal.

    Returns:
        the exit code.

    Raises:
        ArgumentError: the number of processes does not fit the recipe, or the run exists already.
    """
    check_processes(recipe, processes)
    refuse_existing(output, name, overwrite)
    named = () if name else ("--name", unused_name(output, recipe.name))
    return launch_command((*DANLU_COMMAND, *arguments, *named), processes, restarts)


def launch_resume(arguments: Sequence[str], run: Path, processes: int, restarts: int) -> int:
    """Resume a run in several processes; their number may differ from before.

    Raises:
        ArgumentError: it is not a run, or the number of processes does not fit its recipe.
    """
    check_processes(load_recipe(RunDirectory.open(run).path / RECIPE), processes, nearest_layout)
    return launch_command((*DANLU_COMMAND, *arguments), processes, restarts)


def check_processes(recipe: Recipe, processes: int, choose: Callable[[Parallel, int], object] = choose_layout) -> None:
    """Raise ArgumentError unless the recipe's parallel layout is possible with this number of processes."""
    if dist_env().world_size > 1:
        raise ArgumentError(
            "--processes: this process is one of several already, started by a launcher; leave --processes out"
        )
    if processes < 1:
        raise ArgumentError(f"--processes {processes}: must be at least 1")
    check_single_process(recipe.model, processes)
    if recipe.tuning is not None and processes > 1:
        raise ArgumentError(f"--processes {processes}: a search runs in one process; leave it out")
    asked = recipe.training.parallel
    choose(Parallel() if asked == "auto" else asked, processes)


def launch_command(command: Sequence[str], processes: int, restarts: int) -> int:
    """Run a command in several processes and return the exit code.

    The exit code is that of the process that caused the failure; 0 if all succeeded.

    Args:
        command: the program and its arguments.
        processes: number of processes.
        restarts: how many times all processes are restarted after one was killed by a signal.

    Raises:
        ArgumentError: `restarts` is negative.
    """
    from danlu.training.parallel.workers import run_workers

    if restarts < 0:
        raise ArgumentError(f"--restarts {restarts}: must be 0 or more")
    # Libraries that no recipe configures start one thread per core, in every process.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))
    ended = run_workers(command, processes, restarts, name=uuid.uuid4().hex)
    if ended.message is not None:
        info(ended.message)
    return ended.exit_code
