"""The command line, and programs, in forks of a process that has imported what takes seconds to import.

Most tests of the command ask what it does and says, not how it starts. `danlu` in a process of its own, as installed,
is tested where that matters: by the fixture `installed_danlu`. `WARM` has imported torch; `LIGHT` has not, nor anything
else that is heavy, so that a fork of it tells what a command itself imports.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.disk import do_not_wait_for_the_disk
from tests.support.forks import Forks

PATIENCE_S = 900
IMPORTED = (
    "danlu.cli.main",
    "danlu.experiment.run_evaluation",
    "danlu.api.predict",
    "danlu.api.run",
    "danlu.experiment.trainer",
    "danlu.models.predictor",
    "danlu.training.build",
    "danlu.training.loop",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "scipy.stats",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "tests.support.libraries",
    "tests.support.warm",
    "torch._dynamo",  # torch's optimizers import it
)
WARM = Forks(*IMPORTED)
LIGHT = Forks(
    "danlu.api.check",
    "danlu.api.explain",
    "danlu.cli.main",
    "danlu.data.audit",
    "danlu.data.augment.registry",
    "danlu.data.balance.registry",
    "danlu.experiment.against",
    "danlu.experiment.file_explanation",
    "danlu.explanation.explain",
    "danlu.models.predictor",
    "danlu.models.table",
    "danlu.search.samplers",
    "danlu.serving.server",
    "danlu.serving.store",
    "danlu.serving.workers",
    "danlu.training.optimizers",
    "ruamel.yaml",
    "tests.support.warm",
)


def command(*arguments: str | Path, cwd: Path | None = None, text: str = "") -> "subprocess.CompletedProcess[str]":
    """Run `danlu` with some arguments and a text as its input, and return its exit code and output."""
    words = [str(argument) for argument in arguments]
    return WARM.run("tests.support.warm:be_danlu", *words, timeout=PATIENCE_S, cwd=cwd, text=text)


def stopped_command(number: signal.Signals, step: int, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run `danlu` with some arguments, and send it a signal as soon as the checkpoint of a step is there."""
    words = [str(argument) for argument in arguments]
    return WARM.run("tests.support.warm:be_stopped", int(number), step, *words, timeout=PATIENCE_S)


def program(
    code: str, *arguments: str | Path, cwd: Path | None = None, forks: Forks = WARM
) -> "subprocess.CompletedProcess[str]":
    """Run a program as `python -c` does, and return its exit code and output."""
    words = [str(argument) for argument in arguments]
    return forks.run("tests.support.forks:program", code, *words, timeout=PATIENCE_S, cwd=cwd)


def be_stopped(number: int, step: int, *arguments: str) -> None:
    """In the fork: be the command, and get a signal once a checkpoint is there."""
    rename = os.rename

    def renamed(source: Any, to: Any, **options: Any) -> None:
        rename(source, to, **options)
        if Path(to).name == f"step-{step:06}":
            os.kill(os.getpid(), number)

    setattr(os, "rename", renamed)  # noqa: B010
    be_danlu(*arguments)


def be_danlu(*arguments: str) -> None:
    """In the fork: be the command."""
    sys.argv = ["danlu", *arguments]
    do_not_wait_for_the_disk()
    from danlu.cli.main import main

    main()
