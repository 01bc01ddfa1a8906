"""Make of any file of separated values one that polars reads as it is meant: the file itself where that is so, else a
copy in the cache, made once.

Where only the header or the end is in the way the rows are copied as bytes; where values must be told apart anew, by
Python's reader, which is slower.
"""

import csv
import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, replace
from pathlib import Path

from danlu.artifacts.cache import cached_dir, file_identity
from danlu.data.file_form import FileForm, ReadOptions
from danlu.data.sources.csv_dialect import Dialect, Sniffed, column_names, refuse_uneven, sniff
from danlu.data.sources.csv_rows import (
    BARE,
    DOUBLED,
    ESCAPED,
    SINGLE,
    SPACED,
    Quoting,
    Row,
    is_lone_return,
    lone_return,
    rows_of,
)
from danlu.data.sources.encoding import encoding_by_mark, text_file, utf_8_version
from danlu.data.sources.legacy_encoding import legacy_encoding
from danlu.data.sources.text_bytes import UTF_8, is_utf_8_block, read_head, whole_characters
from danlu.errors import DataError

VERSION = 2  # of copies in the cache
BLOCK = 1 << 20  # bytes
ZLIB = b"x^"  # polars unpacks what begins so, as the header `x^2,y` does; names are quoted in copies
_ALL = sys.maxsize
_LONGEST = (1 << 31) - 1  # characters of a value; a C long on every system


def normalized_csv(path: Path, options: ReadOptions, separator: str | None = None) -> tuple[Path, Dialect, FileForm]:
    """Return separated values as a file that polars can scan.

    Also how that file separates them, and how the given one does.

    Args:
        path: of any encoding.
        options: the encoding and the lines above the header, where they are known.
        separator: if known.

    Raises:
        DataError: the encoding is not clear, the header repeats a name, or quotation marks are broken.
    """
    text, encoding = _text(path, options)
    sniffed = sniff(text, separator, options.skip_rows, path)
    if not sniffed.survey.utf_8:  # but its first bytes are
        encoding = legacy_encoding(path, options.likely_encoding)
        text = utf_8_version(path, encoding)
        sniffed = sniff(text, separator, options.skip_rows, path)
    names = column_names(sniffed.header, path)
    form = FileForm(encoding=encoding, separator=sniffed.header.separator, skipped_rows=sniffed.header.line)
    ways = _ways(sniffed)
    dropped = _blank_at_the_end(sniffed)
    if ways or dropped:
        copy, dialect = _parsed(text, path, sniffed, names, ways or [DOUBLED])
    else:
        quote = None if not sniffed.survey.sound else '"'
        lines = sniffed.survey.blank_lines
        dialect = Dialect(
            sniffed.header.separator, sniffed.line_end, names, lines, skip_rows=sniffed.header.line, quote=quote
        )
        copy = text
        seems_packed = read_head(text, len(ZLIB)) == ZLIB
        if seems_packed or sniffed.header.line or names != sniffed.header.written or sniffed.survey.empty_rows:
            copy, dialect = _trimmed(text, sniffed, dialect)
    return copy, replace(dialect, row_names=sniffed.header.row_names), form


def _text(path: Path, options: ReadOptions) -> tuple[Path, str]:
    """Return a text file whose first bytes at least are UTF-8.

    All of them are looked at when it is surveyed.
    """
    if options.encoding is not None:
        return text_file(path, options.encoding)
    head = read_head(path, BLOCK)
    found = encoding_by_mark(path, head) or (UTF_8 if is_utf_8_block(head[: whole_characters(head)]) else None)
    found = found or legacy_encoding(path, options.likely_encoding)
    return utf_8_version(path, found), found


def _ways(sniffed: Sniffed) -> list[Quoting]:
    """Return how values may be quoted, likely ways first.

    There are none where polars reads the values as they are.
    """
    seen, quoting = sniffed.survey, sniffed.header.quoting
    if quoting == SINGLE:
        return [SINGLE, DOUBLED]
    if seen.sound and quoting in (DOUBLED, ESCAPED):
        return []
    if not seen.opened and not seen.spaced:  # no value is quoted, so each mark is a letter
        return []
    return [*([ESCAPED] if seen.escapes else []), *([SPACED] if seen.spaced else []), DOUBLED, BARE]


def _blank_at_the_end(sniffed: Sniffed) -> int:
    """Return how many names at the header's end are blank."""
    names = sniffed.header.names
    return len(names) - max((place + 1 for place, name in enumerate(names) if name.strip()), default=len(names))


