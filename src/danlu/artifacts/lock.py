"""A lock that lets one process at a time train into a run and is released however the process ends."""

from collections.abc import Iterator
from contextlib import contextmanager

from danlu.artifacts.files import translate_write_errors
from danlu.artifacts.run import RunDirectory
from danlu.core.errors import ArtifactError


@contextmanager
def lock_run(run: RunDirectory) -> Iterator[None]:
    """Lock a run while training writes into it.

    Raises:
        ArtifactError: another process does.
    """
    try:
        import fcntl
    except ImportError:  # not a Unix; there is no lock that ends with its process in the same way
        yield
        return
    path = run.path / ".lock"
    with translate_write_errors(path):
        file = path.open("w", encoding="utf-8")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArtifactError(f"{run.path}: another process trains into this run; wait for it, or end it") from None
        yield
