"""The engine of OpenVINO: the network that `danlu export --to openvino --into` put beside a bundle's weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from danlu.core.imports import require_extra
from danlu.core.threads import usable_cores
from danlu.errors import ArtifactError
from danlu.models.engines.base import Arrays, Engine, EngineSource

OPENVINO_FILE = "openvino/model.xml"
# Else it computes with 16 bits where the processor can.
PRECISION = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}


class OpenVinoEngine(Engine):
    """Compute networks by OpenVINO on the CPU."""

    name: ClassVar[str] = "openvino"
    tolerance = 1e-4
    needs_file: ClassVar[str | None] = OPENVINO_FILE
    form: ClassVar[str | None] = "openvino"

    def __init__(self, compiled: Any) -> None:
        self.request = compiled.create_infer_request()

    @classmethod
    def open(cls, source: EngineSource) -> Self:
        require_extra("openvino", "the engine openvino", only=("openvino",))
        source.bundle.require(OPENVINO_FILE.replace(".xml", ".bin"))
        return cls(compile_model(source.bundle.require(OPENVINO_FILE)))

    def run(self, inputs: Arrays) -> np.ndarray:
        return run_request(self.request, inputs)[0]


def compile_model(path: Path) -> Any:
    """Open a file of OpenVINO, or an ONNX file, for the CPU.

    Raises:
        ArtifactError: it is damaged, or OpenVINO cannot run it.
    """
    import openvino

    try:
        core = openvino.Core()
        return core.compile_model(str(path), "CPU", {**PRECISION, "INFERENCE_NUM_THREADS": usable_cores()})
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if line and "Exception from" not in line]
        raise ArtifactError(f"{path}: OpenVINO cannot open it: {' '.join(lines[:2])}", code="DL303") from error


def run_request(request: Any, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Return all outputs of a file for its inputs."""
    given = {name: np.ascontiguousarray(values) for name, values in inputs.items()}
    found = request.infer(given)
    return [np.array(found[at]) for at in range(len(found))]  # a copy: the next answer takes their place
