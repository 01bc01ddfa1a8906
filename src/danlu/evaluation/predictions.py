"""Predictions of a split: paired with the truth, written to a table, read back from it, and ranked by error.

In: a split and the model's outputs. Out: `Predictions`, and the tables in predictions/*.parquet from which runs are
compared and the worst errors shown. Each task has a `PredictionFormat`; they stand in FORMATS.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import polars as pl

from danlu.data.sources.multi_label import read_labels
from danlu.data.sources.tags import ragged_array, read_list
from danlu.data.splits import Split
from danlu.data.targets import (
    REFERENCE,
    ClassTarget,
    MultiLabelTarget,
    NextTokenTarget,
    NumericTarget,
    PreferenceTarget,
    TagTarget,
    TargetSpec,
)
from danlu.evaluation.metrics.base import Predictions
from danlu.evaluation.metrics.language import reward_margins
from danlu.evaluation.metrics.table import to_target_units

MIN_PROBABILITY = 1e-7  # about float32's resolution near 1: bounds the loss of a confident wrong prediction

T = TypeVar("T", bound=TargetSpec)


@dataclass(frozen=True)
class ErrorScores:
    """Score how bad each prediction is.

    Attributes:
        by: the criterion: confidence (of wrong predictions), error, labels, tags, loss or margin.
        wrong: indices of the predictions that may be shown, [wrong].
        severity: larger is worse, [samples].
        shown: the number shown with each prediction, [samples].
    """

    by: str
    wrong: np.ndarray
    severity: np.ndarray
    shown: np.ndarray


class PredictionFormat(ABC, Generic[T]):
    """Define the predictions of one task, in memory and in the table of a split."""

    def to_y_pred(self, target: T, outputs: np.ndarray) -> np.ndarray:
        """Convert the model's outputs to `Predictions.y_pred`."""
        return outputs

    @abstractmethod
    def pair(self, split: Split, target: T, y_pred: np.ndarray, text_column: str | None) -> Predictions:
        """Pair predictions with the truth of a split."""

    @abstractmethod
    def truth_columns(self, split: Split, target: T, predictions: Predictions) -> dict[str, Any]:
        """Return the columns that stand beside the decoded predictions in the table."""

    @abstractmethod
    def read(self, table: pl.DataFrame, labels: Sequence[str]) -> Predictions:
        """Read the predictions back from a table."""

    @abstractmethod
    def score_errors(self, table: pl.DataFrame) -> ErrorScores:
        """Score the predictions of a table by how wrong they are."""


class ClassFormat(PredictionFormat[ClassTarget]):
    """Hold one class per row, with the probabilities of all."""

    def pair(self, split: Split, target: ClassTarget, y_pred: np.ndarray, text_column: str | None) -> Predictions:
        return Predictions(target.codes(split.columns(target.column)), y_pred, threshold=target.threshold)

    def truth_columns(self, split: Split, target: ClassTarget, predictions: Predictions) -> dict[str, Any]:
        return {"truth": split.column(target.column)}

    def read(self, table: pl.DataFrame, labels: Sequence[str]) -> Predictions:
        positions = {label: position for position, label in enumerate(labels)}
        values = np.array([positions[str(value)] for value in table["truth"].to_list()], dtype=np.int64)
        return Predictions(values, table.select(f"probability_{label}" for label in labels).to_numpy())

    def score_errors(self, table: pl.DataFrame) -> ErrorScores:
        """Score wrong classes by confidence, highest first."""
        probabilities, labels = _probabilities(table)
        positions = {label: index for index, label in enumerate(labels)}
        predicted = [positions[str(label)] for label in table["prediction"].to_list()]
        wrong = (table["prediction"].cast(pl.String) != table["truth"].cast(pl.String)).to_numpy()
        confidence = probabilities[np.arange(table.height), predicted]
        return ErrorScores("confidence", np.flatnonzero(wrong), confidence, confidence)


class MultiLabelFormat(PredictionFormat[MultiLabelTarget]):
    """Hold a list of labels per row, with the probability of each."""

    def pair(self, split: Split, target: MultiLabelTarget, y_pred: np.ndarray, text_column: str | None) -> Predictions:
        return Predictions(target.multi_hot(split.columns(target.column)), y_pred)

    def truth_columns(self, split: Split, target: MultiLabelTarget, predictions: Predictions) -> dict[str, Any]:
        return {"truth": [read_labels(text) for text in split.column(target.column).to_list()]}

    def read(self, table: pl.DataFrame, labels: Sequence[str]) -> Predictions:
        given = [[label in row for label in labels] for row in table["truth"].to_list()]
        probabilities = table.select(f"probability_{label}" for label in labels).to_numpy()
        return Predictions(np.array(given, dtype=np.uint8), probabilities)

    def score_errors(self, table: pl.DataFrame) -> ErrorScores:
        """Score rows by number of wrong labels; ties by highest loss."""
        probabilities, labels = _probabilities(table)
        truths, predicted = table["truth"].to_list(), table["prediction"].to_list()
        given = np.array([[label in row for label in labels] for row in truths], dtype=bool)
        right = np.clip(np.where(given, probabilities, 1 - probabilities), MIN_PROBABILITY, 1.0).astype(np.float64)
        wrong = np.array([len(set(true) ^ set(own)) for true, own in zip(truths, predicted, strict=True)])
        losses = -np.log(right).mean(axis=1)
        highest = -np.log(MIN_PROBABILITY) + 1  # so that a loss never outweighs a wrong label
        return ErrorScores("labels", np.flatnonzero(wrong), wrong + losses / highest, losses)


