"""The table of readers, by suffix, and those of formats that know their types."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl

from danlu.data.file_form import FileForm, ReadOptions, ReadTable
from danlu.data.sources.arff import read_arff
from danlu.data.sources.arrow_files import read_arrow
from danlu.data.sources.databases import read_database
from danlu.data.sources.encoding import text_file
from danlu.data.sources.excel import read_excel
from danlu.data.sources.json_records import frame_of_records, read_json
from danlu.data.sources.libsvm import read_libsvm
from danlu.data.sources.nested_json import lines_of_chats
from danlu.data.sources.numpy_files import read_numpy
from danlu.data.sources.parquet import check_parquet, finish_parquet
from danlu.data.sources.scans import collect, is_large
from danlu.data.sources.separated import read_csv
from danlu.data.sources.statistics_files import READ_BY, read_statistics

PACKED = 4  # factor by which parquet grows when read


def read_tsv(path: Path, options: ReadOptions) -> ReadTable:
    """Read values separated by tabs."""
    return read_csv(path, options, "\t")


def read_parquet(path: Path, options: ReadOptions) -> ReadTable:
    """Read parquet, which has its own missing values."""
    leaves = check_parquet(path)
    scan = partial(pl.scan_parquet, path, hive_partitioning=False)
    return finish_parquet(path, collect(path, scan, is_large(path.stat().st_size * PACKED, options), []), leaves)


def read_jsonl(path: Path, options: ReadOptions) -> ReadTable:
    """Read one JSON object per line.

    Any line may have keys of its own, so the whole file decides the columns.
    """
    text, encoding = text_file(path, options.encoding, options.likely_encoding)
    chats = lines_of_chats(text)
    form = FileForm(encoding=encoding, is_json=True)
    if chats is not None:
        return ReadTable(frame_of_records(path, chats), form)
    if options.most_bytes is None:  # whoever trains on it has all of it in memory
        return ReadTable(pl.read_ndjson(text, infer_schema_length=None), form)
    scan = partial(pl.scan_ndjson, text, infer_schema_length=None)
    return ReadTable(collect(text, scan, is_large(text.stat().st_size, options), ["lines of JSON"]), form)


def read_avro(path: Path, options: ReadOptions) -> ReadTable:
    """Read Avro's container files."""
    return ReadTable(pl.read_avro(path))


READERS: dict[str, Callable[[Path, ReadOptions], ReadTable]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".tab": read_tsv,
    ".psv": partial(read_csv, separator="|"),
    ".parquet": read_parquet,
    ".geoparquet": read_parquet,
    ".arrow": read_arrow,
    ".feather": read_arrow,
    ".ipc": read_arrow,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".avro": read_avro,
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), read_excel),
    **dict.fromkeys(READ_BY, read_statistics),
    ".arff": read_arff,
    **dict.fromkeys((".npy", ".npz"), read_numpy),
    **dict.fromkeys((".libsvm", ".svmlight", ".svm"), read_libsvm),
    **dict.fromkeys((".sqlite", ".sqlite3", ".db", ".db3", ".gpkg", ".duckdb", ".ddb"), read_database),
}
