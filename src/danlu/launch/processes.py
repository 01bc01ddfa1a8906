"""`--processes N`: run the same command in N local processes that train one run together.

The recipe is checked before any process is started.
"""

import os
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from danlu.artifacts.bundle import MANIFEST
from danlu.artifacts.environment import command_line
from danlu.artifacts.ownership import RECIPE, refuse_existing, unused_name
from danlu.artifacts.run import RunDirectory, find_runs
from danlu.artifacts.run_recipe import load_run_recipe
from danlu.core.distributed.env import dist_env
from danlu.core.threads import usable_cores
from danlu.errors import ArgumentError, ArtifactError, DanluError
from danlu.models.base import SelfFittingModel
from danlu.recipe.load import load_recipe
from danlu.recipe.schema import Recipe
from danlu.recipe.sections.training import Parallel
from danlu.training.distributed.layout import choose_layout, nearest_layout

LAUNCH_OPTIONS = ("--processes", "--restarts")
DANLU_COMMAND = (sys.executable, "-m", "danlu")
UNNAMED_LAUNCH = "none"  # torchrun's name for a launch without one


def launch_train(
    arguments: Sequence[str],
    recipe: str | None,
    resume: Path | None,
    overrides: Sequence[str],
    output: Path,
    name: str | None,
    overwrite: bool,
    processes: int,
    restarts: int,
) -> int:
    """Run `danlu train` or `danlu run` in several processes and return the exit code.

    Each process gets the arguments of the command line except `--processes` and `--restarts`.
    """
    arguments = list(drop_launch_options(arguments))
    if resume is not None:
        return launch_resume(arguments, resume, processes, restarts)
    return launch_run(
        arguments, load_recipe(str(recipe), overrides=overrides), output, name, overwrite, processes, restarts
    )


def launch_predict(arguments: Sequence[str], output: Path | None, processes: int) -> int:
    """Predict in several processes, each a share of the rows; return the exit code."""
    if output is None or processes < 1:
        raise ArgumentError(
            "--processes needs a number of at least 1, and --output with the file for all predictions", code="DL402"
        )
    return launch_command((*DANLU_COMMAND, *drop_launch_options(arguments)), processes, restarts=0)


def drop_launch_options(arguments: Iterable[str]) -> Iterator[str]:
    """Yield the arguments without `--processes` and `--restarts` and their values."""
    words = iter(arguments)
    for word in words:
        if word in LAUNCH_OPTIONS:
            next(words, None)
        elif not word.startswith(tuple(f"{name}=" for name in LAUNCH_OPTIONS)):
            yield word


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
    check_processes(load_run_recipe(RunDirectory.open(run).path / RECIPE), processes, nearest_layout)
    return launch_command((*DANLU_COMMAND, *arguments), processes, restarts)


def check_processes(recipe: Recipe, processes: int, choose: Callable[[Parallel, int], object] = choose_layout) -> None:
    """Raise ArgumentError unless the recipe's parallel layout is possible with this number of processes."""
    if dist_env().world_size > 1:
        raise ArgumentError(
            "--processes: this process is one of several already, started by a launcher; leave --processes out",
            code="DL601",
        )
    if processes < 1:
        raise ArgumentError(f"--processes {processes}: must be at least 1", code="DL402")
    check_single_process(recipe.model, processes)
    if recipe.tuning is not None and processes > 1:
        raise ArgumentError(f"--processes {processes}: a search runs in one process; leave it out", code="DL602")
    asked = recipe.training.parallel
    choose(Parallel() if asked == "auto" else asked, processes)


def check_single_process(model: object, processes: int) -> None:
    """Raise ArgumentError if several processes are asked to train a self-fitting model."""
    if isinstance(model, SelfFittingModel) and processes > 1:
        raise ArgumentError(
            f"--processes {processes}: {model.name} trains in one process; remove --processes", code="DL602"
        )


def launch_command(command: Sequence[str], processes: int, restarts: int) -> int:
    """Run a command in several processes and return the exit code.

    The exit code is that of the process that caused the failure; 0 if all succeeded.

    Args:
        command: the program and its arguments.
        processes: number of processes.
        restarts: how many times all processes are restarted after one was killed by a signal.

    Raises:
        ArgumentError: `restarts` is negative.
        DanluError: a process was killed too often, or lost another one.
    """
    from danlu.launch.elastic_agent import run_workers

    if restarts < 0:
        raise ArgumentError(f"--restarts {restarts}: must be 0 or more", code="DL402")
    # Libraries that no recipe configures start one thread per core, in every process.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))
    result = run_workers(command, processes, restarts, name=uuid.uuid4().hex)
    if result.message is not None:
        raise DanluError(result.message, code="DL605")
    return result.exit_code


def find_interrupted_run(output: Path) -> RunDirectory | None:
    """Return the unfinished run of this launch and command, or None.

    A launcher restarts all workers when one fails, and an elastic launcher also when nodes join or leave, which it
    does not always announce.
    """
    world = dist_env()
    if world.launch_id is None or (world.launch_id == UNNAMED_LAUNCH and not world.restart_count):
        return None
    for run in find_runs(output):
        try:
            known = run.environment()
        except ArtifactError:  # a damaged run beside this one stops no launch
            continue
        same = known.get("launch") == world.launch_id and known.get("command") == command_line()
        if same and not (run.model / MANIFEST).is_file():
            return run
    return None