class NumericFormat(PredictionFormat[NumericTarget]):
    """Hold one number per row, in the target's units."""

    def to_y_pred(self, target: NumericTarget, outputs: np.ndarray) -> np.ndarray:
        return to_target_units(target, outputs)

    def pair(self, split: Split, target: NumericTarget, y_pred: np.ndarray, text_column: str | None) -> Predictions:
        return Predictions(split.column(target.column).cast(pl.Float64).to_numpy(), y_pred)

    def truth_columns(self, split: Split, target: NumericTarget, predictions: Predictions) -> dict[str, Any]:
        return {"truth": predictions.y_true}

    def read(self, table: pl.DataFrame, labels: Sequence[str]) -> Predictions:
        return Predictions(table["truth"].to_numpy(), table["prediction"].to_numpy())

    def score_errors(self, table: pl.DataFrame) -> ErrorScores:
        """Score every row by its absolute error."""
        errors = (table["prediction"] - table["truth"]).abs().to_numpy()
        return ErrorScores("error", np.arange(table.height), errors, errors)


class TagFormat(PredictionFormat[TagTarget]):
    """Hold the tags of a sentence's words per row."""

    def to_y_pred(self, target: TagTarget, outputs: np.ndarray) -> np.ndarray:
        return ragged_array(target.decode(outputs)["prediction"].to_list())

    def pair(self, split: Split, target: TagTarget, y_pred: np.ndarray, text_column: str | None) -> Predictions:
        values = ragged_array(read_list(text) for text in split.column(target.column).to_list())
        return Predictions(values, ragged_array(pad_tags(own, true) for own, true in zip(y_pred, values, strict=True)))

    def truth_columns(self, split: Split, target: TagTarget, predictions: Predictions) -> dict[str, Any]:
        return {"truth": [list(tags) for tags in predictions.y_true]}

    def read(self, table: pl.DataFrame, labels: Sequence[str]) -> Predictions:
        truths, predicted = table["truth"].to_list(), table["prediction"].to_list()
        padded = ragged_array(pad_tags(own, true) for own, true in zip(predicted, truths, strict=True))
        return Predictions(ragged_array(truths), padded)

    def score_errors(self, table: pl.DataFrame) -> ErrorScores:
        """Score sentences by number of wrong tags; ties by shortest sentence."""
        predictions = self.read(table, ())
        pairs = list(zip(predictions.y_true, predictions.y_pred, strict=True))
        sizes = np.array([len(true) for true, _ in pairs])
        wrong = np.array([sum(a != b for a, b in zip(*pair, strict=True)) for pair in pairs])
        return ErrorScores("tags", np.flatnonzero(wrong), wrong + 1 / (1 + sizes), wrong)


class NextTokenFormat(PredictionFormat[NextTokenTarget]):
    """Hold a language model's loss and correct tokens per text, and the text's size."""

    def pair(self, split: Split, target: NextTokenTarget, y_pred: np.ndarray, text_column: str | None) -> Predictions:
        """Pair a language model's sums with the byte length of each text.

        Blocks do not correspond to texts; they are paired with the total length.
        """
        if text_column is None:
            return Predictions(y_pred[:, 1], y_pred.astype(np.float64))
        texts = split.column(text_column).cast(pl.String)
        sizes = texts.str.len_bytes().fill_null(0).to_numpy().astype(np.float64)
        if len(sizes) != len(y_pred):
            sizes = np.append(sizes.sum(), np.zeros(len(y_pred) - 1))
        return Predictions(y_pred[:, 1], y_pred.astype(np.float64), sizes)

    def truth_columns(self, split: Split, target: NextTokenTarget, predictions: Predictions) -> dict[str, Any]:
        sizes = predictions.text_bytes
        return {
            "right": predictions.y_pred[:, 2].astype(np.int64),
            "bytes": np.zeros(len(predictions)) if sizes is None else sizes,
        }

    def read(self, table: pl.DataFrame, labels: Sequence[str]) -> Predictions:
        tokens = table["tokens"].to_numpy().astype(np.float64)
        sums = np.stack([table["loss"].to_numpy() * tokens, tokens, table["right"].to_numpy()], axis=1)
        return Predictions(tokens, sums, table["bytes"].to_numpy())

    def score_errors(self, table: pl.DataFrame) -> ErrorScores:
        """Score texts by mean loss per token; texts without tokens are left out."""
        losses = table["loss"].cast(pl.Float64).fill_null(float("-inf")).fill_nan(float("-inf")).to_numpy()
        return ErrorScores("loss", np.flatnonzero(np.isfinite(losses)), losses, losses)


