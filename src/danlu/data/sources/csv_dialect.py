"""Sniff how a file separates its values before it is read, and refuse what a reader would change silently.

Short rows filled up with missing values, names repeated in the header, blank lines: each is accepted or refused here.
"""

import csv
import gzip
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from danlu.errors import DataError

if TYPE_CHECKING:
    from _csv import Reader

LONGEST_HEADER = 1 << 20  # bytes
SNIFFED_BYTES = 64 << 20  # bytes; a larger file is not searched row by row
BLOCK = 1 << 24


@dataclass(frozen=True)
class Dialect:
    """Hold how a file separates its values.

    Attributes:
        separator: one character.
        line_end: one character; a carriage return before a line feed is implied.
        names: column names, as in the header.
        blank_lines: whether a line may be empty.
    """

    separator: str
    line_end: str
    names: tuple[str, ...]
    blank_lines: bool


def sniff_dialect(path: Path, separator: str | None = None) -> Dialect:
    """Detect how a file separates its values.

    Args:
        path: plain or gzipped.
        separator: if known; else the most frequent candidate in the header.

    Raises:
        DataError: the header repeats a column name.
        UnicodeDecodeError: the header is not UTF-8.
    """
    with _open(path) as file:
        line = file.readline(LONGEST_HEADER)
    line_end = "\r" if b"\r" in line and b"\n" not in line else "\n"
    header = line.split(b"\r")[0] if line_end == "\r" else line
    # A spreadsheet's export often uses a semicolon.
    chosen = separator or max((b",", b";", b"\t", b"|"), key=header.count).decode()
    names = tuple(next(csv.reader([header.decode("utf-8-sig").strip("\r\n")], delimiter=chosen), []))
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise DataError(
            f"{path}: the header names {twice[0]!r} more than once; give each column a different name", code="DL204"
        )
    return Dialect(chosen, line_end, names, _has_blank_lines(path))


def refuse_uneven_rows(path: Path, dialect: Dialect) -> None:
    """Raise DataError at the first row with more or fewer values than the header.

    Rows of very large files are not counted one by one; there, missing values at a row's end stay missing values.
    """
    if path.stat().st_size > SNIFFED_BYTES:
        return
    with _open(path) as file:
        content = file.read().decode("utf-8-sig", errors="replace")
    lines = csv.reader(content.replace("\r\n", "\n").split(dialect.line_end), delimiter=dialect.separator)
    # split() took the line ends away, so a quoted value over several lines is joined by the reader without them
    start = 0
    for row in _until_unreadable(lines, path):
        line, start = start + 1, lines.line_num
        if row and len(row) != len(dialect.names):
            raise DataError(
                f"{path}:{line}: has {len(row)} values, but the header has {len(dialect.names)} columns; "
                "correct the row, or quote values that hold the separator",
                code="DL204",
            )


def _until_unreadable(lines: "Reader", path: Path) -> Iterator[list[str]]:
    """Yield the rows that Python's csv reader parses from lines.

    Raises:
        DataError: a row holds a carriage return that is not a line end of this file.
    """
    try:
        yield from lines
    except csv.Error as error:
        if "new-line" in str(error):
            raise DataError(
                f"{path}:{lines.line_num}: the row holds a lone carriage return, unlike the other line ends; "
                "use one kind of line end, or quote the value that holds it",
                code="DL204",
            ) from error
        # A value too long for this reader is none for polars, which decides.


def _has_blank_lines(path: Path) -> bool:
    tail = b""
    with _open(path) as file:
        while block := file.read(BLOCK):
            # Most files hold no carriage return, and searching for one byte is much faster than for a pair.
            pairs = (b"\n\n", b"\n\r\n", b"\r\r") if b"\r" in block or b"\r" in tail else (b"\n\n",)
            if any(pair in block or pair in tail + block[:2] for pair in pairs):
                return True
            tail = (tail + block[-2:])[-2:]  # a compressed file may give a byte at a time
    return False


def _open(path: Path) -> "IO[bytes]":
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]
