"""Results kept between runs: each in a folder named by the hash of its inputs, computed once, then read only.

The root is $DANLU_CACHE, else the user's cache folder. Everything in it can be deleted at any time.
"""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from danlu.errors import ArtifactError

KEY_DIGITS = 24  # hex digits of the hash: 96 bits, so that two keys practically never collide


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
    folder = cache_root() / "scratch"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


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
    folder = cache_root() / kind / digest
    if folder.is_dir():
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


def _publish(made: Path, folder: Path) -> None:
    """Rename into place; if another process was first, use its result."""
    try:
        made.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
