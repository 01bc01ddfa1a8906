"""Files are written without waiting for the disk, which would take longer than most of the trainings of the tests.

What that wait is for, a machine that loses its power, is no test's matter; that it is asked for is tested in
`tests.artifacts.test_files`. A killed process loses nothing that it has written.
"""

import os


def do_not_wait_for_the_disk() -> None:
    """For this process, and for what is forked from it."""
    os.fsync = lambda fd: None
