"""Report the root cause of a failure in multi-process training exactly once.

When one process fails, the others fail a moment later because it is gone; and an error in a recipe or a file occurs in
each of them. So a failing process writes a record into a folder of the launcher, and prints its message only if no
other process has printed the same. The launcher reads the records to find the root cause.
"""

import hashlib
import json
import os
import re
import signal
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from danlu.core.console import ERROR, emit
from danlu.core.distributed.env import dist_env
from danlu.core.error_document import UNEXPECTED, error_document
from danlu.errors import DanluError, message_with_codes

# Process id of danlu's launcher, set for its workers: what they do not print, the launcher will.
LAUNCHER_PID_VAR = "DANLU_WATCHED"
# Set by torch elastic, both by torchrun and by danlu's launcher: FOLDER/attempt_N/RANK/error.json.
ERROR_FILE_VAR = "TORCHELASTIC_ERROR_FILE"
# Messages of torch's backends when a peer process is gone.
LOST_PEER = re.compile(
    r"connection (was )?(closed|reset|refused|aborted)|broken pipe|socket (is )?closed|remote process exited"
    r"|failed to recv, got 0 bytes|peer.{0,20}(gone|disconnected)|end of file",
    re.IGNORECASE,
)
LOST_ERRORS = ("DistNetworkError", "DistBackendError", "DistStoreError", "RuntimeError", "ConnectionError")
PARENT_POLL_S = 1.0
GRACE_S = 1.0  # for the process that failed first to write its record

Category = Literal["foreseen", "unforeseen", "lost"]


@dataclass(frozen=True)
class FailureRecord:
    """Record the failure of one process.

    Attributes:
        category: foreseen (a `DanluError`), unforeseen, or lost (a peer process is gone).
        rank: of the failed process.
        exit_code: of its error.
        message: for the user.
        at_ns: time in nanoseconds since 1970.
    """

    category: Category
    rank: int
    exit_code: int
    message: str
    at_ns: int


def report_failure(error: Exception, *, as_json: bool = False) -> int:
    """Print an error unless another process has printed or caused it; return the exit code.

    A single process prints every error.

    Args:
        error: ends this process.
        as_json: also print it on stdout, as `--json` asks.
    """
    world = dist_env()
    foreseen = isinstance(error, DanluError)
    code = error.exit_code if isinstance(error, DanluError) else 1
    text = (
        message_with_codes(error)
        if isinstance(error, DanluError)
        else f"danlu: {type(error).__name__}: {error} (unexpected error; --debug shows the traceback) [{UNEXPECTED}]"
    )
    if world.world_size == 1:
        emit(text, ERROR)
        _print_document(error, as_json)
        return code
    category: Category = "foreseen" if foreseen else "lost" if is_lost_peer(error) else "unforeseen"
    folder = failure_folder()
    if _should_report(FailureRecord(category, world.rank, code, text, time.time_ns()), folder):
        emit(text if foreseen else f"rank {world.rank}: {text}", ERROR)
        _print_document(error, as_json)
    return code


def _print_document(error: Exception, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(f"{json.dumps(error_document(error), indent=2, ensure_ascii=False)}\n")


def exit_with_parent() -> None:
    """Send SIGTERM to this process once if danlu's launcher dies, for whatever reason.

    Applies only to direct children of the launcher: processes started by workers inherit their environment.
    """
    launcher = os.environ.get(LAUNCHER_PID_VAR)
    if launcher is None or os.getppid() != int(launcher):
        return

    def watch() -> None:
        while os.getppid() == int(launcher):
            time.sleep(PARENT_POLL_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="danlu-launcher-watch", daemon=True).start()


def is_lost_peer(error: BaseException) -> bool:
    """Return whether an error reports a lost peer process, which is never the root cause."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names.intersection(LOST_ERRORS)) and LOST_PEER.search(str(error)) is not None


def failure_folder() -> Path | None:
    """Return the folder for failure records of this machine; None if no launcher made one."""
    file = os.environ.get(ERROR_FILE_VAR, "")
    folder = Path(file).parent.parent
    return folder if file and file != os.devnull and folder.is_dir() else None


def read_failures(folder: Path) -> list[FailureRecord]:
    """Read the failure records of one attempt, oldest first."""
    found = [FailureRecord(**json.loads(file.read_text(encoding="utf-8"))) for file in folder.glob("failure-*.json")]
    return sorted(found, key=lambda record: record.at_ns)


def root_cause(records: list[FailureRecord]) -> FailureRecord | None:
    """Return the root cause: the earliest `DanluError`, else the earliest other error."""
    order: tuple[Category, ...] = ("foreseen", "unforeseen", "lost")
    return min(records, key=lambda record: (order.index(record.category), record.at_ns), default=None)


def _should_report(record: FailureRecord, folder: Path | None) -> bool:
    """Write a record; return whether its message should be printed here."""
    if folder is None:
        return True
    first = _write_record(record, folder)
    if record.category == "foreseen":
        return first
    if record.category == "lost":
        if os.environ.get(LAUNCHER_PID_VAR):
            return False
        time.sleep(GRACE_S)
    earlier = [found for found in read_failures(folder) if found.category != "lost" or record.category == "lost"]
    cause = root_cause(earlier)
    return first and cause is not None and cause.rank == record.rank


def _write_record(record: FailureRecord, folder: Path) -> bool:
    """Write a record atomically; return False if an equal one exists already."""
    said = record.message if record.category == "foreseen" else f"{record.category} {record.rank}"
    target = folder / f"failure-{hashlib.sha256(said.encode()).hexdigest()[:16]}.json"
    handle, name = tempfile.mkstemp(dir=folder)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(asdict(record), file)
    try:
        # Unlike a rename, a link does not replace another process's file.
        os.link(name, target)
    except FileExistsError:
        return False
    finally:
        Path(name).unlink()
    return True
