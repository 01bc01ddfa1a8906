"""Signals that stop a training: the current step is finished first, so that its weights are complete.

Ctrl-C, SIGTERM, SIGHUP (the terminal was closed) and SIGUSR1 (a queue such as SLURM warns that the time is up).
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")  # Windows lacks the last two
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


class StopRequest:
    """Record whether training was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def catch_stop_signals() -> Iterator[StopRequest]:
    """Catch the signals as a stop request; a second one ends the program.

    What the program was told to ignore, as `nohup` ignores SIGHUP, stays ignored.

    Only a program's main thread receives signals; in other threads nothing is caught.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}

    def collect(number: int, frame: FrameType | None) -> None:
        request.signal = signal.Signals(number)
        for caught, handler in before.items():
            signal.signal(caught, handler)

    for number in before:
        signal.signal(number, collect)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
