"""What the tests change of the disk: files are written without waiting for it, and may be no larger than a limit.

Waiting would take longer than most of the trainings of the tests. What it is for, a machine that loses its power, is no
test's matter; that it is asked for is tested in `tests.artifacts.test_files`. A killed process loses nothing that it
has written.
"""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


def do_not_wait_for_the_disk() -> None:
    """For this process, and for what is forked from it."""
    os.fsync = lambda fd: None


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A limit of the system: what writes beyond it fails as on a full disk, in compiled libraries, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
