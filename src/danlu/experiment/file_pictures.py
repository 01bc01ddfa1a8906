"""The pictures of a file of weights: what it tells without a network, and of an ONNX file what it computes.

In: a file. Out: how each picture is measured.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from danlu.errors import ArgumentError
from danlu.experiment.network_pairs import ONNX_SUFFIX
from danlu.experiment.visualization import Measured, measured_weights


def pictures_of_file(
    path: Path, names: Sequence[str], is_asked: bool, data: object | None = None
) -> dict[str, Callable[[], Measured]]:
    """Return how the pictures of a file of weights are measured.

    Args:
        path: of the file.
        names: of the pictures.
        is_asked: whether the user named them.
        data: rows that an ONNX file is run on, as `rows_of_file` takes them.

    Raises:
        ArgumentError: a picture was asked for that needs a network to run, or rows.
    """
    known = {"graph": partial(_file_graph, path), "weights": partial(_file_weights, path)}
    is_network = path.suffix.lower() == ONNX_SUFFIX
    if data is not None:
        if not is_network:
            raise ArgumentError(f"data: {path.name} holds no network that could be run", code="DL401")
        known["activations"] = partial(_file_activations, path, data)
    for name in names:
        if is_asked and name not in known:
            if is_network and name == "activations":
                raise ArgumentError(
                    f"--only activations: {path.name} has no rows of its own; give DATA, a table with its columns or "
                    "an .npz file with an array for each input",
                    code="DL401",
                )
            raise ArgumentError(f"--only {name}: {path.name} holds no network that could be run", code="DL409")
    return {name: measure for name, measure in known.items() if name in names}


def _file_graph(path: Path) -> Measured:
    from danlu.inspection.onnx_graph import onnx_graph
    from danlu.inspection.weight_files import file_graph

    read = onnx_graph if path.suffix.lower() == ONNX_SUFFIX else file_graph
    return Measured(read(path).as_json())


def _file_activations(path: Path, data: object) -> Measured:
    from danlu.experiment.file_rows import rows_of_file
    from danlu.inspection.activations import measure_file_activations
    from danlu.inspection.onnx_file import OnnxFile

    file = OnnxFile(path)
    rows, batches = rows_of_file(file, data)
    return Measured({"rows": rows, "states": {"model": measure_file_activations(file, batches)}})


def _file_weights(path: Path) -> Measured:
    from danlu.inspection.weight_files import file_tensors

    return measured_weights(file_tensors(path))
