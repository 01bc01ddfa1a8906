"""How one of several processes that train together says why it failed: the cause is shown once, and nothing over it.

When one process fails, the others fail a moment later because it is gone; and what is wrong with a recipe or a file is
wrong for each of them. So whoever fails leaves a note in a folder that the launcher made for this machine, and speaks
only where no other has said the same. The launcher reads the notes to know what the failure was.
"""

import hashlib
import json
import os
import re
import signal
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from danlu.core.console import shout
from danlu.core.errors import DanluError
from danlu.core.world import this_world

# danlu's own launcher sets it for its workers: what is left unsaid, the launcher will say.
WATCHED = "DANLU_WATCHED"
# torch elastic sets it, danlu's own launcher as torchrun does: FOLDER/attempt_N/RANK/error.json.
ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
# How torch's backends say that another process is no longer there.
LOST_PEER = re.compile(
    r"connection (was )?(closed|reset|refused|aborted)|broken pipe|socket (is )?closed|remote process exited"
    r"|failed to recv, got 0 bytes|peer.{0,20}(gone|disconnected)|end of file",
    re.IGNORECASE,
)
LOST_ERRORS = ("DistNetworkError", "DistBackendError", "DistStoreError", "RuntimeError", "ConnectionError")
WATCH_EVERY_S = 1.0
PATIENCE_S = 1.0  # for the process that failed first to leave its note

Kind = Literal["foreseen", "unforeseen", "lost"]


@dataclass(frozen=True)
class Note:
    """What a process left when it failed.

    Attributes:
        kind: an error of danlu's own, one that it did not foresee, or that another process has gone.
        rank: who failed.
        exit_code: that its own error has.
        message: for the person who waits.
        at_ns: when, in nanoseconds since 1970.
    """

    kind: Kind
    rank: int
    exit_code: int
    message: str
    at_ns: int


def say_failure(error: Exception) -> int:
    """Show an error unless another process has shown it or is its cause; the exit code.

    A process alone shows every error.
    """
    world = this_world()
    foreseen = isinstance(error, DanluError)
    code = error.exit_code if isinstance(error, DanluError) else 1
    text = str(error) if foreseen else f"danlu: {type(error).__name__}: {error} (not foreseen; --debug shows where)"
    if world.size == 1:
        shout(text)
        return code
    kind: Kind = "foreseen" if foreseen else "lost" if is_lost_peer(error) else "unforeseen"
    folder = notes_folder()
    if _may_speak(Note(kind, world.rank, code, text, time.time_ns()), folder):
        shout(text if foreseen else f"rank {world.rank}: {text}")
    return code


def end_with_launcher() -> None:
    """Have this process asked to stop, once, when danlu's launcher is no longer there, however that came about.

    Only of a process that the launcher has started itself: what its workers start inherits their environment.
    """
    launcher = os.environ.get(WATCHED)
    if launcher is None or os.getppid() != int(launcher):
        return

    def watch() -> None:
        while os.getppid() == int(launcher):
            time.sleep(WATCH_EVERY_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="danlu-launcher-watch", daemon=True).start()


def is_lost_peer(error: BaseException) -> bool:
    """Whether an error says that another process has gone, which is never the cause of a failure."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names.intersection(LOST_ERRORS)) and LOST_PEER.search(str(error)) is not None


def notes_folder() -> Path | None:
    """Where the processes of this machine leave their notes; None without a launcher that made such a folder."""
    file = os.environ.get(ERROR_FILE, "")
    folder = Path(file).parent.parent
    return folder if file and file != os.devnull and folder.is_dir() else None


def read_notes(folder: Path) -> list[Note]:
    """The notes of one attempt, oldest first."""
    found = [Note(**json.loads(file.read_text(encoding="utf-8"))) for file in folder.glob("note-*.json")]
    return sorted(found, key=lambda note: note.at_ns)


def cause_of(notes: list[Note]) -> Note | None:
    """The note that says what the failure was: an error of danlu's own before any other, then the first."""
    order: tuple[Kind, ...] = ("foreseen", "unforeseen", "lost")
    return min(notes, key=lambda note: (order.index(note.kind), note.at_ns), default=None)


def _may_speak(note: Note, folder: Path | None) -> bool:
    """Leave a note; whether what it says is news for the person who waits."""
    if folder is None:
        return True
    first = _leave(note, folder)
    if note.kind == "foreseen":
        return first
    if note.kind == "lost":
        if os.environ.get(WATCHED):
            return False
        time.sleep(PATIENCE_S)
    earlier = [found for found in read_notes(folder) if found.kind != "lost" or note.kind == "lost"]
    cause = cause_of(earlier)
    return first and cause is not None and cause.rank == note.rank


def _leave(note: Note, folder: Path) -> bool:
    """Write a note whole; False where the same message of that kind is there already."""
    said = note.message if note.kind == "foreseen" else f"{note.kind} {note.rank}"
    target = folder / f"note-{hashlib.sha256(said.encode()).hexdigest()[:16]}.json"
    handle, name = tempfile.mkstemp(dir=folder)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(asdict(note), file)
    try:
        # Unlike a renaming, a link does not replace what another process has put there.
        os.link(name, target)
    except FileExistsError:
        return False
    finally:
        Path(name).unlink()
    return True
