"""Requests and answers as messages of gRPC <-> rows and tensors of the Open Inference Protocol.

Values are raw bytes beside the tensors or typed lists in them; an answer has them as its request had.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from danlu.serving.answering import Answer, Served
from danlu.serving.outputs import EXPLANATION
from danlu.serving.refusals import Refused
from danlu.serving.v2.requests import InferRequest, WantedOutput, rows_of
from danlu.serving.v2.responses import require_outputs, tensors_of
from danlu.serving.v2.tensors import BYTES, FLOATS, Tensor, count_of, require_datatype, to_bytes, values_of_bytes
from danlu.serving.v2.tensors import values_of_json as checked_values

CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}


def decode(served: Served, message: Any) -> InferRequest:
    """Decode a ModelInferRequest.

    Raises:
        Refused: it is not of the protocol, lacks a column that the model reads, or wants an output that is none.
    """
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise Refused(
            f"raw_input_contents: {len(raw)} entries for {len(message.inputs)} inputs", field="raw_input_contents"
        )
    if not message.inputs:
        raise Refused("inputs: give a list of tensors", field="inputs")
    tensors = [_tensor(told, raw[place] if raw else None, place) for place, told in enumerate(message.inputs)]
    outputs = tuple(WantedOutput(wanted.name, bool(raw)) for wanted in message.outputs)
    request = InferRequest(message.id or None, rows_of(served, tensors), outputs or None, bool(raw))
    require_outputs(served, request)
    return request


def explains(request: InferRequest) -> bool:
    """Return whether a request wants its answers explained."""
    return any(output.name == EXPLANATION for output in request.outputs or ())


def encode(
    response: Any, served: Served, request: InferRequest, answers: Sequence[Answer], names: tuple[str, str]
) -> bytes:
    """Write a ModelInferResponse.

    Args:
        response: an empty one.
        served: the bundle that answered.
        request: what was asked.
        answers: of its rows.
        names: of the model and its version.

    Raises:
        Refused: no row could be answered; the first one's reason.
    """
    response.model_name, response.model_version = names
    response.id = request.id or ""
    response.parameters["digest"].string_param = served.digest
    for tensor, _ in tensors_of(served, request, answers):
        told = response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if request.binary:
            response.raw_output_contents.append(to_bytes(tensor))
        else:
            getattr(told.contents, CONTENTS[tensor.datatype]).extend(_typed(tensor))
    found: bytes = response.SerializeToString()
    return found


def fill_metadata(response: Any, told: Mapping[str, Any]) -> Any:
    """Fill a ModelMetadataResponse with what the document of `GET /v2/models/N` says."""
    response.name, response.platform = told["name"], told["platform"]
    response.versions.extend(told["versions"])
    for part, tensors in ((response.inputs, told["inputs"]), (response.outputs, told["outputs"])):
        for each in tensors:
            part.add(name=each["name"], datatype=each["datatype"], shape=each["shape"])
    return response


def _tensor(told: Any, raw: bytes | None, place: int) -> Tensor:
    field = f"inputs[{place}]"
    datatype = require_datatype(told.datatype, f"{field}.datatype")
    shape = tuple(told.shape)
    count = count_of(shape, f"{field}.shape")
    if raw is not None:
        if told.HasField("contents"):
            raise Refused(f"{field}: has contents, and raw_input_contents as well", field=f"{field}.contents")
        return Tensor(told.name, datatype, shape, values_of_bytes(memoryview(raw), datatype, count, field))
    where = f"{field}.contents"
    if datatype not in CONTENTS:
        raise Refused(f"{where}: {datatype} has no list here; send it in raw_input_contents", field=where)
    values: list[Any] = list(getattr(told.contents, CONTENTS[datatype]))
    if datatype != BYTES:
        return Tensor(told.name, datatype, shape, checked_values(values, datatype, count, where))
    if len(values) != count:
        raise Refused(f"{where}: has {len(values)} values, and the shape says {count}", field=where)
    return Tensor(told.name, datatype, shape, values)


def _typed(tensor: Tensor) -> list[Any]:
    """Return an output's values; a missing one is NaN, 0 or empty."""
    if tensor.datatype == BYTES:
        return [b"" if value is None else str(value).encode("utf-8", "replace") for value in tensor.values]
    missing = float("nan") if tensor.datatype in FLOATS else 0
    return [missing if value is None else value for value in tensor.values]
