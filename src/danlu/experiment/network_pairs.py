"""Another network beside one that is looked at: both get the same rows, each prepared as it takes them.

In: a `Subject` and the path of a bundle, a run or an export. Out: the network and batches of inputs of both.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.artifacts.files import read_json
from danlu.data.descriptors import Origin
from danlu.data.loader import PreparedDataset, Tensors
from danlu.errors import ArgumentError
from danlu.models.engines.onnxruntime_engine import ONNX_FILE

if TYPE_CHECKING:
    from torch import nn

    from danlu.experiment.onnx_pair import Taken
    from danlu.inspection.layers import Layered
    from danlu.inspection.onnx_file import OnnxFile
    from danlu.inspection.subject import Subject

ONNX_SUFFIX = ".onnx"
OTHER_ROWS = 256  # more tell no more of where two networks part


@dataclass(frozen=True)
class NetworkPair:
    """Hold two networks that are compared.

    Attributes:
        name: of the second.
        one: what is looked at.
        other: what it is compared with.
        inputs: gives the inputs of both for rows.
    """

    name: str
    one: "Layered"
    other: "Layered"
    inputs: "Taken"

    def batches(self, subject: "Subject") -> Iterator[tuple[Tensors, Mapping[str, Any]]]:
        """Yield the inputs of both networks, of the same rows."""
        for rows, mine, _ in subject.batches(OTHER_ROWS):
            yield self.inputs(rows, mine)


def open_other(subject: "Subject", path: Path, own_code: bool = False) -> NetworkPair:
    """Open what is compared with a subject: a bundle, a run or an export.

    Raises:
        ArgumentError: it takes other inputs.
        ArtifactError, DataError: it cannot be opened.
    """
    from danlu.exporters.document import DOCUMENT
    from danlu.inspection.subject import is_library_folder

    is_export = (path / DOCUMENT).is_file()
    if path.is_file() and path.suffix.lower() == ONNX_SUFFIX:
        return _onnx(subject, path)
    if not path.is_dir():
        raise ArgumentError(
            f"--against {path}: is no folder of a bundle, a run or an export, and no ONNX file", code="DL402"
        )
    if is_export and (path / ONNX_FILE).is_file():
        return _onnx(subject, path / ONNX_FILE)
    if is_export or is_library_folder(path):
        return _of_library(subject, path)
    return _bundle(subject, path, own_code)


def open_files(path: Path, against: Path) -> "tuple[OnnxFile, OnnxFile]":
    """Open two ONNX files that are compared.

    Raises:
        ArgumentError: one is no ONNX file, or they take other inputs.
        ArtifactError: one is damaged.
    """
    from danlu.inspection.onnx_file import OnnxFile

    if path.suffix.lower() != ONNX_SUFFIX:
        raise ArgumentError(f"against: {path.name} holds no network that could be run", code="DL401")
    if against.suffix.lower() != ONNX_SUFFIX or not against.is_file():
        raise ArgumentError(
            f"--against {against}: is no ONNX file; a bundle or a run comes first, with --against {path}", code="DL402"
        )
    one, other = OnnxFile(path), OnnxFile(against)
    if one.inputs != other.inputs:
        raise ArgumentError(f"--against {against}: takes other inputs than {path.name}", code="DL407")
    return one, other


def _onnx(subject: "Subject", path: Path) -> NetworkPair:
    from danlu.experiment.onnx_pair import open_onnx_pair

    one, other, inputs = open_onnx_pair(subject, path)
    return NetworkPair(path.name, one, other, inputs)


def _of_library(subject: "Subject", path: Path) -> NetworkPair:
    """Open a folder of transformers or timm, which takes what the first network takes."""
    from danlu.inspection.subject import folder_subject

    if subject.predictor is not None:
        return _torch_pair(subject, path.resolve().name, _exported(subject, path), subject.dataset)
    other = folder_subject(path)
    _require_same_inputs(subject, other.dataset, path)
    return _torch_pair(subject, other.name, other.network, subject.dataset)


def _torch_pair(subject: "Subject", name: str, network: "nn.Module", dataset: PreparedDataset) -> NetworkPair:
    from danlu.inspection.layers import TorchLayers

    def take(rows: np.ndarray, mine: Tensors) -> tuple[Tensors, Tensors]:
        return mine, dataset.take(rows, subject.device)[0]

    return NetworkPair(name, TorchLayers(subject.network), TorchLayers(network), take)


def _bundle(subject: "Subject", path: Path, own_code: bool) -> NetworkPair:
    from danlu.models.predictor import Predictor

    other = Predictor.load(path, own_code=own_code)
    name = path.resolve().name
    if subject.rows is None:
        raise ArgumentError(
            f"--against {path}: {subject.name} has no rows of data that a bundle could read", code="DL407"
        )
    missing = [column for column in other.preprocessor.columns if column not in subject.rows.columns]
    if missing:
        raise ArgumentError(
            f"--against {path}: it reads the column {missing[0]!r}, which the rows of {subject.name} lack", code="DL407"
        )
    rows = subject.rows.select(other.preprocessor.columns)
    dataset = other.preprocessor.transform(rows, Origin(f"the rows of {subject.name}", Path.cwd()))
    if len(dataset) != len(subject.dataset):
        raise ArgumentError(f"--against {path}: it cuts the rows into other pieces than {subject.name}", code="DL407")
    return _torch_pair(subject, name, other.model, dataset)


def _exported(subject: "Subject", path: Path) -> "nn.Module":
    """Load an export by its library, to take the bundle's inputs."""
    from danlu.exporters.document import DOCUMENT
    from danlu.exporters.forms import FORMS
    from danlu.exporters.table import EXPORTERS, format_of

    predictor = subject.predictor
    assert predictor is not None
    document = path / DOCUMENT
    name = str(read_json(document).get("to", "")) if document.is_file() else ""
    if name in FORMS:
        raise ArgumentError(
            f"--against {path}: layers of the form {name} cannot be seen; give its model.onnx, or a library's folder",
            code="DL407",
        )
    name = name if name in EXPORTERS else format_of(predictor) or ""
    if name not in EXPORTERS:
        raise ArgumentError(
            f"--against {path}: is in no format that {predictor.options.name} is exported to", code="DL407"
        )
    network = EXPORTERS[name].read(predictor, path)
    if network is None:
        raise ArgumentError(f"--against {path}: {EXPORTERS[name].package} is not installed here", code="DL407")
    return network.to(subject.device).eval()


def _require_same_inputs(subject: "Subject", other: PreparedDataset, path: Path) -> None:
    mine, theirs = subject.inputs(1), other.take(np.arange(1), subject.device)[0]
    shapes = {name: tuple(values.shape[1:]) for name, values in mine.items()}
    if shapes != {name: tuple(values.shape[1:]) for name, values in theirs.items()}:
        raise ArgumentError(f"--against {path}: takes other inputs than {subject.name}", code="DL407")
