"""What a server tells of itself and of a model: names, and the tensors that go in and come out."""

from collections.abc import Sequence
from typing import Any

from danlu._version import __version__
from danlu.serving.answering import Served
from danlu.serving.outputs import ERROR, EXPLANATION
from danlu.serving.v2.tensors import BYTES

EXTENSIONS = ("binary_tensor_data", "model_repository")
DATATYPES = {"number": "FP64"}


def server_metadata() -> dict[str, Any]:
    """Return the document of `GET /v2`."""
    return {"name": "danlu", "version": __version__, "extensions": list(EXTENSIONS)}


def model_metadata(served: Served, name: str, versions: Sequence[str]) -> dict[str, Any]:
    """Return the document of `GET /v2/models/N`.

    Args:
        name: of the model.
        versions: that are served.
    """
    inputs = [
        {"name": column.name, "datatype": DATATYPES.get(column.type, BYTES), "shape": [-1]} for column in served.columns
    ]
    outputs: list[dict[str, Any]] = [
        {"name": output.name, "datatype": output.datatype, "shape": [-1, len(output.labels)] if output.labels else [-1]}
        | ({"parameters": {"labels": list(output.labels)}} if output.labels else {})
        for output in served.outputs
    ]
    outputs.append({"name": ERROR, "datatype": BYTES, "shape": [-1]})
    if served.is_explainable:
        outputs.append({"name": EXPLANATION, "datatype": BYTES, "shape": [-1]})
    return {
        "name": name,
        "versions": list(versions),
        "platform": f"danlu_{served.engine}",
        "inputs": inputs,
        "outputs": outputs,
    }
