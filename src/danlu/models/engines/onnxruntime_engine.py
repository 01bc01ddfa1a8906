"""The engine of ONNX Runtime: the network that `danlu export --to onnx --into` put beside a bundle's weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from danlu.core.imports import require_extra
from danlu.core.threads import usable_cores
from danlu.data.specs import TabularInputs
from danlu.errors import ArtifactError
from danlu.models.engines.base import Arrays, Engine, EngineSource
from danlu.models.golden import ANSWER, INT8_ANSWER

ONNX_FILE, INT8_FILE = "model.onnx", "model.int8.onnx"
SMALL_BYTES = 2**20


class OnnxRuntimeEngine(Engine):
    """Compute networks by ONNX Runtime on the CPU."""

    name: ClassVar[str] = "onnxruntime"
    tolerance: ClassVar[float] = 1e-4
    needs_file: ClassVar[str | None] = ONNX_FILE
    form: ClassVar[str | None] = "onnx"

    def __init__(self, session: Any) -> None:
        self.session, self.names = session, [session.get_outputs()[0].name]

    @classmethod
    def obstacle(cls, source: EngineSource) -> str | None:
        return None if INT8_FILE in source.bundle.manifest.files else super().obstacle(source)

    @classmethod
    def open(cls, source: EngineSource) -> Self:
        require_extra("export", "the engine onnxruntime", only=("onnxruntime",))
        is_int8 = INT8_FILE in source.bundle.manifest.files
        path = source.bundle.require(INT8_FILE if is_int8 else ONNX_FILE)
        # Waking a second thread takes longer than all of a small network of a table.
        is_small = isinstance(source.inputs, TabularInputs) and path.stat().st_size < SMALL_BYTES
        opened = cls(open_session(path, threads=1 if is_small else None))
        opened.golden = INT8_ANSWER if is_int8 else ANSWER
        return opened

    def run(self, inputs: Arrays) -> np.ndarray:
        # As little as can be: for one row, what stands around a call costs more than a small network.
        found: np.ndarray = self.session.run(self.names, inputs)[0]
        return found


def open_session(path: Path, threads: int | None = None) -> Any:
    """Open an ONNX file.

    Args:
        path: of the file.
        threads: that compute; None for one on each core.

    Raises:
        ArtifactError: it is damaged, or ONNX Runtime cannot run it.
    """
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(str(path), quiet_options(threads), providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes are those of a compiled module
        reason = str(error).splitlines()[0]
        raise ArtifactError(f"{path}: ONNX Runtime cannot open it: {reason}", code="DL303") from error


def quiet_options(threads: int | None = None) -> Any:
    """Return the options of a session that computes in some threads, by default one on each core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    # Threads that wait for the next call by spinning take the cores from whoever prepares it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors alone, which are raised as well
    return options


def run_session(session: Any, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Return all outputs of a file for its inputs."""
    found: list[np.ndarray] = session.run(None, dict(inputs))
    return found