def _trimmed(text: Path, sniffed: Sniffed, dialect: Dialect) -> tuple[Path, Dialect]:
    """Copy the rows below a new header, without empty ones at the end."""
    end = sniffed.survey.end if sniffed.survey.empty_rows else _ALL
    first = _line(dialect.names, dialect)
    key = [VERSION, file_identity(text), first, sniffed.body, end]

    def write(empty: Path) -> None:
        with text.open("rb") as file, (empty / "table.csv").open("wb") as copy:
            copy.write(first.encode())
            file.seek(sniffed.body)
            left = end - sniffed.body
            while left > 0 and (block := file.read(min(left, BLOCK))):
                copy.write(block)
                left -= len(block)

    copy = cached_dir("csv", key, write) / "table.csv"
    moved = sniffed.header.end - first.count(dialect.line_end)
    return copy, replace(dialect, moved=moved)


def _line(names: tuple[str, ...], dialect: Dialect) -> str:
    if dialect.quote is None:
        return dialect.separator.join(names) + dialect.line_end
    line = io.StringIO()
    csv.writer(line, delimiter=dialect.separator, lineterminator=dialect.line_end, quoting=csv.QUOTE_ALL).writerow(
        names
    )
    return line.getvalue()


def _parsed(
    text: Path, origin: Path, sniffed: Sniffed, names: tuple[str, ...], ways: list[Quoting]
) -> tuple[Path, Dialect]:
    """Write the rows anew by the first quoting that fits them.

    With it, all rows have as many values as the header tells.
    """
    key = [VERSION, file_identity(text), list(names), sniffed.header.line, [astuple(way) for way in ways]]

    def write(empty: Path) -> None:
        furthest: tuple[int, DataError] | None = None
        for way in ways:
            used = len(names) - _blank_at_the_end(sniffed)
            while used:
                rows = _Counted(_rows(text, origin, sniffed, way))
                try:
                    used = _write_rows(empty / "table.csv", rows, names, used)
                except DataError as refused:
                    if furthest is None or rows.count > furthest[0]:
                        furthest = rows.count, refused
                    break
            else:
                return
        if furthest is not None:
            raise furthest[1]

    copy = cached_dir("csv", [*key, sniffed.header.separator], write) / "table.csv"
    with copy.open(encoding=UTF_8, newline="") as file:
        kept = tuple(next(csv.reader(file)))
    return copy, Dialect(",", "\n", kept, blank_lines=False, skip_rows=sniffed.header.line)


class _Counted:
    """Iterate over rows, counting them."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self.count = 0
        self._rows = rows

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            self.count += 1
            yield row


def _write_rows(copy: Path, rows: Iterable[Row], names: tuple[str, ...], used: int) -> int:
    """Write the first columns of rows.

    Args:
        copy: the file.
        rows: as long as the names are many.
        names: of all columns.
        used: how many columns are written; the others have no name.

    Returns:
        How many must be written, since a row holds something there; 0 if these were all.
    """
    waiting = 0  # rows of nothing, which count only if others follow
    with copy.open("w", encoding=UTF_8, newline="") as file:
        csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(names[:used])
        writer = csv.writer(file, lineterminator="\n")
        for row in rows:
            if not any(map(str.strip, row.cells)):
                waiting += 1
                continue
            if any(map(str.strip, row.cells[used:])):
                return max(place + 1 for place, cell in enumerate(row.cells) if cell.strip())
            writer.writerows([[""] * used] * waiting)
            waiting = 0
            writer.writerow(row.cells[:used])
    return 0


def _rows(text: Path, origin: Path, sniffed: Sniffed, way: Quoting) -> Iterator[Row]:
    """Yield the rows below the header, without blank lines.

    Raises:
        DataError: a row has another number of values than the header, or its quotation marks are broken.
    """
    width, header = len(sniffed.header.names), sniffed.header
    line = header.end
    with text.open("rb") as binary, _values_of_any_length():
        binary.seek(sniffed.body)
        lines = io.TextIOWrapper(binary, encoding=UTF_8, newline="")
        try:
            for row in rows_of(lines, header.separator, way, strict=True):
                if len(row.cells) != width:
                    refuse_uneven(row, width, origin, header.end)
                line = header.end + row.end
                if way == BARE and any(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in row.cells):
                    raise _broken(origin, header.end + row.line)
                if row.cells:
                    yield row
        except csv.Error as error:
            if is_lone_return(error):
                raise lone_return(str(origin), line + 1) from error
            raise _broken(origin, line) from error


def _broken(origin: Path, line: int) -> DataError:
    return DataError(
        f"{origin}:{line + 1}: a value that begins with a quotation mark does not end with one; "
        'double each quotation mark within a quoted value, as "a 3"" pipe"',
        code="DL204",
    )


@contextmanager
def _values_of_any_length() -> Iterator[None]:
    """Lift the limit of Python's reader on the length of a value for a while."""
    before = csv.field_size_limit(_LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)
