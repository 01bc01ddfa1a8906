"""Work kept between runs: a folder under the hash of what it was made from, made once a machine and then only read.

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

from danlu.core.errors import ArtifactError

DIGITS = 24  # of the hash; two keys in ten billion billion would meet


def cache_root() -> Path:
    """Where kept work lies: $DANLU_CACHE, else danlu's folder among the user's caches."""
    chosen = os.environ.get("DANLU_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "danlu"
    base = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "danlu"


def scratch_folder() -> Path:
    """A folder for large files that live as long as a process; beside what is kept, where there is room for it."""
    folder = cache_root() / "scratch"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def identity(path: Path) -> tuple[str, int, int]:
    """What tells one version of a file from another without reading it: path, size, time of the last change."""
    status = path.stat()
    return str(path.absolute()), status.st_size, status.st_mtime_ns


def kept(kind: str, made_from: Any, make: Callable[[Path], None]) -> Path:
    """The folder with the result of `make`, which is called only where there is none yet.

    Args:
        kind: what is kept, e.g. `images`; a folder below the root.
        made_from: all that decides the result, as JSON values: identities of files, options, a format's version.
        make: fills the empty folder it is given; a crash on the way leaves nothing behind.
    """
    digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:DIGITS]
    folder = cache_root() / kind / digest
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{digest}-", dir=folder.parent, ignore_cleanup_errors=True) as aside:
            made = Path(aside) / digest
            made.mkdir()
            make(made)
            _put(made, folder)
    except OSError as error:
        raise ArtifactError(
            f"{folder.parent}: cannot be written: {error.strerror or error}; "
            "free some space, or name another folder for kept work in the environment variable DANLU_CACHE"
        ) from error
    return folder


def _put(made: Path, folder: Path) -> None:
    """Rename into place; where another process came first, its result is as good."""
    try:
        made.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
