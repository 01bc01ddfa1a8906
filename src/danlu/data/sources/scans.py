"""Collect a scan of a file into memory, or once into an Arrow file in the cache where it is too large for it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from danlu.artifacts.cache import cached_dir, file_identity
from danlu.data.file_form import ReadOptions
from danlu.data.frames import DiskFrame, Table, rows_within

LARGE = 1 << 30  # bytes; a larger file is not read into memory
BATCH_BYTES = 1 << 20  # of a cached table that polars reads at once, several in each of its threads
PASS_BYTES = 1 << 28  # of parquet that are converted at once
VERSION = 3  # of cached tables; another version is rebuilt


def is_large(size_bytes: int, options: ReadOptions) -> bool:
    """Return whether a table of this size is left on disk."""
    return size_bytes > (LARGE if options.most_bytes is None else options.most_bytes)


def collect(path: Path, scan: Callable[[], pl.LazyFrame], large: bool, options: list[object]) -> Table:
    """Collect a scan into memory, or into a cached file if large; streaming throughout."""
    if not large:
        return scan().collect(engine="streaming")

    def write(empty: Path) -> None:
        lazy = scan()
        batch = rows_within(lazy, BATCH_BYTES)
        for number, part in enumerate(_passes(path, lazy)):
            part.sink_ipc(empty / f"{number:05}.arrow", compression="uncompressed", record_batch_size=batch)

    folder = cached_dir("tables", [VERSION, file_identity(path), options], write)
    return DiskFrame(pl.scan_ipc(sorted(folder.glob("*.arrow"))))


def _passes(path: Path, lazy: pl.LazyFrame) -> Iterator[pl.LazyFrame]:
    """Cut a scan into parts of about PASS_BYTES, where later rows can be reached directly.

    polars reads ahead twice as many row groups of a parquet file as it has threads: on a machine of many cores the
    whole of a table that should stay on disk.
    """
    if path.suffix.lower() != ".parquet":
        yield lazy
        return
    rows, size = int(lazy.select(pl.len()).collect().item()), rows_within(lazy, PASS_BYTES, most=None)
    for start in range(0, max(1, rows), size):
        yield lazy.slice(start, size)
