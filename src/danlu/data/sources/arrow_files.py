"""Arrow's files and streams, among them those of Hugging Face's cache."""

from pathlib import Path

import polars as pl

from danlu.data.file_form import ReadOptions, ReadTable
from danlu.data.frames import DiskFrame
from danlu.data.sources.arrow_schema import read_arrow_schema
from danlu.data.sources.hugging_face import METADATA_KEY, plain_features, said_features
from danlu.data.sources.parquet import added_columns
from danlu.data.sources.scans import is_large
from danlu.errors import DataError

FILE_MAGIC = b"ARROW1"


def read_arrow(path: Path, options: ReadOptions) -> ReadTable:
    """Read arrow's file format (feather) or a stream.

    The file format can be read in parts without conversion.

    Raises:
        DataError: a column holds intervals, at whose type polars panics.
    """
    schema = read_arrow_schema(path)
    for name in schema.intervals:
        raise DataError(
            f"{path}: column {name!r} holds intervals of months, days and seconds, which have no length; write it as a "
            "number of days or seconds, or leave it out, in the program that wrote the file",
            code="DL211",
        )
    with path.open("rb") as file:
        is_file = file.read(len(FILE_MAGIC)) == FILE_MAGIC
    if is_file and is_large(path.stat().st_size, options):
        table: pl.DataFrame | DiskFrame = DiskFrame(pl.scan_ipc(path))
    else:
        table = pl.DataFrame(pl.read_ipc(path) if is_file else pl.read_ipc_stream(path))
    table = plain_features(table, said_features(schema.metadata.get(METADATA_KEY)), path.parent)
    return ReadTable(table, added=added_columns(schema.metadata, table))
