"""What an Arrow file's or stream's own schema says beyond polars' types: intervals, and what programs wrote beside.

Reads the few tables of the schema that are needed (https://arrow.apache.org/docs/format/Columnar.html, encoded as
Flatbuffers), and no rows.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

FILE_MAGIC = b"ARROW1\x00\x00"
CONTINUATION = 0xFFFFFFFF
HEADER = 2  # of a message
FIELDS, METADATA = 1, 2  # of a schema
KEY, VALUE = 0, 1  # of an entry of the metadata
NAME, TYPE, CHILDREN = 0, 2, 5  # of a field
INTERVAL = 11  # a column's type


@dataclass(frozen=True)
class ArrowSchema:
    """Hold what is said of the columns.

    Attributes:
        intervals: the columns of intervals, at whose type polars panics; nested ones by the names around them.
        metadata: what programs wrote beside the columns, by key.
    """

    intervals: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)


def read_arrow_schema(path: Path) -> ArrowSchema:
    """Read the schema at a file's beginning.

    It is empty where the file is damaged, of which polars says more.
    """
    with path.open("rb") as file:
        if file.read(len(FILE_MAGIC)) != FILE_MAGIC:
            file.seek(0)
        length = _length(file)
        message = file.read(_length(file) if length == CONTINUATION else length)  # twice since 0.15 of the format
    try:
        at = _entry(message, _position(message, 0), HEADER)
        if at is None:
            return ArrowSchema()
        schema = _position(message, at)
        return ArrowSchema(tuple(_intervals(message, schema, FIELDS, "")), dict(_metadata(message, schema)))
    except (struct.error, UnicodeDecodeError, RecursionError, IndexError):
        return ArrowSchema()


def _length(file: IO[bytes]) -> int:
    return int.from_bytes(file.read(4), "little")


def _metadata(data: bytes, schema: int) -> Iterator[tuple[str, str]]:
    for entry in _tables(data, schema, METADATA):
        key, value = (_entry(data, entry, part) for part in (KEY, VALUE))
        if key is not None and value is not None:
            yield _text(data, key), _text(data, value)


def _intervals(data: bytes, table: int, entry: int, above: str) -> Iterator[str]:
    for column in _tables(data, table, entry):
        named = _entry(data, column, NAME)
        name = above + (_text(data, named) if named is not None else "")
        kind = _entry(data, column, TYPE)
        if kind is not None and data[kind] == INTERVAL:
            yield name
        yield from _intervals(data, column, CHILDREN, f"{name}.")


def _tables(data: bytes, table: int, entry: int) -> Iterator[int]:
    """Yield where the tables of a vector stand."""
    at = _entry(data, table, entry)
    if at is not None:
        vector = _position(data, at)
        for number in range(struct.unpack_from("<I", data, vector)[0]):
            yield _position(data, vector + 4 + 4 * number)


def _position(data: bytes, at: int) -> int:
    """Follow the offset that stands at a position."""
    return at + int(struct.unpack_from("<I", data, at)[0])


def _entry(data: bytes, table: int, entry: int) -> int | None:
    """Return where a table holds an entry; None where that is the default."""
    entries = table - struct.unpack_from("<i", data, table)[0]
    size = struct.unpack_from("<H", data, entries)[0]
    place = 4 + 2 * entry
    offset = struct.unpack_from("<H", data, entries + place)[0] if place < size else 0
    return table + offset if offset else None


def _text(data: bytes, at: int) -> str:
    start = _position(data, at)
    (length,) = struct.unpack_from("<I", data, start)
    return data[start + 4 : start + 4 + length].decode("utf-8")