class PreferenceFormat(PredictionFormat[PreferenceTarget]):
    """Hold the reward margin of the chosen over the rejected answer per pair."""

    def to_y_pred(self, target: PreferenceTarget, outputs: np.ndarray) -> np.ndarray:
        return target.beta * outputs.astype(np.float64)

    def pair(self, split: Split, target: PreferenceTarget, y_pred: np.ndarray, text_column: str | None) -> Predictions:
        reference = split.columns(*REFERENCE).to_numpy().astype(np.float64)
        return Predictions(target.beta * reference, y_pred)

    def truth_columns(self, split: Split, target: PreferenceTarget, predictions: Predictions) -> dict[str, Any]:
        return {"margin": reward_margins(predictions)}

    def read(self, table: pl.DataFrame, labels: Sequence[str]) -> Predictions:
        """Read margins as gains of the chosen answer over a rejected one without any."""
        gained = np.stack([table["margin"].to_numpy(), np.zeros(table.height)], axis=1)
        return Predictions(np.zeros_like(gained), gained)

    def score_errors(self, table: pl.DataFrame) -> ErrorScores:
        """Score pairs whose rejected answer the model favours, by margin."""
        margins = table["margin"].to_numpy()
        return ErrorScores("margin", np.flatnonzero(margins <= 0), -margins, margins)


FORMATS: dict[str, PredictionFormat[Any]] = {
    "classification": ClassFormat(),
    "multi-label": MultiLabelFormat(),
    "regression": NumericFormat(),
    "token-classification": TagFormat(),
    "language-modelling": NextTokenFormat(),
    "preference": PreferenceFormat(),
}


def build_predictions(
    split: Split, target: TargetSpec, outputs: np.ndarray, text_column: str | None, group_column: str | None = None
) -> Predictions:
    """Pair a split's outputs, as they are given to users, with the truth.

    Args:
        split: the split.
        target: what is predicted.
        outputs: the model's outputs, [samples, ...].
        text_column: for bits per byte; None if not all of its text is predicted.
        group_column: the column whose rows are resampled together.
    """
    groups = None if group_column is None else _group_codes(split.column(group_column))
    return pair_with_truth(split, target, FORMATS[target.task].to_y_pred(target, outputs), text_column, groups)


def pair_with_truth(
    split: Split,
    target: TargetSpec,
    y_pred: np.ndarray,
    text_column: str | None = None,
    groups: np.ndarray | None = None,
) -> Predictions:
    """Pair predictions, numbers in the target's units, with the truth."""
    return replace(FORMATS[target.task].pair(split, target, y_pred, text_column), groups=groups)


def predictions_frame(
    split: Split, predictions: Predictions, decoded: pl.DataFrame, target: TargetSpec
) -> pl.DataFrame:
    """Build a table of decoded predictions next to row numbers, truth and groups.

    For texts it holds correctly predicted tokens and bytes instead of the truth, for preferences the reward margin.
    """
    columns: dict[str, Any] = {
        "row": split.rows,
        **FORMATS[target.task].truth_columns(split, target, predictions),
    }
    if predictions.groups is not None:
        columns["group"] = predictions.groups
    return pl.DataFrame(columns).hstack(decoded)


def read_predictions(
    task: str, table: pl.DataFrame, labels: Sequence[str] = (), threshold: float | None = None
) -> Predictions:
    """Read predictions back from a table of `predictions_frame`.

    Args:
        labels: the classes or labels as text, in their order.
        threshold: of two classes, as evaluation.json has it.
    """
    groups = table["group"].to_numpy() if "group" in table.columns else None
    return replace(FORMATS[task].read(table, labels), threshold=threshold, groups=groups)


def pad_tags(predicted: Sequence[str], true: Sequence[str]) -> tuple[str, ...]:
    """Fill up predicted tags with '' for words beyond the model's context."""
    return (*predicted, *[""] * (len(true) - len(predicted)))


def _probabilities(table: pl.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Return the probabilities of classes or labels, [samples, labels], and their names."""
    names = [name for name in table.columns if name.startswith("probability_")]
    return table.select(names).to_numpy(), [name.removeprefix("probability_") for name in names]


def _group_codes(values: pl.Series) -> np.ndarray:
    """Assign group numbers, [rows]; a row without a group is a group of its own."""
    codes = values.rank("dense").to_numpy().astype(np.float64)
    return np.where(np.isnan(codes), -1.0 - np.arange(len(codes)), codes)
