"""The engine of ONNX Runtime: the network that `danlu export --to onnx --into` put beside a bundle's weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from danlu.core.console import info
from danlu.core.cpu import Processor, this_processor
from danlu.core.imports import require_extra
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
    """Compute networks by ONNX Runtime on the CPU."""

    name: ClassVar[str] = "onnxruntime"
    tolerance = 1e-4
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
        if INT8_FILE in source.bundle.manifest.files:
            return cls.open_int8(source)
        path = source.bundle.require(ONNX_FILE)
        return cls(open_session(path, threads=_threads(source, path)))

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
        # As little as can be: for one row, what stands around a call costs more than a small network.
        found: np.ndarray = self.session.run(self.names, inputs)[0]
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
    import onnxruntime

    try:
        options = quiet_options(threads)
        if exact:
            options.add_session_config_entry("session.x64quantprecision", "1")
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
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
