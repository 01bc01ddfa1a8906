"""Find the header of separated values in a file's first lines, by how the rows below it are made.

Lines above the header are passed over only where that is clear: comments, or fewer values than in every row of the
table, with a header below that differs from its rows.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from danlu.data.file_form import MISSING_WORDS
from danlu.data.sources.csv_rows import BARE, DOUBLED, ESCAPED, SINGLE, SPACED, Quoting, Row, lone_return, rows_of
from danlu.errors import DataError

ABOVE = 60  # lines, at most, above a header that is found
ROW_NAMES = "row.names"  # as R calls them
_YEAR = re.compile(r"(19|20)\d\d")
COMMENTS = ("#", "%")
SPACE = " "  # separates values where nothing else does and all rows are alike


@dataclass(frozen=True)
class Header:
    """Hold what the first lines of a file say.

    Attributes:
        separator: between values.
        quoting: that makes the rows even.
        written: the names as the header has them.
        names: as many as the rows have values; blank where the header has none.
        line: where the header begins, from 0.
        end: the line after it.
        even: the share of rows with as many values as there are names.
        rows: how many rows were seen below it.
        row_names: whether R wrote names of rows, which the header does not name.
        torn: whether there is one name, and all rows have several values that look like a table's.
    """

    separator: str
    quoting: Quoting
    written: tuple[str, ...]
    names: tuple[str, ...]
    line: int
    end: int
    even: float
    rows: int
    torn: bool
    row_names: bool = False
    differs: bool = False


def find_header(lines: list[str], separators: Sequence[str], skip: int | None, where: str, cut: bool = False) -> Header:
    """Find the header and the separator that fits the rows below.

    With it, these have as many values as the header has names.

    Args:
        lines: the first of a file, with their line ends.
        separators: the candidates.
        skip: how many lines stand above the header; None to find it out.
        where: the file's name in errors.
        cut: whether more lines follow, so that the last row may not be whole.

    Raises:
        DataError: there is no header.
    """
    told = re.fullmatch(r'"?sep=([\t -~])"?;*,*\s*', lines[0], re.IGNORECASE) if lines else None
    if told:  # for spreadsheets
        separators, skip = (told[1],), max(1, skip or 0) if skip is not None else None
    start = skip if skip is not None else 1 if told else 0
    found: list[Header] = []
    for quoting in _ways("".join(lines[start:])):
        for separator in separators:
            header = _header(lines[start:], start, separator, quoting, skip is not None, cut)
            found.extend([] if header is None else [header])
        if any(map(_is_clear, found)):
            break
    if not found:
        if any("\r" in line.rstrip("\r\n") for line in lines[start : start + 1]):
            raise lone_return(where, start + 1)
        raise DataError(
            f"{where}:{start + 1}: no header can be read here; the first line names the columns, "
            "and `data.skip_rows` says how many lines stand above it",
            code="DL204",
        )
    best = max(found, key=_fits)
    if len(separators) > 1 and len(best.names) == 1:
        spaced = _header(lines[start:], start, SPACE, DOUBLED, skip is not None, cut)
        if spaced is not None and _is_table_by_spaces(spaced, lines):
            return spaced
        _refuse_aligned(lines, start, skip is not None, cut, where)
    torn = [header for header in found if header.torn and header.quoting == best.quoting]
    return torn[0] if torn and len(best.names) == 1 else best  # to be refused: a title, or names left out


def _is_table_by_spaces(header: Header, lines: list[str]) -> bool:
    """Return whether single spaces surely separate values, as R's write.table has it.

    All rows are even. A name of several words is no header, nor is `1 100` a row: names must be quoted each, R must
    have written names of rows, or there are many and a column of numbers.
    """
    names = header.written
    if header.even < 1 or header.rows == 0 or len(names) < 2 or not all(map(str.strip, header.names)):
        return False
    quoted = lines[header.line].count('"') >= 2 * len(names) > 2
    return quoted or header.row_names or (len(names) > 2 and header.differs)


def _refuse_aligned(lines: list[str], start: int, settled: bool, cut: bool, where: str) -> None:
    """Refuse values that stand below one another with spaces between."""
    squeezed = [re.sub(" +", " ", line.strip(" ")) for line in lines[start:]]
    header = _header(squeezed, start, SPACE, DOUBLED, settled, cut)
    if header is not None and squeezed != lines[start:] and _is_table_by_spaces(header, [*lines[:start], *squeezed]):
        raise DataError(
            f"{where}:{header.line + 1}: spaces bring the values below one another; separate them by commas, "
            "semicolons, tabs or single spaces",
            code="DL204",
        )


def _ways(text: str) -> list[Quoting]:
    """Return how values may be quoted, by the signs that a text holds."""
    return [
        DOUBLED,
        *((ESCAPED,) if '\\"' in text else ()),
        *((SPACED,) if ' "' in text else ()),
        *((SINGLE,) if "'" in text and '"' not in text else ()),
        *((BARE,) if '"' in text else ()),
    ]


def _is_clear(header: Header) -> bool:
    """Return whether rows are even, and no name is quoted in another way."""
    return (
        len(header.names) > 1 and header.even == 1 and not any(name.strip()[:1] in ("'", '"') for name in header.names)
    )


def _fits(header: Header) -> tuple[bool, bool, bool, int]:
    unquoted = header.quoting in (SINGLE, SPACED) and not any(name.strip()[:1] in ("'", '"') for name in header.names)
    return len(header.names) > 1, header.even > 0.9, unquoted, len(header.names)


def _header(lines: list[str], start: int, separator: str, quoting: Quoting, settled: bool, cut: bool) -> Header | None:
    """Return the header by a separator and a quoting; None without a row."""
    rows: list[Row] = []
    try:
        rows.extend(rows_of(lines, separator, quoting))
    except csv.Error:
        # A line end of another kind: found by who reads all of the file, if the header is whole.
        rows = list(_readable(lines, separator, quoting))
    if cut and len(rows) > 2:
        rows.pop()
    filled = [row for row in rows if row.filled] or [row for row in rows if row.cells]
    if not filled:
        return None
    place = 0 if settled else _place(rows, filled)
    header, body = filled[place], filled[place + 1 :]
    names = _fitted(header.cells, body)
    row_names = _has_row_names(header.cells, body, lines, separator)
    names = [ROW_NAMES, *header.cells] if row_names else names
    even = sum(len(row.cells) == len(names) for row in body) / len(body) if body else 1.0
    line, end = start + header.line, start + header.end
    torn = _is_torn(names, body)
    differs = separator == SPACE and _differs(header, body)
    return Header(
        separator, quoting, tuple(header.cells), tuple(names), line, end, even, len(body), torn, row_names, differs
    )


def _readable(lines: list[str], separator: str, quoting: Quoting) -> Iterator[Row]:
    rows = rows_of(lines, separator, quoting)
    while True:
        try:
            yield next(rows)
        except (StopIteration, csv.Error):
            return


def _fitted(names: list[str], body: list[Row]) -> list[str]:
    """Return the header's names, with blank ones at the end as rows need."""
    if not body:
        return names
    width = Counter(len(row.cells) for row in body).most_common(1)[0][0]
    if len(names) > width and not any(name.strip() for name in names[width:]):
        return names[:width]
    if width == len(names) + 1 and all(len(row.cells) == width and not row.cells[-1].strip() for row in body):
        return [*names, ""]
    return names


