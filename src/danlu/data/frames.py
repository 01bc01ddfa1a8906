"""Frames in memory or on disk: a table too large for memory stays in a file, read by columns and rows on demand."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
import polars as pl

from danlu.core.prefetch import prefetch
from danlu.core.threads import usable_cores

WIDE = (pl.UInt64, pl.Int128, pl.UInt128)  # may hold whole numbers that Int64 cannot
EXACT_FLOATS = 1 << 53  # every whole number up to here is a floating-point number
WINDOW_BYTES = 1 << 25  # read at a time; in bytes, since rows may have any width
MOST_ROWS = 1 << 18  # read at a time, however narrow they are
MOST_THREADS = 8  # that work on a table in memory; each takes a window's memory
COLUMNS_AT_ONCE = 256  # of a plan: one of thousands of columns takes polars longer than many plans of some
SAMPLED_ROWS = 256  # from which the bytes per row are estimated


class DiskFrame:
    """Offer the few frame operations that `data` needs, over a lazy scan.

    It offers no more, so that nothing loads all of it unawares.

    Attributes:
        height: number of rows.
        schema: column names and types.
    """

    def __init__(self, scan: pl.LazyFrame, height: int | None = None) -> None:
        self._scan = scan
        self.schema = scan.collect_schema()
        self.height = int(scan.select(pl.len()).collect().item()) if height is None else height

    @property
    def columns(self) -> list[str]:
        """The column names."""
        return self.schema.names()

    def lazy(self) -> pl.LazyFrame:
        """Return the scan, for statistics that polars streams."""
        return self._scan

    def select(self, names: Iterable[str]) -> "DiskFrame":
        """Select some columns, still on disk."""
        return DiskFrame(self._scan.select(list(names)), self.height)

    def __getitem__(self, name: str) -> pl.Series:
        """Read one column whole."""
        return self._scan.select(name).collect(engine="streaming").to_series().rechunk()

    @cached_property
    def window(self) -> int:
        """How many rows are read at a time."""
        return rows_within(self._scan, WINDOW_BYTES)

    def rows(self, rows: np.ndarray) -> pl.DataFrame:
        """Read some rows in the given order, [rows], window by window."""
        if len(rows) == 0:
            return self._scan.head(0).collect()
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        found: list[pl.DataFrame] = []
        start, size = 0, self.window
        while start < len(ascending):
            first = int(ascending[start])
            end = int(np.searchsorted(ascending, first + size))
            last = int(ascending[end - 1])
            # Polars' streaming engine reads several batches ahead, which wastes memory for a window.
            window = self._scan.slice(first, last - first + 1).collect()
            found.append(window[ascending[start:end] - first])
            start = end
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        gathered = pl.concat(found)
        return gathered if (order[:-1] < order[1:]).all() else gathered[back]


Table = pl.DataFrame | DiskFrame


def collect_like(table: Table, changed: pl.LazyFrame) -> Table:
    """Return a changed table in memory or on disk, as the table itself is."""
    return changed.collect() if isinstance(table, pl.DataFrame) else DiskFrame(changed, table.height)


def collect_streaming(table: Table, asked: pl.LazyFrame) -> pl.DataFrame:
    """Collect what was asked of a table; one on disk is streamed, not held."""
    return asked.collect(engine="streaming" if isinstance(table, DiskFrame) else "in-memory")


def iter_windows(table: Table, rows: int | None = None) -> Iterator[pl.DataFrame]:
    """Yield a table in order: one in memory whole, one on disk by windows.

    Args:
        table: of any length.
        rows: of a window; by default as many as fit into WINDOW_BYTES.
    """
    if isinstance(table, pl.DataFrame):
        yield table
        return
    size = rows or table.window
    for start in range(0, table.height, size):
        yield table.lazy().slice(start, size).collect()


def describe_columns(table: Table, names: Sequence[str], statistic: Callable[[pl.Expr], pl.Expr]) -> dict[str, Any]:
    """Compute one figure of each of some columns.

    A table on disk is asked column by column: polars reads ahead as many batches as it has threads, and counts by
    holding what it counts, so all columns together could be the whole table. Wide tables in memory are left to the
    engine whose time does not grow with the square of the columns of a plan.
    """
    if isinstance(table, pl.DataFrame) and len(names) > COLUMNS_AT_ONCE:
        return table.lazy().select(statistic(pl.col(list(names)))).collect(engine="in-memory").row(0, named=True)
    at_once = 1 if isinstance(table, DiskFrame) else COLUMNS_AT_ONCE
    figures: dict[str, Any] = {}
    for start in range(0, len(names), at_once):
        asked = table.lazy().select(statistic(pl.col(list(names[start : start + at_once]))))
        figures |= asked.collect(engine="streaming").row(0, named=True)
    return figures


def present(values: pl.Series) -> pl.Series:
    """Return a column without its missing values, NaN included."""
    if values.dtype.is_float() and values.null_count() == 0 and not np.isnan(values.to_numpy()).any():
        return values
    return (values.fill_nan(None) if values.dtype.is_float() else values).drop_nulls()


def rows_within(table: pl.LazyFrame, size: int, most: int | None = MOST_ROWS) -> int:
    """Return how many rows take about `size` bytes, estimated from the first ones.

    At least one and at most `most`.
    """
    sample = table.head(SAMPLED_ROWS).collect()
    rows = max(1, size * sample.height // max(1, int(sample.estimated_size())))
    return rows if most is None else min(rows, most)


def num_parallel_parts(table: Table) -> int:
    """Return how many parts of a table to process in parallel.

    One where it is on disk: no more than one part is then in memory.
    """
    return 1 if isinstance(table, DiskFrame) else min(usable_cores(), MOST_THREADS)


def row_hashes(table: Table, names: Sequence[str]) -> np.ndarray:
    """Hash each row's values of some columns, [rows] uint64, window by window."""
    chosen = table.lazy().select(list(names))
    size = rows_within(chosen, WINDOW_BYTES)
    starts = range(0, table.height, size)
    windows = list(
        prefetch(lambda start: chosen.slice(start, size).collect().hash_rows(seed=0), starts, num_parallel_parts(table))
    )
    return pl.concat(windows).to_numpy() if windows else np.zeros(0, dtype=np.uint64)


