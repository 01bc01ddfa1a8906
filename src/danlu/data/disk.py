"""A table too large to be held: it stands in a file, and its columns and rows are read when they are asked for."""

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import polars as pl

from danlu.core.ahead import ahead
from danlu.core.threads import usable_cores

WINDOW_BYTES = 1 << 25  # of a table that are read at a time; by bytes, since rows may be of any width
MOST_ROWS = 1 << 18  # read at a time, however narrow they are
MOST_THREADS = 8  # that work on a table which is held; each takes a window's memory
SAMPLED_ROWS = 256  # tell how many bytes a row takes


class DiskFrame:
    """What the rest of `data` needs of a frame, over a scan; offers no more, so that nothing holds all of it unawares.

    Attributes:
        height: rows.
        schema: column names and types.
    """

    def __init__(self, scan: pl.LazyFrame, height: int | None = None) -> None:
        self._scan = scan
        self.schema = scan.collect_schema()
        self.height = int(scan.select(pl.len()).collect().item()) if height is None else height

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return self.schema.names()

    def lazy(self) -> pl.LazyFrame:
        """The scan, for statistics that polars streams."""
        return self._scan

    def select(self, names: Iterable[str]) -> "DiskFrame":
        """Some of the columns, still on the disk."""
        return DiskFrame(self._scan.select(list(names)), self.height)

    def __getitem__(self, name: str) -> pl.Series:
        """One column, read whole."""
        return self._scan.select(name).collect(engine="streaming").to_series().rechunk()

    @cached_property
    def window(self) -> int:
        """How many rows are read at a time."""
        return rows_within(self._scan, WINDOW_BYTES)

    def rows(self, rows: np.ndarray) -> pl.DataFrame:
        """Some rows, in the order given, [rows]; read window by window."""
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
            # Polars' streaming engine reads several batches ahead, which for a window is memory for nothing.
            window = self._scan.slice(first, last - first + 1).collect()
            found.append(window[ascending[start:end] - first])
            start = end
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        gathered = pl.concat(found)
        return gathered if (order[:-1] < order[1:]).all() else gathered[back]


Table = pl.DataFrame | DiskFrame


def rows_within(table: pl.LazyFrame, size: int, most: int | None = MOST_ROWS) -> int:
    """How many rows of a table take about `size` bytes, judged by its first ones; at least one and at most `most`."""
    sample = table.head(SAMPLED_ROWS).collect()
    rows = max(1, size * sample.height // max(1, int(sample.estimated_size())))
    return rows if most is None else min(rows, most)


def threads_for(table: Table) -> int:
    """How many parts of a table are worked on at once: of one that is not held, no more than one is in memory."""
    return 1 if isinstance(table, DiskFrame) else min(usable_cores(), MOST_THREADS)


def row_hashes(table: Table, names: Sequence[str]) -> np.ndarray:
    """A number for each row that is the same for equal values of some columns, [rows] uint64; read window by window."""
    chosen = table.lazy().select(list(names))
    size = rows_within(chosen, WINDOW_BYTES)
    starts = range(0, table.height, size)
    windows = list(
        ahead(lambda start: chosen.slice(start, size).collect().hash_rows(seed=0), starts, threads_for(table))
    )
    return pl.concat(windows).to_numpy() if windows else np.zeros(0, dtype=np.uint64)


def among(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which hashes occur among others, [hashes] bool."""
    return pl.Series(hashes).is_in(pl.Series(others).implode()).to_numpy()


def repeated(hashes: np.ndarray) -> np.ndarray:
    """Which hashes occur more than once, [hashes] bool."""
    ordered = np.sort(hashes)
    return among(hashes, ordered[1:][ordered[1:] == ordered[:-1]])


def as_floats(table: Table, name: str) -> Table:
    """The table with one column as floating-point numbers."""
    changed = table.lazy().with_columns(pl.col(name).cast(pl.Float64))
    return changed.collect() if isinstance(table, pl.DataFrame) else DiskFrame(changed, table.height)


def take_rows(table: Table, rows: np.ndarray) -> pl.DataFrame:
    """Some rows of a table, in the order given."""
    return table[rows] if isinstance(table, pl.DataFrame) else table.rows(rows)
