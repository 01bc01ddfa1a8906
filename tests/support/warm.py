"""The command line in forks of a process that has imported what takes seconds to import.

Most tests of the command ask what it does and says, not how it starts. `danlu` in a process of its own, as installed,
is tested where that matters: by the fixture `installed_danlu`.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.disk import do_not_wait_for_the_disk

PATIENCE_S = 900
IMPORTED = [
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
    "torch._dynamo",  # torch's optimizers import it
]


def command(*arguments: str | Path, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run `danlu` with some arguments, and return its exit code and output."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(IMPORTED)
    words = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = forks.Process(target=_main, args=(words, cwd or Path.cwd(), dict(os.environ), out, err))
        process.start()
        process.join(PATIENCE_S)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(words, PATIENCE_S, out.read_text(), err.read_text())
        return subprocess.CompletedProcess(words, process.exitcode, out.read_text(), err.read_text())


def _main(arguments: list[str], cwd: Path, environment: dict[str, str], out: Path, err: Path) -> None:
    """In the fork: be the command."""
    for file, stream in ((out, sys.stdout), (err, sys.stderr)):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, stream.fileno())
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = ["danlu", *arguments]
    do_not_wait_for_the_disk()
    from danlu.cli.main import main

    main()