def isin(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which hashes occur among others, [hashes] bool."""
    return pl.Series(hashes).is_in(pl.Series(others).implode()).to_numpy()


def is_duplicated(hashes: np.ndarray) -> np.ndarray:
    """Return which hashes occur more than once, [hashes] bool."""
    ordered = np.sort(hashes)
    return isin(hashes, ordered[1:][ordered[1:] == ordered[:-1]])


def as_plain_numbers(table: Table, name: str) -> Table:
    """Cast one column of decimals to floating-point numbers.

    Whole ones that these would round become integers.
    """
    dtype = table.schema[name]
    whole = isinstance(dtype, pl.Decimal) and dtype.scale == 0 and _reaches(table, name, EXACT_FLOATS)
    changed = table.lazy().with_columns(pl.col(name).cast(pl.Int128 if whole else pl.Float64))
    return collect_like(table, changed)


@overload
def wide_integers_as_words(table: pl.DataFrame, name: str) -> pl.DataFrame: ...


@overload
def wide_integers_as_words(table: Table, name: str) -> Table: ...


def wide_integers_as_words(table: Table, name: str) -> Table:
    """Turn a column of whole numbers beyond 64 bits into words.

    Hardly another program reads such numbers.
    """
    if table.schema[name] not in WIDE or not _reaches(table, name, 1 << 63):
        return table
    changed = table.lazy().with_columns(pl.col(name).cast(pl.String))
    return collect_like(table, changed)


def _reaches(table: Table, name: str, bound: int) -> bool:
    """Return whether a column has a number from bound up, or below -bound."""
    column = pl.col(name)
    ends = table.lazy().select(column.min().alias("least"), column.max().alias("most")).collect().row(0)
    return any(end is not None and not -bound <= end < bound for end in ends)


@overload
def with_words(table: pl.DataFrame, but: str | None = None) -> pl.DataFrame: ...


@overload
def with_words(table: Table, but: str | None = None) -> Table: ...


def with_words(table: Table, but: str | None = None) -> Table:
    """Turn ordered categories into the words that files have, except one column."""
    names = [name for name, dtype in table.schema.items() if isinstance(dtype, pl.Enum) and name != but]
    if not names:
        return table
    changed = table.lazy().with_columns(pl.col(name).cast(pl.String) for name in names)
    return collect_like(table, changed)


def words_to_compare(values: pl.Series) -> pl.Series:
    """Return a column as text to compare; bytes by their hexadecimal digits."""
    return values.bin.encode("hex") if values.dtype == pl.Binary else values.cast(pl.String)


def take_rows(table: Table, rows: np.ndarray) -> pl.DataFrame:
    """Select some rows of a table, in the given order."""
    return table[rows] if isinstance(table, pl.DataFrame) else table.rows(rows)