def _has_row_names(names: list[str], body: list[Row], lines: list[str], separator: str) -> bool:
    """Return whether rows begin with names that the header has none for.

    R's write.table writes such. A text that is not quoted and holds the separator is wider than the header, too, so
    names must be quoted, or count the rows.
    """
    body = [row for row in body if row.cells]
    if len(names) < 2 or len(body) < 2 or ROW_NAMES in names or any(not name or _is_number(name) for name in names):
        return False
    firsts = [row.cells[0] for row in body]
    quoted = separator == "\t" or all(lines[row.line].startswith('"') for row in body)
    return (
        all(len(row.cells) == len(names) + 1 for row in body)
        and any(row.cells[-1].strip() for row in body)
        and len(set(firsts)) == len(firsts)
        and all(map(str.strip, firsts))
        and (quoted or firsts == [str(number + 1) for number in range(len(firsts))])
    )


def _is_torn(names: list[str], body: list[Row]) -> bool:
    widths = {len(row.cells) for row in body}
    if len(names) > 1 or len(body) < 2 or len(widths) > 1 or max(widths) == 1:
        return False
    # Two halves of a number with a decimal comma, or of a sentence, are one value.
    return max(widths) > 2 or not all(
        row.cells[1].startswith(" ") or (_is_number(row.cells[0]) and _is_number(row.cells[1])) for row in body
    )


