"""Standard input as a file of data: `-` or /dev/stdin, CSV or lines of JSON, which is told by its first sign."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from danlu.artifacts.cache import scratch_folder
from danlu.artifacts.files import translate_write_errors
from danlu.errors import ArgumentError

NAMES = ("-", "/dev/stdin")


@contextmanager
def as_file(data: str) -> Iterator[str]:
    """Yield a path for what the user named.

    Of standard input it is that of a copy.

    Raises:
        ArgumentError: standard input is closed.
        ArtifactError: there is no room for the copy.
    """
    if data not in NAMES:
        yield data
        return
    if sys.stdin is None or sys.stdin.closed:
        raise ArgumentError(f"{data}: standard input is closed; pipe the rows into it, or name a file", code="DL402")
    folder = scratch_folder()
    with translate_write_errors(folder), tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as held:
        written = Path(held) / "stdin"
        with written.open("wb") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        with written.open("rb") as copy:
            begins = copy.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
        named = written.rename(written.with_suffix(".jsonl" if begins.startswith(b"{") else ".csv"))
        yield str(named)


def is_json_lines(path: str) -> bool:
    """Return whether a file holds lines of JSON, by its name."""
    return path.endswith((".jsonl", ".ndjson"))
