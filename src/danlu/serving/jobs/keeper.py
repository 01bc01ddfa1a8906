"""Keep the process that does jobs running, from the supervisor: begin it, replace it, end it."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from danlu.artifacts.jobs import JobStore
from danlu.core.console import ERROR, emit
from danlu.serving.forks import be_fork
from danlu.serving.jobs.runner import run_jobs, worker_name

SOON_S = 1.0  # one that lives shorter is not replaced at once


class RunnerKeeper:
    """Hold the process that does jobs.

    Args:
        place: of the job store.
        forget: is called in the fork, to close what is none of its business.
    """

    def __init__(self, place: str, forget: Callable[[], None]) -> None:
        self._place, self._forget = place, forget
        self._pid = 0
        self._began = 0.0
        self._ends = False

    @property
    def is_running(self) -> bool:
        """Whether there is such a process."""
        return self._pid != 0

    def look(self) -> None:
        """Begin the process, unless it runs, is to end, or ended a moment ago."""
        if self._pid or self._ends or time.monotonic() - self._began < SOON_S:
            return
        self._began = time.monotonic()
        pid = os.fork()
        if pid == 0:
            be_fork("the process of the jobs", self._run)
        self._pid = pid

    def _run(self) -> int:
        self._forget()
        run_jobs(self._place)
        return 0

    def has_ended(self, pid: int) -> bool:
        """Take note that a child ended, whose jobs wait again; return whether it was ours."""
        if pid != self._pid:
            return False
        self._pid = 0
        if not self._ends:
            emit("danlu serve: the process of the jobs ended; another takes its place", ERROR)
            with suppress(Exception):  # the lease gives them back as well, later
                JobStore.open(self._place).abandon(worker_name(pid))
        return True

    def end(self, number: int = signal.SIGTERM) -> None:
        """Tell the process to give its job back and end, and begin no other."""
        self._ends = True
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, number)
