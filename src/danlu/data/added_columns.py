"""Columns that a program adds when it writes a table: its index, a number for each row. They tell rows apart, no more.

Rows sorted by class before they were numbered give the class away, even after shuffling. Geometries in binary form are
found here too: no model reads them.
"""

import re
from collections.abc import Mapping

import numpy as np
import polars as pl

# Names that nobody gives to a column of their own: pandas', and a header left blank by pandas and by R.
BLANK_NAME = re.compile(
    r"^$|^unnamed: ?\d+(_level_\d+)?$|^__index_level_\d+__$|^__unnamed__\d+$|^\.\.\.1$", re.IGNORECASE
)
# Names that programs give and people do: only numbers that count rows are taken for a program's.
COUNTING_NAME = re.compile(
    r"^_c0$|^c0$|^column0*[01]?$|^(_|__)?row_?(id|num|number|no|names?|index)?s?_*$|^row\.names$|^rownum(ber)?$"
    r"|^(_|__)?index(_|__)?$|^level_\d+$|^idx$|^_?rowid_?$|^obs$|^_n_$|^record_?(id|no|num|number)?$|^no\.?$|^nr\.?$|^#$",
    re.IGNORECASE,
)
# Names that R gives to names of rows, and people to numbers of theirs: only all numbers from 0 or 1 up, in any order.
NUMBERING_NAME = re.compile(r"^X$|^V1$|^(?i:sn|s(r|l|erial)?[. _]*(no|num|number)\.?|serial)$")
FEWEST = 10  # rows; fewer numbers count by accident
# Well-known binary: the order of bytes, then the kind of geometry as a number, with flags for more dimensions.
WKB_KINDS = 17
WKB_FLAGS = 0xF0000000


def added_by_program(name: str, values: pl.Series, added: Mapping[str, str] | None = None) -> str | None:
    """Return the key of the reason why a column is a program's own.

    None if it is not one.

    Args:
        name: the column's.
        values: as they were read, [rows].
        added: columns that the file itself says so of, with the keys of their reasons.
    """
    if added and name in added:
        return added[name]
    if values.dtype == pl.Binary:
        return "geometry" if is_geometry(values) else None
    blank, counting = BLANK_NAME.search(name), COUNTING_NAME.search(name)
    if NUMBERING_NAME.search(name) and _numbers_all(values):
        return "added-index"
    if not (blank or counting) or not (values.dtype.is_integer() or _is_whole(values)):
        return None
    return "added-index" if blank or counts_rows(values) else None


def counts_rows(values: pl.Series) -> bool:
    """Return whether whole numbers count rows from 0 or 1.

    Also those of several parts, shuffled or drawn from.
    In parts of different lengths, a number occurs at most as often as every smaller one.
    """
    present = values.drop_nulls()
    if len(present) < max(FEWEST, len(values)):
        return False
    numbers = np.sort(present.cast(pl.Int64, strict=False).fill_null(-1).to_numpy())
    if numbers[0] < 0:
        return False
    distinct, times = np.unique(numbers, return_counts=True)
    if len(distinct) == len(numbers):
        return True
    counts_up = distinct[0] in (0, 1) and bool((np.diff(distinct) == 1).all())
    return counts_up and bool((np.diff(times) <= 0).all()) and len(distinct) >= FEWEST


def _numbers_all(values: pl.Series) -> bool:
    """Return whether values are all numbers from 0 or 1 up, once each."""
    if not values.dtype.is_integer() or len(values) < FEWEST or values.min() not in (0, 1):
        return False
    return int(values.max()) - int(values.min()) == len(values) - 1 == values.n_unique() - 1  # type: ignore[arg-type]


def is_geometry(values: pl.Series) -> bool:
    """Return whether binary values are geometries in well-known binary form."""
    present = values.drop_nulls().head(16).to_list()
    return bool(present) and all(_begins_geometry(value) for value in present)


def _begins_geometry(value: bytes) -> bool:
    if len(value) < 9 or value[0] not in (0, 1):
        return False
    kind = int.from_bytes(value[1:5], "little" if value[0] else "big") & ~WKB_FLAGS
    return 1 <= kind % 1000 <= WKB_KINDS and kind // 1000 <= 3


def _is_whole(values: pl.Series) -> bool:
    """Return whether numbers are whole, though a gap or a program made them floating-point."""
    if not values.dtype.is_float():
        return False
    present = values.drop_nulls().drop_nans()
    return len(present) > 0 and bool((present == present.round()).all())
