"""What `danlu train` and `danlu run` share where several processes are to do it."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Processes = Annotated[
    int | None, Parameter(help="Start so many processes on this machine, which train together; one a GPU is usual.")
]
Restarts = Annotated[
    int,
    Parameter(help="With --processes: how often all begin again from the newest checkpoint after one was killed."),
]
OWN = ("--processes", "--restarts")


def launched(
    recipe: str | None,
    resume: Path | None,
    overrides: tuple[str, ...],
    output: Path,
    name: str | None,
    overwrite: bool,
    processes: int,
    restarts: int,
) -> int:
    """Give this command to several processes; the exit code.

    Each gets the arguments as they were written, but for those that say how many there are.
    """
    from danlu.recipe.load import load_recipe
    from danlu.verbs.launch import launch_new, launch_on

    arguments = list(_without(sys.argv[1:], OWN))
    if resume is not None:
        return launch_on(arguments, resume, processes, restarts)
    asked = load_recipe(str(recipe), overrides)
    return launch_new(arguments, asked, output, name, overwrite, processes, restarts)


def shared_out(output: Path | None, processes: int) -> int:
    """Give this command's rows to several processes; the exit code."""
    from danlu.core.errors import ArgumentError
    from danlu.verbs.launch import DANLU, launch

    if output is None or processes < 1:
        raise ArgumentError("--processes wants a number from 1 and --output, a file that all answers go to")
    return launch((*DANLU, *_without(sys.argv[1:], OWN)), processes, restarts=0)


def _without(arguments: Iterable[str], names: tuple[str, ...]) -> Iterator[str]:
    words = iter(arguments)
    for word in words:
        if word in names:
            next(words, None)
        elif not word.startswith(tuple(f"{name}=" for name in names)):
            yield word
