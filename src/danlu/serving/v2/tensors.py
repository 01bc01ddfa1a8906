"""Tensors of the Open Inference Protocol: flat lists of Python values <-> JSON data or bytes.

A value is a float, int, bool, text or bytes; None is missing. Shapes are checked against what was sent, so that a huge
one costs nothing.
"""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from danlu.serving.refusals import TOO_LARGE, Refused

BYTES, BF16, BOOL = "BYTES", "BF16", "BOOL"
DTYPES: dict[str, str] = {
    BOOL: "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    BF16: "<u2",  # the upper half of an FP32
}
FLOATS = ("FP16", "FP32", "FP64", BF16)
LENGTH_BYTES = 4  # before each element of BYTES, little endian
MOST_DIMENSIONS, MOST_VALUES = 8, 2**28


class Tensor(NamedTuple):
    """Hold one tensor.

    Attributes:
        name: of the input or output.
        datatype: BYTES or one of DTYPES.
        shape: rows first.
        values: in row-major order.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Sequence[Any]


def count_of(shape: Any, field: str) -> int:
    """Return how many values a shape holds.

    Raises:
        Refused: it is no list of whole numbers from 0 on, or holds more than any request.
    """
    if not isinstance(shape, list | tuple) or not shape or len(shape) > MOST_DIMENSIONS:
        raise Refused(f"{field}: give a list of 1 to {MOST_DIMENSIONS} whole numbers", field=field)
    count = 1
    for size in shape:
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise Refused(f"{field}: {size!r} is no size of a dimension", field=field)
        count *= size
    if count > MOST_VALUES:
        raise Refused(f"{field}: {count} values are more than any request may have", field=field, code=TOO_LARGE)
    return count


def require_datatype(datatype: Any, field: str) -> str:
    """Return a datatype of the protocol.

    Raises:
        Refused: it is none.
    """
    if isinstance(datatype, str) and (datatype == BYTES or datatype in DTYPES):
        return datatype
    known = ", ".join([*DTYPES, BYTES])
    raise Refused(f"{field}: {datatype!r} is no datatype (allowed: {known})", field=field)


def values_of_json(data: Any, datatype: str, count: int, field: str) -> list[Any]:
    """Return the values of JSON data, flat or nested.

    Raises:
        Refused: they are not as many as the shape says, or not of the datatype.
    """
    if not isinstance(data, list):
        raise Refused(f"{field}: give a list of values", field=field)
    flat = data
    while flat and isinstance(flat[0], list):
        if not all(isinstance(part, list) for part in flat):
            raise Refused(f"{field}: its lists are of different depths", field=field)
        flat = [value for part in flat for value in part]
    if len(flat) != count:
        raise Refused(f"{field}: has {len(flat)} values, and the shape says {count}", field=field)
    wanted = FITTING[_family(datatype)]
    if not {*map(type, flat)} <= {*wanted, type(None)}:
        place = next(at for at, value in enumerate(flat) if value is not None and type(value) not in wanted)
        raise Refused(f"{field}[{place}]: {flat[place]!r} is no {datatype}", field=field)
    if datatype in DTYPES and _family(datatype) == "int":
        _check_range(flat, datatype, field)
    return flat


def values_of_bytes(data: memoryview, datatype: str, count: int, field: str) -> list[Any]:
    """Return the values of a binary tensor.

    Raises:
        Refused: the bytes are not as many as shape and datatype say.
    """
    if datatype == BYTES:
        return split_bytes(data, count, field)
    size = count * np.dtype(DTYPES[datatype]).itemsize
    if len(data) != size:
        raise Refused(f"{field}: {len(data)} bytes, and shape and datatype say {size}", field=field)
    found = np.frombuffer(data, dtype=DTYPES[datatype])
    if datatype == BF16:
        found = (found.astype(np.uint32) << 16).view(np.float32)
    values: list[Any] = found.tolist()
    return values


def split_bytes(data: memoryview, count: int, field: str) -> list[bytes]:
    """Return the elements of a binary tensor of BYTES, each behind its length.

    Raises:
        Refused: they are cut short, or fewer or more than the shape says.
    """
    found: list[bytes] = []
    at = 0
    while at < len(data):
        if at + LENGTH_BYTES > len(data) or len(found) == count:
            raise Refused(f"{field}: its bytes do not end with element {count}", field=field)
        (length,) = struct.unpack_from("<I", data, at)
        at += LENGTH_BYTES
        if at + length > len(data):
            raise Refused(f"{field}: element {len(found)} is cut short", field=field)
        found.append(bytes(data[at : at + length]))
        at += length
    if len(found) != count:
        raise Refused(f"{field}: has {len(found)} elements, and the shape says {count}", field=field)
    return found


def to_bytes(tensor: Tensor) -> bytes:
    """Return a tensor's values as binary data; a missing one is NaN, 0 or empty."""
    if tensor.datatype == BYTES:
        parts = [_encoded(value) for value in tensor.values]
        return b"".join(part for value in parts for part in (struct.pack("<I", len(value)), value))
    if tensor.datatype in FLOATS:
        return np.array(tensor.values, dtype=DTYPES[tensor.datatype]).tobytes()
    return np.array([value or 0 for value in tensor.values], dtype=DTYPES[tensor.datatype]).tobytes()


def _encoded(value: Any) -> bytes:
    return value if isinstance(value, bytes) else b"" if value is None else str(value).encode("utf-8", "replace")


def _family(datatype: str) -> str:
    if datatype in FLOATS:
        return "float"
    return {BYTES: "bytes", BOOL: "bool"}.get(datatype, "int")


FITTING: dict[str, tuple[type, ...]] = {"float": (float, int), "int": (int,), "bool": (bool,), "bytes": (str,)}


def _check_range(values: Sequence[int | None], datatype: str, field: str) -> None:
    limits = np.iinfo(DTYPES[datatype])
    for place, value in enumerate(values):
        if value is not None and not limits.min <= value <= limits.max:
            raise Refused(f"{field}[{place}]: {value} is beyond {datatype}", field=field)
