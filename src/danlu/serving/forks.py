"""What a fork of the supervisor does first and last: it lets go of the supervisor's signals, and ends with a code."""

import os
import signal
from collections.abc import Callable
from typing import NoReturn

from danlu.core.console import ERROR, emit


def be_fork(name: str, work: Callable[[], int]) -> NoReturn:
    """Do the work of a fork, and end its process.

    The exit code is what the work returns; 1 where it fails.

    Args:
        name: of the process, in the message of a failure.
        work: closes what belongs to the supervisor alone, and then does what the process is for.
    """
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for handled in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(handled, signal.SIG_DFL)
        code = work()
    except BaseException as error:
        emit(f"danlu serve: {name} ended: {type(error).__name__}: {error}", ERROR)
    finally:
        os._exit(code)  # nothing of the supervisor's is to be ended twice
