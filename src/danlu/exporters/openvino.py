"""OpenVINO's files, converted from an ONNX graph with all digits."""

from pathlib import Path
from typing import Any

from danlu.artifacts.files import write_bytes
from danlu.errors import ArgumentError
from danlu.exporters.write_failures import translate_write_failures


def save_openvino(onnx_bytes: bytes, path: Path) -> None:
    """Convert an ONNX graph to OpenVINO's pair of files.

    Args:
        onnx_bytes: the graph.
        path: of the `.xml`; the `.bin` stands beside it.

    Raises:
        ArgumentError: OpenVINO cannot read the graph.
        ArtifactError: the disk is full.
    """
    aside = path.with_name(f".{path.stem}.onnx")
    write_bytes(aside, onnx_bytes)
    try:
        convert_to_openvino(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def convert_to_openvino(onnx_file: Path, path: Path) -> None:
    """Convert an ONNX file, whose weights may lie in files beside it; raises like `save_openvino`."""
    import openvino

    model = read_graph(onnx_file)
    with translate_write_failures(path):
        # By default weights would be rounded to 16 bits in the file, though not in the object that is written.
        openvino.save_model(model, str(path), compress_to_fp16=False)


def read_graph(path: Path) -> Any:
    """Read an ONNX file by OpenVINO.

    Raises:
        ArgumentError: it has an operator that OpenVINO lacks.
    """
    import openvino

    try:
        return openvino.Core().read_model(str(path))
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip() and "Exception from" not in line]
        raise ArgumentError(
            f"OpenVINO cannot read the network: {' '.join(lines[:3])}; --to onnx may do", code="DL409"
        ) from error
