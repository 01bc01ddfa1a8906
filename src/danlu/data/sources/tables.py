"""The table of readers, by suffix, and those of formats that know their types."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl

from danlu.data.frames import DiskFrame
from danlu.data.sources.encoding import text_file
from danlu.data.sources.options import FileForm, ReadOptions, ReadTable
from danlu.data.sources.scans import LARGE, collect
from danlu.data.sources.separated import read_csv

PACKED = 4  # factor by which parquet grows when read


def read_tsv(path: Path, options: ReadOptions) -> ReadTable:
    """Read values separated by tabs."""
    return read_csv(path, options, "\t")


def read_parquet(path: Path, options: ReadOptions) -> ReadTable:
    """Read parquet, which has its own missing values."""
    return ReadTable(collect(path, partial(pl.scan_parquet, path), path.stat().st_size * PACKED > LARGE, []))


def read_arrow(path: Path, options: ReadOptions) -> ReadTable:
    """Read arrow's file format (feather), which can be read in parts without conversion."""
    return ReadTable(DiskFrame(pl.scan_ipc(path)) if path.stat().st_size > LARGE else pl.read_ipc(path))


def read_jsonl(path: Path, options: ReadOptions) -> ReadTable:
    """Read one JSON object per line.

    Any line may have keys of its own, so the whole file decides the columns.
    """
    text, encoding = text_file(path, options.encoding)
    return ReadTable(pl.read_ndjson(text, infer_schema_length=None), FileForm(encoding=encoding))


READERS: dict[str, Callable[[Path, ReadOptions], ReadTable]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
    ".feather": read_arrow,
    ".jsonl": read_jsonl,
}
