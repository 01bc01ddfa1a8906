"""Ctrl-C and SIGTERM during training: the current step is finished first, so that its weights are complete."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Record whether training was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def catch_stop_signals() -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM as a stop request; a second one ends the program.

    Only a program's main thread receives signals; in other threads nothing is caught.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def collect(number: int, frame: FrameType | None) -> None:
        request.signal = signal.Signals(number)
        for caught, handler in before.items():
            signal.signal(caught, handler)

    for number in SIGNALS:
        signal.signal(number, collect)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
