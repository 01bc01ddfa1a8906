"""The answer of the protocol: answers of rows -> tensors, and the body, JSON alone or JSON and bytes behind it."""

from collections.abc import Sequence
from typing import Any

import msgspec

from danlu.core.text import suggestion
from danlu.serving.answering import Answer, Served
from danlu.serving.outputs import ERROR, EXPLANATION, OutputColumn
from danlu.serving.refusals import Refused
from danlu.serving.v2.requests import InferRequest, WantedOutput
from danlu.serving.v2.tensors import BYTES, Tensor, to_bytes


def require_outputs(served: Served, request: InferRequest) -> None:
    """Raise Refused unless the model has all outputs that a request wants."""
    known = [output.name for output in served.outputs] + [ERROR, EXPLANATION]
    for place, wanted in enumerate(request.outputs or ()):
        if wanted.name not in known:
            near = suggestion(wanted.name, known)
            raise Refused(f"outputs[{place}]: the model has no output {wanted.name!r}{near}", field=f"outputs[{place}]")
        if wanted.name == EXPLANATION:
            served.require_explainable()


def encode(
    served: Served, request: InferRequest, answers: Sequence[Answer], model: str, version: str
) -> tuple[bytes, int | None]:
    """Write the body of an answer.

    Args:
        answers: of the request's rows.
        model, version: their names.

    Returns:
        the body, and for the header `Inference-Header-Content-Length` the length of its JSON where bytes follow.

    Raises:
        Refused: no row could be answered; the first one's reason.
    """
    head: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        head["id"] = request.id
    told: list[dict[str, Any]] = []
    behind: list[bytes] = []
    for tensor, is_binary in tensors_of(served, request, answers):
        output: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if is_binary:
            behind.append(to_bytes(tensor))
            output["parameters"] = {"binary_data_size": len(behind[-1])}
        else:
            output["data"] = tensor.values  # what is missing or no number becomes null
        told.append(output)
    head["parameters"] = {"digest": served.digest}
    text = msgspec.json.encode({**head, "outputs": told})
    return (text + b"".join(behind), len(text)) if behind else (text, None)


def tensors_of(served: Served, request: InferRequest, answers: Sequence[Answer]) -> list[tuple[Tensor, bool]]:
    """Return the outputs that a request wants, each with whether it is to be binary.

    Raises:
        Refused: no row could be answered; the first one's reason.
    """
    errors = [answer.get("error") for answer in answers]
    first = errors[0]
    if first is not None and None not in errors:
        raise Refused(first.message, field=first.column, code=first.code)
    wanted = request.outputs
    if wanted is None:
        wanted = tuple(WantedOutput(output.name, request.binary) for output in served.outputs)
        if any(error is not None for error in errors):
            wanted = (*wanted, WantedOutput(ERROR, request.binary))
    known = {output.name: output for output in served.outputs}
    found: list[tuple[Tensor, bool]] = []
    for output in wanted:
        if output.name == ERROR:
            texts = [None if error is None else f"{error.code}: {error.message}" for error in errors]
            tensor = Tensor(ERROR, BYTES, (len(answers),), texts)
        elif output.name == EXPLANATION:
            tensor = Tensor(EXPLANATION, BYTES, (len(answers),), served.explain(request.rows, answers))
        else:
            tensor = _tensor(known[output.name], answers)
        found.append((tensor, output.binary))
    return found


def _tensor(output: OutputColumn, answers: Sequence[Answer]) -> Tensor:
    """Return one output of all rows; those in error have none."""
    if output.labels:
        blank = dict.fromkeys(output.labels)
        shares = [answer.get(output.name) or blank for answer in answers]
        values = [share[label] for share in shares for label in output.labels]
        return Tensor(output.name, output.datatype, (len(answers), len(output.labels)), values)
    cells = [answer.get(output.name) for answer in answers]
    if output.nested:
        cells = [None if cell is None else msgspec.json.encode(cell).decode() for cell in cells]
    return Tensor(output.name, output.datatype, (len(answers),), cells)
