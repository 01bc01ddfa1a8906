"""What Parquet columns are beyond polars' types: UUIDs become words; a program's index and geometries are marked."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from danlu.data.file_form import ReadTable
from danlu.data.frames import DiskFrame, Table
from danlu.data.sources.hugging_face import METADATA_KEY, plain_features, said_features
from danlu.data.sources.parquet_schema import Leaf, read_leaves
from danlu.errors import DataError

UUID_CUTS = ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))  # start and length of each group of hex digits


def check_parquet(path: Path) -> list[Leaf]:
    """Return the columns that need care.

    Raises:
        DataError: a column holds intervals, at whose type polars panics.
    """
    leaves = [leaf for leaf in read_leaves(path) if leaf.wire_type]
    for leaf in leaves:
        if leaf.wire_type == "interval":
            raise DataError(
                f"{path}: column {'.'.join(leaf.path)!r} holds intervals of months, days and milliseconds, which have "
                "no length; write it as a number of days or seconds, or leave it out, in the program that wrote it",
                code="DL211",
            )
    return leaves


def finish_parquet(path: Path, table: Table, leaves: list[Leaf]) -> ReadTable:
    """Write UUIDs as words, and mark the columns of an index and of geometries."""
    uuids = [leaf.path[0] for leaf in leaves if leaf.wire_type == "uuid" and len(leaf.path) == 1]
    if uuids := [name for name in uuids if table.schema[name] == pl.Binary]:
        written = table.lazy().with_columns(map(_uuid_words, uuids))
        table = DiskFrame(written, table.height) if isinstance(table, DiskFrame) else written.collect()
    metadata = pl.read_parquet_metadata(path)
    table = plain_features(table, said_features(metadata.get(METADATA_KEY)), path.parent)
    marked = dict.fromkeys((leaf.path[0] for leaf in leaves if leaf.wire_type == "geometry"), "geometry")
    return ReadTable(table, added=marked | added_columns(metadata, table))


def _uuid_words(name: str) -> pl.Expr:
    digits = pl.col(name).bin.encode("hex")
    return pl.concat_str([digits.str.slice(start, length) for start, length in UUID_CUTS], separator="-").alias(name)


def added_columns(metadata: Mapping[str, str], table: Table) -> dict[str, str]:
    """Return the columns that are an index, a geometry or its bounding box.

    pandas and geopandas say so.

    Args:
        metadata: of a Parquet or Arrow file.
        table: its rows.

    Returns:
        the key of the reason for each.
    """
    marked: dict[str, str] = {}
    for name in _parsed(metadata.get("pandas")).get("index_columns") or ():
        # An index of times tells when something happened; one of numbers or words tells rows apart.
        if isinstance(name, str) and name in table.schema and not table.schema[name].is_temporal():
            marked[name] = "added-index"
    columns = _parsed(metadata.get("geo")).get("columns")
    for name, said in (columns if isinstance(columns, dict) else {}).items():
        marked[name] = "geometry"
        covering = said.get("covering") if isinstance(said, dict) else None
        for box in (covering if isinstance(covering, dict) else {}).values():
            marked |= {path[0]: "geometry" for path in box.values() if path}
    return {name: why for name, why in marked.items() if name in table.schema}


def _parsed(text: str | None) -> dict[str, Any]:
    """Return the JSON object of a metadata entry; an empty one where there is none."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
