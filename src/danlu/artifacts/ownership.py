"""Who may write into a run's folder: its name, its lock, what stands there before, what a killed process left.

    .lock         held by the process that writes; the first file of a run
    .replaced/    the earlier run of this name, until the new one has its first checkpoint
    .replacing/   the same while it is moved out or back: a killed process's move is undone

Paths in, paths out; what a run holds is known by `artifacts.run`.
"""

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from danlu.artifacts.files import LEFTOVER, StrPath, finish_together, translate_write_errors
from danlu.errors import ArgumentError, ArtifactError

RECIPE = "recipe.yaml"  # written last of what a run begins with: with it, the run can be resumed
LOCK, REPLACED, REPLACING = ".lock", ".replaced", ".replacing"
MAX_NAME_BYTES = 200  # file systems take 255; names of files beside the run are longer than its own


def refuse_existing(parent: Path, folder: str | None, overwrite: bool) -> None:
    """Raise ArgumentError if the run may not use this folder; check it before any work."""
    if folder is None:
        return
    require_folder_name(folder)
    path = parent / folder
    if not path.exists():
        return
    if not overwrite:
        raise _exists_already(path)
    if not _is_run(path):
        raise ArgumentError(
            f"{path}: is not a run of danlu and will not be overwritten; choose another --name", code="DL404"
        )


def _is_run(path: Path) -> bool:
    """Return whether a folder is a run: finished, begun, or made and empty still."""
    if not path.is_dir():
        return False
    try:
        return any((path / name).exists() for name in (RECIPE, LOCK, REPLACED)) or not any(path.iterdir())
    except FileNotFoundError:  # another process removed it just now
        return True


def _exists_already(path: Path) -> ArgumentError:
    return ArgumentError(f"{path}: exists already; choose another --name, or replace it with --overwrite", code="DL404")


def require_folder_name(name: str) -> None:
    """Raise ArgumentError unless a run's name is that of one readable folder."""
    more_than_one = name in ("", ".", "..") or any(sign in name for sign in "/\\")
    unreadable = name != name.strip() or not name.isprintable()
    if more_than_one or unreadable or len(os.fsencode(name)) > MAX_NAME_BYTES:
        raise ArgumentError(
            f"--name {name!r}: names one folder below the folder of runs, in at most {MAX_NAME_BYTES} bytes; "
            "leave out / and \\, line breaks, and blanks at its ends, and choose another place with --output",
            code="DL402",
        )


def unused_name(parent: Path, name: str) -> str:
    """Return an unused run name: recipe, time and, if needed, a number."""
    return next(free for free in _candidate_names(name) if not (parent / free).exists())


def _candidate_names(name: str) -> Iterator[str]:
    """Yield candidate names for a run started now, the best first."""
    stamp = f"{name}-{datetime.now():%Y%m%d-%H%M}"
    yield stamp
    yield from (f"{stamp}-{counter}" for counter in itertools.count(2))


def make_unique(parent: Path, name: str) -> Path:
    """Create a folder under the first name that no other run has."""
    for free in _candidate_names(name):
        try:
            (parent / free).mkdir()
        except FileExistsError:
            continue
        return parent / free
    raise AssertionError("numbers do not end")


def make_or_take(path: Path, overwrite: bool) -> Path:
    """Create a folder, or with `overwrite` take the one that is there.

    Only its lock makes it one's own.
    """
    try:
        path.mkdir()
    except FileExistsError:  # perhaps another process was faster
        if not overwrite or not path.is_dir():
            raise _exists_already(path) from None
    return path


@contextmanager
def lock_run(run: StrPath) -> Iterator[None]:
    """Lock a run while this process writes into it.

    What a killed process left is cleared up first.

    Raises:
        ArtifactError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # not a Unix; there is no lock that ends with its process in the same way
        yield
        return
    path = Path(run) / LOCK
    with translate_write_errors(path):
        file = path.open("ab")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _held_by_another(path.parent) from None
        if not _is_same_file(path, file.fileno()):  # who held it before has removed the run meanwhile
            raise _held_by_another(path.parent)
        with translate_write_errors(path):
            _undo_moves(path.parent)
            sweep(path.parent)
        yield


def _held_by_another(run: Path) -> ArtifactError:
    return ArtifactError(f"{run}: another process writes into this run; wait for it, or end it", code="DL307")


def _is_same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def is_held(run: Path) -> bool:
    """Return whether a process writes into a run now."""
    try:
        import fcntl

        with (run / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (ImportError, FileNotFoundError):
        return False
    except BlockingIOError:
        return True
    return False


def leftovers(run: Path) -> list[Path]:
    """Return what dead processes left half-written in a run.

    Folds and trials are runs of their own.
    """
    folders = [run, *(run / name for name in ("data", "model", "checkpoints", "predictions", "evaluations"))]
    return sorted(found for folder in folders for found in folder.glob(f".*{LEFTOVER}"))


def sweep(run: Path) -> None:
    """Delete the leftovers of a run that this process holds."""
    finish_together(run / "model", "bundle.json")
    for found in leftovers(run):
        _remove(found)


def set_aside(run: Path, is_kept: bool) -> None:
    """Move what a run's folder holds into `.replaced`, before a new run.

    Args:
        run: held by this process.
        is_kept: whether it has what is worth keeping until the new run has as much.
    """
    if not is_kept:  # in `.replaced` may be one that a killed replacement never came to replace
        _clear(run, LOCK, REPLACED)
        return
    forget_replaced(run)
    (run / REPLACING).mkdir()
    for entry in run.iterdir():
        if entry.name not in (LOCK, REPLACING):
            entry.rename(run / REPLACING / entry.name)
    (run / REPLACING).rename(run / REPLACED)


def discard(run: Path) -> None:
    """Delete a new run that came to nothing.

    The earlier run of its name comes back, if there was one.
    """
    _clear(run, LOCK, REPLACED)
    if (run / REPLACED).exists():
        (run / REPLACED).rename(run / REPLACING)
        _undo_moves(run)
        return
    (run / LOCK).unlink(missing_ok=True)
    run.rmdir()


def forget_replaced(run: Path) -> None:
    """Delete the earlier run of a name, which the new one has replaced."""
    if (run / REPLACED).exists():
        shutil.rmtree(run / REPLACED, ignore_errors=True)


def _undo_moves(run: Path) -> None:
    """Move back what a killed process was moving out or back."""
    moving = run / REPLACING
    if not moving.is_dir():
        return
    for entry in moving.iterdir():
        entry.rename(run / entry.name)
    moving.rmdir()


def _clear(run: Path, *but: str) -> None:
    """Delete what a folder holds, first what makes it a run."""
    (run / RECIPE).unlink(missing_ok=True)
    for entry in run.iterdir():
        if entry.name not in but:
            _remove(entry)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
