"""What a Parquet file's footer says of its columns beyond polars' types: UUIDs, geometries, intervals.

In: a file. Out: its leaves, by the Thrift compact protocol (https://parquet.apache.org/docs/file-format/metadata/).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAGIC = b"PAR1"
SCHEMA = 2  # a field of FileMetaData
NAME, CHILDREN, CONVERTED, LOGICAL = 4, 5, 6, 10  # fields of SchemaElement
CONVERTED_INTERVAL = 21
LOGICAL_KINDS = {14: "uuid", 17: "geometry", 18: "geometry"}
TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT, UUID = 1, 2, 3, 7, 8, 9, 10, 11, 12, 13  # of the protocol
LONG_LIST = 15  # the length follows as a number of its own


@dataclass(frozen=True)
class Leaf:
    """Describe one column of values.

    Attributes:
        path: its name, and of nested values those of the columns around it, outermost first.
        wire_type: uuid, geometry, interval; "" for all others.
    """

    path: tuple[str, ...]
    wire_type: str


def read_leaves(path: Path) -> list[Leaf]:
    """Read the columns of a Parquet file; none where its footer is not one.

    polars then says what is wrong with the file.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size < 12:
            return []
        file.seek(size - 8)
        length, magic = int.from_bytes(file.read(4), "little"), file.read(4)
        if magic != MAGIC or length > size - 12:
            return []
        file.seek(size - 8 - length)
        footer = file.read(length)
    try:
        elements = _Compact(footer).field(SCHEMA) or []
        leaves: list[Leaf] = []
        _walk(elements, 0, (), leaves)
    except (IndexError, UnicodeDecodeError):
        return []
    return leaves


def _walk(elements: list[dict[int, Any]], at: int, above: tuple[str, ...], leaves: list[Leaf]) -> int:
    """Collect the leaves of an element and all below it; return the position after them."""
    element = elements[at]
    path = above if at == 0 else (*above, element[NAME].decode("utf-8"))
    children = element.get(CHILDREN, 0)
    if not children and at:
        interval = element.get(CONVERTED) == CONVERTED_INTERVAL
        logical = next(iter(element.get(LOGICAL) or {}), 0)
        leaves.append(Leaf(path, "interval" if interval else LOGICAL_KINDS.get(logical, "")))
    at += 1
    for _ in range(children):
        at = _walk(elements, at, path, leaves)
    return at


class _Compact:
    """Read values in Thrift's compact protocol, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def field(self, wanted: int) -> Any:
        """Read a struct up to one of its fields and return that.

        What comes after is not read.
        """
        for number, value in self._fields():
            if number == wanted:
                return value
        return None

    def _fields(self) -> Any:
        number = 0
        while (header := self._byte()) != 0:
            number = number + (header >> 4) if header >> 4 else self._signed()
            wire_type = header & 15
            yield number, wire_type == TRUE if wire_type in (TRUE, FALSE) else self._value(wire_type)

    def _value(self, wire_type: int) -> Any:
        if wire_type == STRUCT:
            return dict(self._fields())
        if wire_type in (LIST, SET):
            header = self._byte()
            length = header >> 4 if header >> 4 != LONG_LIST else self._number()
            return [self._value(header & 15) for _ in range(length)]
        if wire_type == MAP:
            length = self._number()
            kinds = self._byte() if length else 0
            return {self._value(kinds >> 4): self._value(kinds & 15) for _ in range(length)}
        if wire_type == BINARY:
            return self._take(self._number())
        if wire_type in (DOUBLE, UUID):
            return self._take(8 if wire_type == DOUBLE else 16)
        return self._byte() if wire_type in (TRUE, FALSE, BYTE) else self._signed()

    def _byte(self) -> int:
        return self._take(1)[0]

    def _take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise IndexError("the footer ends early")
        self._at += count
        return taken

    def _number(self) -> int:
        found = shift = 0
        while (byte := self._byte()) & 128:
            found |= (byte & 127) << shift
            shift += 7
        return found | byte << shift

    def _signed(self) -> int:
        found = self._number()
        return found >> 1 ^ -(found & 1)
