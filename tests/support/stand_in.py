"""What launched processes do in tests of the launcher: `python -m tests.support.stand_in WHAT FOLDER`."""

import os
import signal
import sys
import time
from pathlib import Path

from danlu.core.console import info
from danlu.core.distributed.env import dist_env
from danlu.errors import DataError
from danlu.launch.failures import exit_with_parent, report_failure

WORLD = dist_env()


def answer(folder: Path) -> None:
    info("said once")
    sys.stdout.write(f"rank {WORLD.rank} of {WORLD.world_size}, threads {os.environ['OMP_NUM_THREADS']}\n")


def same_error(folder: Path) -> None:
    raise DataError("churn.csv: no such file", code="DL201")


def error_of_one(folder: Path) -> None:
    """Rank 1 fails, and the other notices that it is gone."""
    import torch
    from torch import distributed

    distributed.init_process_group("gloo")
    if WORLD.rank == 1:
        raise DataError("rows of rank 1 are wrong")
    distributed.all_reduce(torch.ones(1))


def bug_of_one(folder: Path) -> None:
    if WORLD.rank == 1:
        raise ZeroDivisionError("division by zero")
    time.sleep(600)


def killed_once(folder: Path) -> None:
    """The last process is killed in the first attempt; in the next all meet again."""
    import torch
    from torch import distributed

    distributed.init_process_group("gloo")
    total = torch.ones(1)
    distributed.all_reduce(total)
    if WORLD.restart_count == 0 and WORLD.rank == WORLD.world_size - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    distributed.all_reduce(total)
    sys.stdout.write(f"all there again: {int(total)}, restarts {WORLD.restart_count}\n")


def killed_always(folder: Path) -> None:
    if WORLD.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def deaf(folder: Path) -> None:
    """Rank 1 fails while the other neither ends nor can be asked to."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (folder / f"ready-{WORLD.rank}").touch()
    while len(list(folder.glob("ready-*"))) < WORLD.world_size:
        time.sleep(0.02)
    if WORLD.rank == 1:
        raise DataError("rank 1 has failed")
    time.sleep(600)


def stoppable(folder: Path) -> None:
    """Runs until asked to stop, writes which signals came, and ends as a training does that was stopped."""
    came: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: came.append(number))
    (folder / f"ready-{WORLD.rank}").write_text(str(os.getpid()))
    while not came:
        time.sleep(0.02)
    time.sleep(0.5)  # for a second signal, were there one
    (folder / f"checkpoint-{WORLD.rank}").write_text(" ".join(signal.Signals(number).name for number in came))
    raise DataError("stopped at step 7")


def stubborn(folder: Path) -> None:
    """Asked to stop, rank 0 is killed and the other goes on for ever."""
    number = signal.SIGKILL if WORLD.rank == 0 else signal.SIGCONT
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), number))
    (folder / f"ready-{WORLD.rank}").touch()
    while True:
        time.sleep(0.02)


if __name__ == "__main__":
    exit_with_parent()
    code = 0
    try:
        globals()[sys.argv[1]](Path(sys.argv[2]))
    except Exception as error:
        code = report_failure(error)
    sys.stdout.flush()
    os._exit(code)