def _place(rows: list[Row], filled: list[Row]) -> int:
    """Place the header among the filled rows.

    It is the first that does not clearly stand above one.
    """
    later = filled[len(filled) // 2 :]
    width = Counter(len(row.cells) for row in later).most_common(1)[0][0]
    blank = {row.line for row in rows if not row.filled}
    for place in range(min(ABOVE, len(filled))):
        above = _is_comment if filled[place].cells[0].lstrip().startswith(COMMENTS) else _is_title
        if not above(filled, place, width, blank):
            return place
    return 0


def _is_comment(filled: list[Row], place: int, width: int, blank: set[int]) -> bool:
    row, below = filled[place], filled[place + 1 :]
    if not below:
        return False
    if len(row.cells) != width:
        return True
    if below[0].cells[0].lstrip().startswith(COMMENTS):
        return len(below) > 1
    # As wide as the table: the header itself may begin with such a sign.
    return _is_header(below[0]) and (_differs(below[0], below[1:]) or _gap(row, below[0], blank))


def _is_title(filled: list[Row], place: int, width: int, blank: set[int]) -> bool:
    if width < 2 or not _is_narrow(filled[place], width):
        return False
    below = [row for row in filled[place + 1 :] if not row.cells[0].lstrip().startswith(COMMENTS)]
    first = next((number for number, row in enumerate(below) if not _is_narrow(row, width)), None)
    if first is None:
        return False
    title, header, body = filled[place], below[first], below[first + 1 :]
    gap = _gap(title, header, blank)
    # Several single words are names that are too few rather than a title.
    prose = title.filled == 1 or any(" " in cell.strip() or _is_number(cell) for cell in title.cells)
    return (
        bool(body)
        and _is_header(header)
        and all(len(row.cells) == width for row in body)
        and (gap or (prose and _differs(header, body)))
    )


def _is_narrow(row: Row, width: int) -> bool:
    """Return whether a row has fewer values than the table.

    Also if it has only one, where a spreadsheet filled it up.
    """
    return len(row.cells) < width or (len(row.cells) == width and width > 2 and row.filled == 1)


def _is_header(row: Row) -> bool:
    """Return whether a row's values could be names: different words, no numbers but years."""
    names = [cell.strip() for cell in row.cells]
    while names and not names[-1]:
        names.pop()
    return (
        bool(names)
        and len(set(names)) == len(names)
        and all(names[1:])
        and not any(name in MISSING_WORDS for name in names if name)
        and not any(_is_number(name) and (place == 0 or not _YEAR.fullmatch(name)) for place, name in enumerate(names))
    )


def _differs(header: Row, body: list[Row]) -> bool:
    """Return whether some column holds numbers alone below a name that is none."""
    for place, name in enumerate(header.cells):
        values = [row.cells[place] for row in body if place < len(row.cells) and row.cells[place].strip()]
        if values and not _is_number(name) and all(map(_is_number, values)):
            return True
    return False


def _gap(above: Row, header: Row, blank: set[int]) -> bool:
    return any(line in blank for line in chain(range(above.end, header.line)))


def _is_number(cell: str) -> bool:
    """Return whether a value is a number, a date or a time.

    It has digits, and no letters but those of an exponent or zone.
    """
    return any(sign.isdigit() for sign in cell) and not any(sign.isalpha() and sign not in "eETZ" for sign in cell)
