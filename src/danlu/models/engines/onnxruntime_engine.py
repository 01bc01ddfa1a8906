"""The engine of ONNX Runtime: the network that `danlu export --to onnx --into` put beside a bundle's weights."""

import re
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, Self

import numpy as np

from danlu.core.imports import require_extra
from danlu.core.threads import usable_cores
from danlu.data.specs import TabularInputs
from danlu.errors import ArtifactError
from danlu.models.engines.base import Arrays, Engine, EngineSource

ONNX_FILE = "model.onnx"
SMALL_BYTES = 2**20


class OnnxRuntimeEngine(Engine):
    """Compute networks by ONNX Runtime on the CPU.

    Args:
        session: of the file.
        is_small: whether the network is so small that what stands around a call of one row costs more than it.
    """

    name: ClassVar[str] = "onnxruntime"
    tolerance: ClassVar[float] = 1e-4
    needs_file: ClassVar[str | None] = ONNX_FILE
    form: ClassVar[str | None] = "onnx"

    def __init__(self, session: Any, is_small: bool = False) -> None:
        self.session, self.names = session, [session.get_outputs()[0].name]
        self._one_row = _OneRow(session, self.names[0]) if is_small else None

    @classmethod
    def open(cls, source: EngineSource) -> Self:
        require_extra("export", "the engine onnxruntime", only=("onnxruntime",))
        path = source.bundle.require(ONNX_FILE)
        # Waking a second thread takes longer than all of a small network of a table.
        is_small = isinstance(source.inputs, TabularInputs) and path.stat().st_size < SMALL_BYTES
        return cls(open_session(path, threads=1 if is_small else None), is_small)

    def run(self, inputs: Arrays) -> np.ndarray:
        if self._one_row is not None and len(next(iter(inputs.values()))) == 1:
            return self._one_row.run(inputs)
        found: np.ndarray = self.session.run(self.names, inputs)[0]
        return found


class _OneRow:
    """Answer one row at a time in memory that is bound to a session once.

    Looking up and making the values of a call takes as long as a small network. Threads take turns.
    """

    def __init__(self, session: Any, output: str) -> None:
        self.session, self.output = session, output
        self._lock = Lock()
        self._given: dict[str, np.ndarray] = {}
        self._answer: np.ndarray | None = None
        self._binding: Any = None

    def run(self, inputs: Arrays) -> np.ndarray:
        """Return the outputs of one row, like `Engine.run`."""
        with self._lock:
            if self._answer is None:
                return self._bind(inputs)
            for name, values in self._given.items():
                values[...] = inputs[name]
            self.session.run_with_iobinding(self._binding)
            return self._answer.copy()

    def _bind(self, inputs: Arrays) -> np.ndarray:
        """Answer a first row, and keep memory of its shapes."""
        found: np.ndarray = self.session.run([self.output], inputs)[0]
        self._given = {name: np.array(values, order="C") for name, values in inputs.items()}
        self._answer, self._binding = np.array(found, order="C"), self.session.io_binding()
        for name, values in self._given.items():
            self._binding.bind_input(name, "cpu", 0, values.dtype, values.shape, values.ctypes.data)
        shape = self._answer.shape
        self._binding.bind_output(self.output, "cpu", 0, self._answer.dtype, shape, self._answer.ctypes.data)
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

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    # Threads that wait for the next call by spinning take the cores from whoever prepares it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors alone, which are raised as well
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes are those of a compiled module
        raise damaged_onnx(path, error) from error


def damaged_onnx(path: Path, error: Exception) -> ArtifactError:
    """Return the error of an ONNX file that cannot be read or run."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    reason = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", first)
    return ArtifactError(f"{path}: cannot be read or run as ONNX: {reason}", code="DL303")


def run_session(session: Any, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Return all outputs of a file for its inputs."""
    found: list[np.ndarray] = session.run(None, dict(inputs))
    return found
