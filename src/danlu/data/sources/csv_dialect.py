"""Sniff how a file separates its values before it is read, and refuse what a reader would change silently.

Short rows filled up with missing values, names repeated in the header, blank lines: each is accepted or refused here.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from danlu.data.column_names import trimmed_names
from danlu.data.sources.csv_header import Header, find_header
from danlu.data.sources.csv_rows import BARE, DOUBLED, Row, is_lone_return, lone_return, rows_of
from danlu.data.sources.csv_survey import Survey, survey
from danlu.errors import DataError

LONGEST_HEADER = 1 << 20  # bytes
SAMPLE = 1 << 15  # bytes in which the header is looked for
FEW_ROWS = 10  # by which the header is not told; more of the file is looked at
SNIFFED_BYTES = 64 << 20  # bytes; a larger file is not searched row by row
SEPARATORS = (",", ";", "\t", "|")  # a spreadsheet's export often uses a semicolon


@dataclass(frozen=True)
class Dialect:
    """Hold how a file separates its values.

    Attributes:
        separator: one character.
        line_end: one character; a carriage return before a line feed is implied.
        names: column names; a blank one is named after its place.
        blank_lines: whether a line may be empty.
        skip_rows: lines above the header.
        quote: stands around values that hold the separator; None if nothing does.
        row_names: whether the first column holds R's names of the rows.
        moved: by how many lines a row stands further down in the file than in the copy that is read.
    """

    separator: str
    line_end: str
    names: tuple[str, ...]
    blank_lines: bool
    skip_rows: int = 0
    quote: str | None = '"'
    moved: int = 0
    row_names: bool = False


@dataclass(frozen=True)
class Sniffed:
    """Hold a file's header, found in its first lines, and what all bytes show.

    Attributes:
        header: as found.
        line_end: one character.
        body: the byte at which the rows below the header begin.
        survey: of all of the file.
    """

    header: Header
    line_end: str
    body: int
    survey: Survey


def sniff(path: Path, separator: str | None, skip_rows: int | None, origin: Path) -> Sniffed:
    """Look at a file's first lines and at all of its bytes.

    Args:
        path: a UTF-8 file.
        separator: if known; else the one that makes the rows even.
        skip_rows: lines above the header; None to find it out.
        origin: the file's name in errors.

    Raises:
        DataError: there is no header.
    """
    for size in (SAMPLE, LONGEST_HEADER):
        content = _first_bytes(path, size)
        line_end = _line_end(content)
        cut = len(content) == size
        if cut and line_end.encode() not in content and size == SAMPLE:
            continue
        raw = _lines(content, line_end.encode(), cut)
        lines = [line.decode("utf-8" if number else "utf-8-sig", errors="replace") for number, line in enumerate(raw)]
        header = find_header(lines, (separator,) if separator else SEPARATORS, skip_rows, str(origin), cut)
        if not cut or header.rows >= FEW_ROWS:
            break
    body = sum(map(len, raw[: header.end]))
    return Sniffed(header, line_end, body, survey(path, header.separator, line_end))


def column_names(header: Header, origin: Path) -> tuple[str, ...]:
    """Return the header's names; a blank one is named after its place.

    pandas names it so, too, when it reads the file.

    Raises:
        DataError: the header repeats a column name.
    """
    twice = [name for name, count in Counter(header.names).items() if name.strip() and count > 1]
    if twice:
        raise DataError(
            f"{origin}: the header names {twice[0]!r} more than once; give each column a different name", code="DL204"
        )
    trimmed = trimmed_names(header.names, str(origin))
    taken, names = set(trimmed), []
    for place, name in enumerate(trimmed):
        given = name if name.strip() else f"Unnamed: {place}"
        while not name.strip() and given in taken:
            given += "_"
        names.append(given)
    return tuple(names)


def refuse_uneven_rows(path: Path, dialect: Dialect, copy: Path | None = None) -> None:
    """Raise DataError at the first row with more or fewer values than the header.

    Rows of very large files are not counted one by one; there, missing values at a row's end stay missing values.

    Args:
        path: the file's name in errors.
        dialect: of what is read.
        copy: what is read, if not the file itself.
    """
    read = copy or path
    if read.stat().st_size > SNIFFED_BYTES:
        return
    with read.open("rb") as file:
        content = file.read().decode("utf-8-sig", errors="replace")
    quoting = DOUBLED if dialect.quote else BARE
    # split() takes the line ends away, so a quoted value over several lines is joined by the reader without them
    lines = content.replace("\r\n", "\n").split(dialect.line_end)
    for row in _until_unreadable(rows_of(lines, dialect.separator, quoting), path, dialect.moved):
        refuse_uneven(row, len(dialect.names), path, dialect.moved)


def refuse_uneven(row: Row, width: int, path: Path, moved: int = 0) -> None:
    """Raise DataError if a row has another number of values than the header.

    A blank line has none.
    """
    if row.cells and len(row.cells) != width:
        raise DataError(
            f"{path}:{row.line + 1 + moved}: has {len(row.cells)} values, but the header has {width} columns; "
            "correct the row, or quote values that hold the separator; where lines stand above the header, "
            "`data.skip_rows` says how many",
            code="DL204",
        )


def _until_unreadable(rows: Iterator[Row], path: Path, moved: int) -> Iterator[Row]:
    line = 0
    try:
        for row in rows:
            line = row.end
            yield row
    except csv.Error as error:
        if is_lone_return(error):
            raise lone_return(str(path), line + 1 + moved) from error
        # A value too long for this reader is none for polars, which decides.


def _line_end(content: bytes) -> str:
    first = content.split(b"\n", 1)[0]
    return "\r" if b"\r" in first and b"\n" not in content[: len(first) + 1] else "\n"


def _lines(content: bytes, line_end: bytes, cut: bool) -> list[bytes]:
    """Cut a file's first bytes into lines with their ends.

    A last line that is not whole is left out.
    """
    ends = content.split(line_end)
    whole = [line + line_end for line in ends[:-1]]
    return whole if cut and whole else [*whole, ends[-1]]


def _first_bytes(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)
