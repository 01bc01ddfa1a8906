"""`--processes` and `--restarts` of `danlu train`, `danlu run` and `danlu predict`."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Processes = Annotated[
    int | None, Parameter(help="Start this many processes on this machine, which train together; usually one per GPU.")
]
Restarts = Annotated[
    int,
    Parameter(help="With --processes: how many times all restart from the newest checkpoint after one was killed."),
]
LAUNCH_OPTIONS = ("--processes", "--restarts")


def launch_train(
    recipe: str | None,
    resume: Path | None,
    overrides: tuple[str, ...],
    output: Path,
    name: str | None,
    overwrite: bool,
    processes: int,
    restarts: int,
) -> int:
    """Run this command in several processes and return the exit code.

    Each process gets the arguments of the command line except `--processes` and `--restarts`.
    """
    from danlu.launch.processes import launch_resume, launch_run
    from danlu.recipe.load import load_recipe

    arguments = list(_drop_options(sys.argv[1:], LAUNCH_OPTIONS))
    if resume is not None:
        return launch_resume(arguments, resume, processes, restarts)
    asked = load_recipe(str(recipe), overrides)
    return launch_run(arguments, asked, output, name, overwrite, processes, restarts)


def launch_predict(output: Path | None, processes: int) -> int:
    """Predict in several processes, each a share of the rows; return the exit code."""
    from danlu.errors import ArgumentError
    from danlu.launch.processes import DANLU_COMMAND, launch_command

    if output is None or processes < 1:
        raise ArgumentError("--processes needs a number of at least 1, and --output with the file for all predictions")
    return launch_command((*DANLU_COMMAND, *_drop_options(sys.argv[1:], LAUNCH_OPTIONS)), processes, restarts=0)


def _drop_options(arguments: Iterable[str], names: tuple[str, ...]) -> Iterator[str]:
    words = iter(arguments)
    for word in words:
        if word in names:
            next(words, None)
        elif not word.startswith(tuple(f"{name}=" for name in names)):
            yield word
