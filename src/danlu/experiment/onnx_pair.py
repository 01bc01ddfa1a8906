"""An ONNX file beside a network that is looked at: both get the same rows, and answer alike.

In: a `Subject` and a file, danlu's own or one that another tool has quantized. Out: what runs both, and the file's
inputs for rows.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from danlu.data.loader import Tensors
from danlu.data.tabular.preprocessor import TabularPreprocessor
from danlu.errors import ArgumentError
from danlu.exporters.answer_module import LOGITS, Answers
from danlu.exporters.onnx.graph import GraphBuilder
from danlu.exporters.onnx.preparation import EngineTypes, add_preparation
from danlu.inspection.layers import TorchLayers
from danlu.inspection.onnx_file import OnnxFile
from danlu.inspection.subject import Subject
from danlu.models.predictor import Predictor

# Positions of rows and the subject's inputs of these -> inputs of both networks, the other's tensors or arrays.
Taken = Callable[[np.ndarray, Tensors], tuple[Tensors, Mapping[str, Any]]]


def open_onnx_pair(subject: Subject, path: Path) -> tuple[TorchLayers, OnnxFile, Taken]:
    """Open an ONNX file beside a network.

    Returns:
        the network, whose answer is made as the file makes its own; the file; what gives the file's inputs.

    Raises:
        ArgumentError: the file takes other inputs.
        ArtifactError: it is damaged.
        MissingExtra: packages are not installed.
    """
    file = OnnxFile(path)
    return TorchLayers(subject.network, _answer(subject, file)), file, _inputs(subject, file)


def _answer(subject: Subject, file: OnnxFile) -> Callable[[Tensor], Tensor]:
    """Return what makes of a network's output that which the file answers."""
    if subject.predictor is None or file.answer == LOGITS:
        return lambda output: output
    answers = Answers(subject.predictor.target).eval()
    if answers.output != file.answer:
        return lambda output: output
    return lambda output: answers(output.cpu())


def _inputs(subject: Subject, file: OnnxFile) -> Taken:
    """Return what gives the file's inputs: prepared ones by name, or columns of a table.

    Raises:
        ArgumentError: it takes others.
    """
    wanted, prepared = file.inputs, subject.inputs(1)
    if all(name in prepared and len(shape) == prepared[name].ndim for name, (_, shape) in wanted.items()):
        types = {name: getattr(torch, dtype) for name, (dtype, _) in wanted.items()}

        def take_prepared(rows: np.ndarray, mine: Tensors) -> tuple[Tensors, Tensors]:
            # What the file does not take, as where documents begin in a block, is kept from the network as well.
            both = {name: mine[name] for name in wanted}
            return both, {name: each.to(types[name]) for name, each in both.items()}

        return take_prepared
    feeders = _feeders(subject.predictor)
    if subject.rows is None or not set(wanted) <= set(feeders):
        lacking = next(name for name in wanted if name not in feeders)
        raise ArgumentError(
            f"--against {file.path}: it takes the input {lacking!r}, and {subject.name} has "
            f"{', '.join([*prepared, *feeders])}",
            code="DL407",
        )
    frame = _worded(subject.rows, subject.predictor)

    def take_columns(rows: np.ndarray, mine: Tensors) -> tuple[Tensors, Mapping[str, Any]]:
        return mine, {name: feeders[name](frame[rows], file.path.name) for name in wanted}

    return take_columns


def _feeders(predictor: Predictor | None) -> dict[str, Callable[[pl.DataFrame, str], np.ndarray]]:
    """Return what makes of rows each input that an export of this model has."""
    if predictor is None or not isinstance(predictor.preprocessor, TabularPreprocessor):
        return {}
    builder = GraphBuilder(taken=[*predictor.preprocessor.columns])
    return add_preparation(builder, predictor.preprocessor, EngineTypes()).feeders


def _worded(rows: pl.DataFrame, predictor: Predictor | None) -> pl.DataFrame:
    """Return rows whose categories are words, as the file takes them."""
    assert predictor is not None and isinstance(predictor.preprocessor, TabularPreprocessor)
    return rows.with_columns(pl.col(state.column).cast(pl.String) for state in predictor.preprocessor.category_states)
