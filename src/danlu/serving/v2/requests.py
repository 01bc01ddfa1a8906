"""A request of the protocol: its body, JSON alone or JSON and bytes behind it -> rows, and which outputs are wanted."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple, NoReturn

import msgspec
import numpy as np

from danlu.core.text import suggestion
from danlu.serving.answering import Rows, Served
from danlu.serving.refusals import Refused
from danlu.serving.schema import InputColumn
from danlu.serving.v2.tensors import (
    BOOL,
    BYTES,
    DTYPES,
    FLOATS,
    Tensor,
    count_of,
    require_datatype,
    values_of_bytes,
    values_of_json,
)

MATRIX = 2  # dimensions
PIXELS = ("UINT8",)


class WantedOutput(NamedTuple):
    """Name an output that a client wants.

    Attributes:
        name: of the output.
        binary: whether its values are bytes behind the JSON.
    """

    name: str
    binary: bool


class InferRequest(NamedTuple):
    """Hold a decoded request.

    Attributes:
        id: the client's name for it, given back.
        rows: what is to be answered.
        outputs: those that are wanted; None for all but explanations.
        binary: whether outputs that are not named are wanted as bytes.
    """

    id: str | None
    rows: Rows
    outputs: tuple[WantedOutput, ...] | None
    binary: bool


class _Size(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    binary_data_size: int


class _Matrix(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    name: str
    shape: tuple[int, int]
    datatype: Literal["FP32", "FP64"]
    data: list[float | None] | None = None
    parameters: _Size | None = None


class _Wish(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    binary_data_output: bool = False


class _QuickBody(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    inputs: tuple[_Matrix]
    id: str | None = None
    parameters: _Wish | None = None


_QUICK = msgspec.json.Decoder(_QuickBody)


def decode(served: Served, body: bytes, header_length: int | None = None) -> InferRequest:
    """Decode the body of `POST /v2/models/N/infer`.

    Args:
        served: the bundle that is to answer.
        body: JSON, with binary tensors behind it.
        header_length: of the header `Inference-Header-Content-Length`, the bytes of JSON; None where all are.

    Raises:
        Refused: it is not of the protocol, or lacks a column that the model reads.
    """
    length = len(body) if header_length is None else header_length
    if not 0 <= length <= len(body):
        raise Refused(f"Inference-Header-Content-Length: {length} is beyond the body of {len(body)} bytes")
    quick = _quick(served, body, length)
    if quick is not None:
        return quick
    told = _parse(body[:length])
    tensors = _tensors(told.get("inputs"), memoryview(body)[length:])
    parameters = _mapping(told.get("parameters"), "parameters")
    wanted = told.get("outputs")
    binary = parameters.get("binary_data_output", False) is True
    given = told.get("id")
    return InferRequest(
        id=None if given is None else str(given),
        rows=rows_of(served, tensors),
        outputs=None if not wanted else _outputs(wanted, binary),
        binary=binary,
    )


def _quick(served: Served, body: bytes, length: int) -> InferRequest | None:
    """Decode a request of one matrix of numbers in one step; None for all others."""
    if served.number_names is None:
        return None
    with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        told = _QUICK.decode(body if length == len(body) else memoryview(body)[:length])
        (matrix,) = told.inputs
        rows, width = matrix.shape
        count = rows * width
        if matrix.name in served.number_names or width != len(served.columns) or rows < 1:
            return None
        values: Sequence[float | None]
        if matrix.parameters is None:
            if matrix.data is None or length != len(body):
                return None
            values = matrix.data
        else:
            size = count * np.dtype(DTYPES[matrix.datatype]).itemsize
            if matrix.data is not None or not matrix.parameters.binary_data_size == len(body) - length == size:
                return None
            values = np.frombuffer(body, DTYPES[matrix.datatype], count, length).tolist()
        found = served.read_matrix(_finite_or_missing(values)) if len(values) == count else None
        if found is not None:
            return InferRequest(
                told.id, found, None, told.parameters is not None and told.parameters.binary_data_output
            )
    return None


def rows_of(served: Served, tensors: Sequence[Tensor]) -> Rows:
    """Return the rows that tensors hold: one a column, or one of all numbers.

    Raises:
        Refused: one is missing, or they differ in the number of rows.
    """
    columns, named = served.columns, {tensor.name: tensor for tensor in tensors}
    found: dict[str, list[Any]] = {}
    if len(tensors) == 1 and len(columns) == 1:
        found[columns[0].name] = _cells(tensors[0], columns[0])
    elif len(tensors) == 1 and all(column.name not in named for column in columns):
        values = _matrix(tensors[0], columns)
        quick = None if tensors[0].datatype == BOOL else served.read_matrix(values)
        if quick is not None:
            return quick
        found = {column.name: values[place :: len(columns)] for place, column in enumerate(columns)}
    else:
        for column in columns:
            if column.name not in named:
                near = suggestion(column.name, named)
                raise Refused(f"inputs: no {column.name!r}, which the model reads{near}", field="inputs")
            found[column.name] = _cells(named[column.name], column)
    counts = {name: len(cells) for name, cells in found.items()}
    if len(set(counts.values())) > 1:
        most = max(counts.values())
        short = next(name for name, count in counts.items() if count != most)
        raise Refused(f"inputs: {short!r} has {counts[short]} rows, and others {most}", field="inputs")
    return served.read_columns(found)


def _parse(text: bytes) -> Mapping[str, Any]:
    """Parse JSON, in which NaN and Infinity may be bare words."""
    try:
        told = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        try:
            told = json.loads(text, parse_float=_finite)
        except (ValueError, RecursionError) as error:
            raise Refused(f"the body is no JSON: {error}") from None
    if not isinstance(told, dict):
        raise Refused("the body is no object with `inputs`", field="inputs")
    return told


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise Refused(f"the body holds {text}, which is beyond any number of 64 bits")
    return number


def _mapping(value: Any, field: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused(f"{field}: give an object", field=field)
    return value


def _tensors(inputs: Any, behind: memoryview) -> list[Tensor]:
    """Return the tensors that a request lists.

    Binary ones stand behind the JSON in their order.
    """
    if not isinstance(inputs, list) or not inputs:
        raise Refused("inputs: give a list of tensors", field="inputs")
    found: list[Tensor] = []
    at = 0
    for place, told in enumerate(inputs):
        field = f"inputs[{place}]"
        if not isinstance(told, dict) or not isinstance(told.get("name"), str):
            raise Refused(f"{field}: give name, shape, datatype and data", field=field)
        datatype = require_datatype(told.get("datatype"), f"{field}.datatype")
        count = count_of(told.get("shape"), f"{field}.shape")
        size = _mapping(told.get("parameters"), f"{field}.parameters").get("binary_data_size")
        if size is None:
            values = values_of_json(told.get("data"), datatype, count, f"{field}.data")
        else:
            if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(behind) - at:
                _refuse_size(size, f"{field}.parameters.binary_data_size")
            values = values_of_bytes(behind[at : at + size], datatype, count, field)
            at += size
        found.append(Tensor(told["name"], datatype, tuple(told["shape"]), values))
    if at != len(behind):
        raise Refused(f"{len(behind) - at} bytes behind the JSON belong to no input", field="inputs")
    return found


def _refuse_size(size: Any, field: str) -> NoReturn:
    raise Refused(f"{field}: {size!r} bytes do not stand behind the JSON", field=field)


def _outputs(wanted: Any, binary: bool) -> tuple[WantedOutput, ...]:
    if not isinstance(wanted, list):
        raise Refused("outputs: give a list of outputs", field="outputs")
    found = []
    for place, told in enumerate(wanted):
        field = f"outputs[{place}]"
        if not isinstance(told, dict) or not isinstance(told.get("name"), str):
            raise Refused(f"{field}: give an output's name", field=field)
        said = _mapping(told.get("parameters"), f"{field}.parameters").get("binary_data", binary)
        found.append(WantedOutput(told["name"], said is True))
    return tuple(found)


def _cells(tensor: Tensor, column: InputColumn) -> list[Any]:
    """Return one column's cells.

    Raises:
        Refused: the tensor has more than one value a row.
    """
    shape = tensor.shape
    if column.type == "image" and tensor.datatype in PIXELS and len(shape) > 1:
        return _pictures(tensor)
    if len(shape) > MATRIX or (len(shape) == MATRIX and shape[1] != 1):
        raise Refused(f"inputs: {tensor.name!r} has the shape {list(shape)}; give [rows] or [rows, 1]", field="inputs")
    if tensor.datatype == BYTES and column.type != "image":
        return [_text(value, tensor.name) for value in tensor.values]
    if tensor.datatype in FLOATS:
        return _finite_or_missing(tensor.values)
    return list(tensor.values)


def _matrix(tensor: Tensor, columns: Sequence[InputColumn]) -> list[Any]:
    """Return the numbers of a tensor of all columns, [rows, columns]; columns as in training."""
    width = len(columns)
    is_matrix = len(tensor.shape) == MATRIX and tensor.shape[1] == width
    if not is_matrix or tensor.datatype == BYTES or any(column.type != "number" for column in columns):
        names = ", ".join(column.name for column in columns[:10])
        raise Refused(
            f"inputs: {tensor.name!r} is no column of the model; give a tensor for each column ({names}"
            f"{', …' if width > 10 else ''}), or for a model of numbers one of the shape [rows, {width}]",
            field="inputs",
        )
    return _finite_or_missing(tensor.values)


def _finite_or_missing(values: Sequence[Any]) -> list[Any]:
    """Return numbers, with None for what is not finite: it is missing."""
    try:
        if None not in values and all(map(math.isfinite, values)):
            return list(values)
        return [value if value is not None and math.isfinite(value) else None for value in values]
    except OverflowError:
        raise Refused(
            "inputs: the data hold a whole number that is beyond any number of 64 bits", field="inputs"
        ) from None


def _pictures(tensor: Tensor) -> list[bytes]:
    """Return pixels, [rows, height, width, channels] or without channels, as files."""
    import numpy as np

    from danlu.data.sources.in_memory_images import encode_images
    from danlu.errors import DataError

    pixels = np.array(tensor.values, dtype=np.uint8).reshape(tensor.shape)
    try:
        return list(encode_images(pixels, "inputs", batch=True))
    except DataError as error:
        raise Refused(f"inputs: {tensor.name!r}: {error}", field="inputs") from None


def _text(value: Any, name: str) -> str | None:
    if not isinstance(value, bytes):
        return None if value is None else str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Refused(f"inputs: {name!r} holds bytes that are no UTF-8", field="inputs") from None
