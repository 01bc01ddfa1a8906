"""The columns of a model's answers, as schemas and protocols name them.

In: an opened predictor. Out: names and types; learned from the answers to the golden samples that the bundle keeps.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from danlu.models.golden import ANSWER
from danlu.models.predictor import Predictor

PROBABILITY, PROBABILITIES = "probability_", "probabilities"
ERROR, EXPLANATION = "error", "explanation"
DATATYPES: dict[type[pl.DataType], str] = {
    pl.Boolean: "BOOL",
    pl.Int32: "INT32",
    pl.Int64: "INT64",
    pl.UInt32: "UINT32",
    pl.Float32: "FP32",
    pl.Float64: "FP64",
}


@dataclass(frozen=True)
class OutputColumn:
    """Describe a column of answers.

    Attributes:
        name: as in an answer's JSON.
        datatype: of the Open Inference Protocol.
        nested: whether a row's value is a list, which tensors hold as JSON text.
        labels: of `probabilities`, in order; empty for other columns.
    """

    name: str
    datatype: str
    nested: bool = False
    labels: tuple[str, ...] = ()


def output_columns(predictor: Predictor) -> tuple[OutputColumn, ...]:
    """Return the columns of a model's answers."""
    decoded = predictor.target.decode(_some_outputs(predictor))
    labels = tuple(name.removeprefix(PROBABILITY) for name in decoded.columns if name.startswith(PROBABILITY))
    found = [
        OutputColumn(name, DATATYPES.get(type(dtype), "BYTES"), dtype.is_nested())
        for name, dtype in decoded.schema.items()
        if not name.startswith(PROBABILITY)
    ]
    return (*found, OutputColumn(PROBABILITIES, "FP32", labels=labels)) if labels else tuple(found)


def _some_outputs(predictor: Predictor) -> np.ndarray:
    """Return calibrated outputs of a few rows."""
    golden = predictor.bundle.golden()
    if golden is not None:
        return np.array(golden[ANSWER].to_list(), dtype=np.float32)
    return np.full((1, predictor.target.outputs), 1 / predictor.target.outputs, dtype=np.float32)
