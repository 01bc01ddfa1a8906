"""The engine of ONNX Runtime: the network that `danlu export --to onnx --into` put beside a bundle's weights."""

import re
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, Self

import numpy as np

from danlu.core.console import info
from danlu.core.cpu import Processor, this_processor
from danlu.core.imports import load_onnxruntime, require_extra
from danlu.core.threads import usable_cores
from danlu.data.specs import TabularInputs
from danlu.errors import ArtifactError
from danlu.models.engines.base import Arrays, Engine, EngineSource
from danlu.models.golden import INT8_ANSWER, INT8_EXACT

ONNX_FILE, INT8_FILE = "model.onnx", "model.int8.onnx"
SMALL_BYTES = 2**20
# A number that is rounded to the next of 256 levels elsewhere moves an answer by far more than rounding of floats does.
OTHER_PROCESSOR = 2e-2


class OnnxRuntimeEngine(Engine):
    """Compute networks by ONNX Runtime on the CPU.

    Args:
        session: of the file.
        is_small: whether the network is so small that what stands around a call of one row costs more than it.
    """

    name: ClassVar[str] = "onnxruntime"
    tolerance = 1e-4
    needs_file: ClassVar[str | None] = ONNX_FILE
    form: ClassVar[str | None] = "onnx"

    def __init__(self, session: Any, is_small: bool = False) -> None:
        self.session, self.names = session, [session.get_outputs()[0].name]
        self._one_row = _OneRow(session, self.names[0]) if is_small else None

    @classmethod
    def obstacle(cls, source: EngineSource) -> str | None:
        return None if INT8_FILE in source.bundle.manifest.files else super().obstacle(source)

    @classmethod
    def open(cls, source: EngineSource) -> Self:
        require_extra("export", "the engine onnxruntime", only=("onnxruntime",))
        if INT8_FILE in source.bundle.manifest.files:
            return cls.open_int8(source)
        path = source.bundle.require(ONNX_FILE)
        threads = _threads(source, path)
        return cls(open_session(path, threads=threads), is_small=threads == 1)

    @classmethod
    def open_int8(cls, source: EngineSource, *, exact: bool | None = None) -> Self:
        """Open a bundle's 8-bit file.

        Args:
            source: of the bundle.
            exact: let no sum of 8-bit products saturate, which is slower; by default where this processor's would and
                that of the bundle's maker would not.
        """
        path, tried = source.bundle.require(INT8_FILE), [Processor.of(one) for one in source.bundle.manifest.processors]
        here = this_processor()
        is_known = any(one.features == here.features for one in tried)
        if exact is None:
            exact = not here.adds_8_bit_exactly and any(one.adds_8_bit_exactly for one in tried)
        opened = cls(open_session(path, threads=_threads(source, path), exact=exact))
        opened.golden = INT8_EXACT if exact else INT8_ANSWER
        if not is_known:
            opened.tolerance = OTHER_PROCESSOR
            info(
                f"{INT8_FILE} was made on a processor with other 8-bit instructions than this one "
                f"({', '.join(here.features) or 'unknown'}), where it is untried but for its golden samples"
            )
        return opened

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
            if not self._fits(inputs):  # memory takes what the session refuses
                found: np.ndarray = self.session.run([self.output], inputs)[0]
                return found
            for name, values in self._given.items():
                values[...] = inputs[name]
            self.session.run_with_iobinding(self._binding)
            return self._answer.copy()

    def _fits(self, inputs: Arrays) -> bool:
        """Return whether a row has the names, shapes and types of the first."""
        kept = self._given
        return len(inputs) == len(kept) and all(
            name in kept and values.shape == kept[name].shape and values.dtype == kept[name].dtype
            for name, values in inputs.items()
        )

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


def _threads(source: EngineSource, path: Path) -> int | None:
    """Return how many threads compute a file; None for one on each core."""
    # Waking a second thread takes longer than all of a small network of a table.
    is_small = isinstance(source.inputs, TabularInputs) and path.stat().st_size < SMALL_BYTES
    return 1 if is_small else None


def open_session(path: Path, threads: int | None = None, *, exact: bool = False) -> Any:
    """Open an ONNX file.

    Args:
        path: of the file.
        threads: that compute; None for one on each core.
        exact: let no sum of 8-bit products saturate.

    Raises:
        ArtifactError: it is damaged, or ONNX Runtime cannot run it.
    """
    onnxruntime = load_onnxruntime()

    try:
        options = quiet_options(threads)
        if exact:
            options.add_session_config_entry("session.x64quantprecision", "1")
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes are those of a compiled module
        raise damaged_onnx(path, error) from error


def quiet_options(threads: int | None = None) -> Any:
    """Return the options of a session, by default with a thread on each core."""
    onnxruntime = load_onnxruntime()

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    # Threads that wait for the next call by spinning take the cores from whoever prepares it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors alone, which are raised as well
    return options


def damaged_onnx(path: Path, error: Exception) -> ArtifactError:
    """Return the error of an ONNX file that cannot be read or run."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    reason = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", first)
    return ArtifactError(f"{path}: cannot be read or run as ONNX: {reason}", code="DL303")


def run_session(session: Any, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Return all outputs of a file for its inputs."""
    found: list[np.ndarray] = session.run(None, dict(inputs))
    return found
