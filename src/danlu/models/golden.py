"""Golden samples: a few raw rows with their labels, the model's answers and its decisions, kept in a bundle.

the input columns   as they were read; under `input:NAME` where a column below has the name
label               what is to be predicted, where the data says it
answer              the model's calibrated outputs
answer_int8         the same by `model.int8.onnx`, where a bundle holds it
answer_int8_exact   the same with sums of 8-bit products that do not saturate, on any processor
prediction          what follows from them by labels and threshold, for tasks that decide
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

LABEL, ANSWER, PREDICTION = "label", "answer", "prediction"
INT8_ANSWER, INT8_EXACT = "answer_int8", "answer_int8_exact"
OWN_COLUMNS = (LABEL, ANSWER, PREDICTION, INT8_ANSWER, INT8_EXACT)
INPUT = "input:"  # begins the name of an input column that has one of these names


def golden_frame(
    inputs: pl.DataFrame,
    labels: pl.Series | None,
    outputs: np.ndarray,
    decoded: pl.DataFrame,
    int8: Mapping[str, np.ndarray] | None = None,
) -> pl.DataFrame:
    """Put rows, labels, answers and decisions side by side.

    Args:
        inputs: the raw columns that the model reads.
        labels: of the same rows; None where nothing says what is right.
        outputs: the model's calibrated outputs, [rows, ...].
        decoded: the predictions that they lead to.
        int8: the calibrated outputs by an 8-bit file, [rows, ...], by their columns.
    """
    answers = pl.Series(ANSWER, outputs.tolist(), dtype=pl.List(pl.Float64))
    beside = [answers, *([decoded[PREDICTION]] if PREDICTION in decoded.columns else [])]
    for name, found in (int8 or {}).items():
        beside.append(pl.Series(name, found.tolist(), dtype=pl.List(pl.Float64)))
    if labels is not None:
        beside.insert(0, labels.alias(LABEL))
    return inputs.rename(_stored_name).with_columns(beside)


def golden_inputs(golden: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Return the raw columns of golden samples under their own names."""
    stored = [_stored_name(name) if _stored_name(name) in golden.columns else name for name in columns]
    return golden.select(pl.col(name).alias(own) for name, own in zip(stored, columns, strict=True))


def _stored_name(name: str) -> str:
    return f"{INPUT}{name}" if name in OWN_COLUMNS else name
