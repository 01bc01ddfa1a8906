"""The pictures of a file of weights: what it tells without a network, and of an ONNX file what it computes.

In: a file. Out: how each picture is measured.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from danlu.errors import ArgumentError
from danlu.experiment.network_pairs import ONNX_SUFFIX
from danlu.experiment.visualization import Measured, measured_weights


def pictures_of_file(path: Path, names: Sequence[str], is_asked: bool) -> dict[str, Callable[[], Measured]]:
    """Return how the pictures of a file of weights are measured.

    Raises:
        ArgumentError: a picture was asked for that needs a network to run.
    """
    known = {"graph": partial(_file_graph, path), "weights": partial(_file_weights, path)}
    for name in names:
        if is_asked and name not in known:
            raise ArgumentError(f"--only {name}: {path.name} holds no network that could be run", code="DL409")
    return {name: measure for name, measure in known.items() if name in names}


def _file_graph(path: Path) -> Measured:
    from danlu.inspection.onnx_graph import onnx_graph
    from danlu.inspection.weight_files import file_graph

    read = onnx_graph if path.suffix.lower() == ONNX_SUFFIX else file_graph
    return Measured(read(path).as_json())


def _file_weights(path: Path) -> Measured:
    from danlu.inspection.weight_files import file_tensors

    return measured_weights(file_tensors(path))
