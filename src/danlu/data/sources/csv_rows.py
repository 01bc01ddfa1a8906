"""Cut lines into rows of values, as one way of quoting reads them."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from danlu.errors import DataError


@dataclass(frozen=True)
class Quoting:
    """Say how values that hold a separator are written.

    Attributes:
        quote: stands around them; None if nothing does.
        escape: stands before a quotation mark within; None if that is doubled.
        spaced: whether spaces after a separator belong to no value.
    """

    quote: str | None = '"'
    escape: str | None = None
    spaced: bool = False


DOUBLED = Quoting()
ESCAPED = Quoting(escape="\\")
SPACED = Quoting(spaced=True)
SINGLE = Quoting(quote="'")
BARE = Quoting(quote=None)
# Noncharacters of Unicode stand for what was escaped until the values are told apart.
_MARK, _SLASH = "\ufdd0", "\ufdd1"


class Row(NamedTuple):
    """Hold a row's values and its lines.

    `line` is its first, `end` the one after its last, counted from 0.
    """

    cells: list[str]
    line: int
    end: int

    @property
    def filled(self) -> int:
        """Return how many values are not blank."""
        return sum(map(bool, map(str.strip, self.cells)))


def rows_of(lines: Iterable[str], separator: str, quoting: Quoting, strict: bool = False) -> Iterator[Row]:
    """Cut lines into rows.

    Args:
        lines: with their line ends.
        separator: one character.
        quoting: how values that hold it are written.
        strict: refuse what follows a closing quotation mark, and one that is never closed.

    Raises:
        csv.Error: the lines cannot be told apart, or are refused.
    """
    if quoting.escape:
        lines = (line.replace("\\\\", _SLASH).replace('\\"', _MARK) for line in lines)
    reader = csv.reader(
        lines,
        delimiter=separator,
        quotechar=quoting.quote,
        quoting=csv.QUOTE_NONE if quoting.quote is None else csv.QUOTE_MINIMAL,
        skipinitialspace=quoting.spaced,
        strict=strict,
    )
    start = 0
    for cells in reader:
        if quoting.escape:
            cells = [cell.replace("\\\n", "\n").replace(_MARK, '"').replace(_SLASH, "\\") for cell in cells]
        yield Row(cells, start, reader.line_num)
        start = reader.line_num


def is_lone_return(error: csv.Error) -> bool:
    """Return whether Python's reader stopped at a carriage return within a line."""
    return "new-line" in str(error)


def lone_return(where: str, line: int) -> DataError:
    """Return the error of a row with a carriage return that ends no line."""
    return DataError(
        f"{where}:{line}: the row holds a lone carriage return, unlike the other line ends; "
        "use one kind of line end, or quote the value that holds it",
        code="DL204",
    )
