"""Results kept between runs: each in a folder named by the hash of its inputs, computed once, then read only.

The root is $DANLU_CACHE, else the user's cache folder. Everything in it can be deleted at any time.
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.errors import ArtifactError

DAY_S = 86_400.0
SCRATCH = "scratch"
KEY_DIGITS = 24  # hex digits of the hash: 96 bits, so that two keys practically never collide
_COPIES: ContextVar[Path | None] = ContextVar("copies", default=None)  # where results go that nobody will ask again


def cache_root() -> Path:
    """Return the cache folder: $DANLU_CACHE, else danlu's among the user's caches."""
    chosen = os.environ.get("DANLU_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "danlu"
    base = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "danlu"


def scratch_folder() -> Path:
    """Return a folder for large files that live as long as a process.

    It lies inside the cache, where there is room.
    """
    folder = cache_root() / SCRATCH
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def temporary_copies() -> Iterator[Path]:
    """Keep what `cached_dir` makes within the block until its end alone.

    For files that are read once, as those to be predicted: a copy of each would stay in the cache for nobody.
    """
    root = scratch_folder()
    with tempfile.TemporaryDirectory(dir=root, ignore_cleanup_errors=True) as folder:
        token = _COPIES.set(Path(folder))
        try:
            yield Path(folder)
        finally:
            _COPIES.reset(token)


def file_identity(path: Path) -> tuple[str, int, int]:
    """Identify a file's version without reading it: path, size, modification time."""
    status = path.stat()
    return str(path.absolute()), status.st_size, status.st_mtime_ns


def cached_dir(kind: str, key: Any, make: Callable[[Path], None]) -> Path:
    """Return the cached folder for `key`, calling `make` if there is none yet.

    Args:
        kind: what is cached, e.g. `images`; a folder below the root.
        key: everything the result depends on, as JSON values: identities of files, options, a format version.
        make: fills the empty folder it is given; a crash leaves nothing behind.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:KEY_DIGITS]
    folder = (_COPIES.get() or cache_root()) / kind / digest
    if folder.is_dir():
        mark_used(folder)
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{digest}-", dir=folder.parent, ignore_cleanup_errors=True) as aside:
            made = Path(aside) / digest
            made.mkdir()
            make(made)
            _publish(made, folder)
    except OSError as error:
        raise ArtifactError(
            f"{folder.parent}: cannot be written: {error.strerror or error}; "
            "free some space, or set the environment variable DANLU_CACHE to another folder",
            code="DL306",
        ) from error
    return folder


def mark_used(folder: Path) -> None:
    """Note that a cached folder was used just now, so that it is not pruned."""
    with suppress(OSError):  # another's cache, which is read only
        os.utime(folder)


@dataclass(frozen=True)
class CacheUse:
    """Hold what one kind of cached results takes.

    Attributes:
        kind: a folder below the root.
        entries: cached results.
        size_bytes: of all of them, and of what dead processes left.
        pruned: results and leftovers that were deleted.
        freed_bytes: by that.
    """

    kind: str
    entries: int
    size_bytes: int
    pruned: int
    freed_bytes: int


def prune_cache(unused_days: float) -> list[CacheUse]:
    """Delete results that were not used for so long; return what each kind takes.

    What dead processes left is deleted, too.

    Args:
        unused_days: 0 deletes all results. What is being filled is a leftover once nothing was written for a day.

    Raises:
        ArtifactError: a folder cannot be deleted.
    """
    root, now, found = cache_root(), time.time(), list[CacheUse]()
    for kind in sorted(folder for folder in root.glob("*") if folder.is_dir()):
        sizes = {folder: _size_bytes(folder) for folder in sorted(kind.iterdir()) if folder.is_dir()}
        old = [folder for folder in sizes if _is_old(folder, now, unused_days)]
        for folder in old:
            shutil.rmtree(folder, ignore_errors=True)
        if left := [folder for folder in old if folder.exists()]:
            raise ArtifactError(
                f"{left[0]}: cannot be deleted; you may not, or another process uses it now", code="DL306"
            )
        kept = [folder for folder in sizes if folder not in old]
        freed = sum(sizes[folder] for folder in old)
        count = sum(not _is_leftover(folder) for folder in kept)
        found.append(CacheUse(kind.name, count, sum(sizes[folder] for folder in kept), len(old), freed))
    return found


def _is_leftover(folder: Path) -> bool:
    return folder.name.startswith(".") or folder.parent.name == SCRATCH


def _is_old(folder: Path, now: float, unused_days: float) -> bool:
    """Return whether a result was not used for so long.

    A half-made one counts by when it was last written to.
    """
    if not _is_leftover(folder):
        return now - folder.stat().st_mtime >= unused_days * DAY_S
    written = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    return now - written > DAY_S


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _publish(made: Path, folder: Path) -> None:
    """Rename into place; if another process was first, use its result."""
    try:
        made.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
