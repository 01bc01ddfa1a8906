"""Targets: answers -> tensors, a model's outputs -> readable predictions, and the calibration of probabilities.

Labels and statistics are fitted on the training split, calibration on validation by `danlu.evaluation`; both are kept
as plain data in the bundle.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import polars as pl
from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from danlu.core.component import Frozen
from danlu.data.dataset import Dataset
from danlu.data.sources.multi_label import read_labels
from danlu.data.sources.tags import read_list
from danlu.data.splits import TrainSplit
from danlu.errors import DataError

if TYPE_CHECKING:
    import torch


class Temperature(Frozen):
    """Divide logits by a temperature (Guo et al. 2017, https://arxiv.org/abs/1706.04599).

    Changes the confidence of a prediction, never the prediction.
    """

    method: Literal["temperature"] = "temperature"
    temperature: PositiveFloat

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Calibrate probabilities, [samples, classes] -> the same."""
        smallest = float(np.finfo(np.float32).smallest_subnormal)
        logits = np.log(np.maximum(probabilities.astype(np.float64), smallest)) / self.temperature
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float32)


class Isotonic(Frozen):
    """Map probabilities by a rising curve (Zadrozny and Elkan 2002, https://doi.org/10.1145/775047.775151).

    Attributes:
        given, true: the points of one curve per class; of two classes, of the second alone.
    """

    method: Literal["isotonic"] = "isotonic"
    given: tuple[tuple[float, ...], ...]
    true: tuple[tuple[float, ...], ...]

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Calibrate probabilities, [samples, classes] -> the same.

        The classes' curves are normalised to a sum of 1.
        """
        columns = probabilities[:, 1:] if len(self.given) == 1 else probabilities
        curves = zip(columns.T, self.given, self.true, strict=True)
        found = np.stack([np.interp(column, given, true) for column, given, true in curves], axis=1)
        if len(self.given) == 1:
            found = np.concatenate([1 - found, found], axis=1)
        total = found.sum(axis=1, keepdims=True)
        evenly = np.full_like(found, 1 / found.shape[1])
        return np.asarray(np.divide(found, total, out=evenly, where=total > 0), dtype=np.float32)


class ConformalQuantiles(Frozen):
    """Keep the quantiles of split conformal prediction (Angelopoulos and Bates 2021).

    See https://arxiv.org/abs/2107.07511, sections 1 and 4.

    Attributes:
        coverage: the share of new rows that should be covered.
        by: whether it holds over all rows, or within each class.
        rows: number of rows that the quantiles were taken from.
        quantiles: the highest score that is covered: one, or one per class. A class's score is 1 - its probability, a
            number's the absolute error in the target's units.
    """

    method: Literal["conformal"] = "conformal"
    coverage: float
    by: Literal["none", "class"] = "none"
    rows: PositiveInt
    quantiles: tuple[NonNegativeFloat, ...]


PREDICTION_SET = "prediction_set"  # the column of the classes in a row's set


AnyCalibration = Annotated[Temperature | Isotonic, Field(discriminator="method")]

REFERENCE = ("reference_chosen", "reference_rejected")  # columns of a pair's row, added once there is a model
Label = bool | int | float | str
MULTI_LABEL_THRESHOLD = 0.5  # probability from which a label is predicted


class Target(Frozen):
    """Encode labels for the loss and decode a model's outputs."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """The number of model outputs per sample (or token)."""

    @abstractmethod
    def encode(self, frame: pl.DataFrame) -> "torch.Tensor":
        """Encode the labels of some rows for the loss, [samples]."""

    def calibrate(self, outputs: np.ndarray) -> np.ndarray:
        """Apply the calibration to a head's outputs, [samples, ...]."""
        return outputs

    @abstractmethod
    def decode(self, outputs: np.ndarray) -> pl.DataFrame:
        """Return readable predictions: one row per sample, in order.

        Args:
            outputs: as `calibrate` returns them, [samples, ...].
        """


def _positions(labels: Sequence[Label], given: Iterable[Label], what: str, cure: str) -> dict[Label, int]:
    """Map each label known from training to its position.

    Args:
        given: labels of some rows.
        what: beginning of the error about an unknown label; ends with the noun for it.
        cure: what to do besides removing it.

    Raises:
        DataError: there is one that training does not know.
    """
    positions = {label: position for position, label in enumerate(labels)}
    unseen = sorted({str(label) for label in given if label not in positions})
    if unseen:
        called = what.rsplit(" ", 1)[-1]
        raise DataError(f"{what} {unseen[0]!r}, which the training split lacks; {cure}, or remove the {called}")
    return positions


class WithConformal(Target):
    """Keep the quantiles of prediction sets or intervals, if a recipe asks for them."""

    conformal: ConformalQuantiles | None = None

    @model_serializer(mode="wrap")
    def _leave_out_unset_conformal(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write `conformal` only where it is set; other bundles stay as they were."""
        written: dict[str, Any] = write(self)
        if written.get("conformal") is None:
            written.pop("conformal", None)
        return written


class ClassTarget(WithConformal):
    """Predict one of several labels.

    Attributes:
        calibration: applied to the model's probabilities.
        threshold: of two labels, the probability from which the second is predicted; else the likelier is.
    """

    task: Literal["classification"] = "classification"
    column: str
    labels: tuple[Label, ...]
    calibration: AnyCalibration | None = None
    threshold: float | None = None

    @property
    def outputs(self) -> int:
        return len(self.labels)

    def codes(self, frame: pl.DataFrame) -> np.ndarray:
        """Return the position of each row's label in `labels`, [samples] int64.

        Raises:
            DataError: a label that the training split did not have.
        """
        values = frame[self.column].to_list()
        positions = _positions(self.labels, values, f"{self.column!r} has the class", "split by stratified")
        return np.array([positions[value] for value in values], dtype=np.int64)

    def encode(self, frame: pl.DataFrame) -> "torch.Tensor":
        import torch

        return torch.from_numpy(self.codes(frame))

    def calibrate(self, outputs: np.ndarray) -> np.ndarray:
        return outputs if self.calibration is None else self.calibration.apply(outputs)

    def prediction_sets(self, outputs: np.ndarray) -> np.ndarray:
        """Return which labels each row's set holds, [samples, labels] bool; a set may be empty.

        Args:
            outputs: calibrated probabilities, [samples, labels].
        """
        assert self.conformal is not None
        return 1.0 - outputs.astype(np.float64) <= np.array(self.conformal.quantiles)

    def decode(self, outputs: np.ndarray) -> pl.DataFrame:
        """Return `prediction`, its `probability`, and `probability_LABEL` for every label.

        With conformal quantiles also `prediction_set`, the list of labels, the likeliest first.
        """
        best = outputs.argmax(axis=1)
        if self.threshold is not None:
            best = (outputs[:, 1] >= self.threshold).astype(np.int64)
        columns = {
            "prediction": pl.Series([self.labels[index] for index in best], dtype=_dtype(self.labels)),
            "probability": pl.Series(outputs[np.arange(len(best)), best], dtype=pl.Float32),
        }
        for index, label in enumerate(self.labels):
            columns[f"probability_{label}"] = pl.Series(outputs[:, index], dtype=pl.Float32)
        if self.conformal is not None:
            order = np.argsort(-outputs, axis=1, kind="stable")
            held = np.take_along_axis(self.prediction_sets(outputs), order, axis=1)
            sets = [[self.labels[index] for index in row[kept]] for row, kept in zip(order, held, strict=True)]
            columns[PREDICTION_SET] = pl.Series(sets, dtype=pl.List(_dtype(self.labels)))
        return pl.DataFrame(columns)


def _dtype(labels: tuple[Label, ...]) -> type[pl.DataType]:
    kinds = {bool: pl.Boolean, int: pl.Int64, float: pl.Float64}
    return kinds.get(type(labels[0]), pl.String)


class MultiLabelTarget(Target):
    """Predict any subset of labels, each from a probability of 0.5."""

    task: Literal["multi-label"] = "multi-label"
    column: str
    labels: tuple[str, ...]

    @property
    def outputs(self) -> int:
        return len(self.labels)

    def multi_hot(self, frame: pl.DataFrame) -> np.ndarray:
        """Return which labels each row has, 0 and 1, [samples, labels] uint8.

        Raises:
            DataError: a label that the training split did not have.
        """
        rows = [read_labels(text) for text in frame[self.column].to_list()]
        there, what = chain.from_iterable(rows), f"{self.column!r} has the label"
        positions = _positions(self.labels, there, what, "split by stratified")
        found = np.zeros((len(rows), len(self.labels)), dtype=np.uint8)
        places = [(row, positions[label]) for row, labels in enumerate(rows) for label in labels]
        if places:
            found[tuple(np.array(places).T)] = 1
        return found

    def encode(self, frame: pl.DataFrame) -> "torch.Tensor":
        import torch

        return torch.from_numpy(self.multi_hot(frame).astype(np.float32))

    def decode(self, outputs: np.ndarray) -> pl.DataFrame:
        """Return `prediction`, the list of labels, and `probability_LABEL` for every label."""
        given = [
            [label for label, there in zip(self.labels, row, strict=True) if there]
            for row in outputs >= MULTI_LABEL_THRESHOLD
        ]
        columns = {"prediction": pl.Series(given, dtype=pl.List(pl.String))}
        for index, label in enumerate(self.labels):
            columns[f"probability_{label}"] = pl.Series(outputs[:, index], dtype=pl.Float32)
        return pl.DataFrame(columns)


class NumericTarget(WithConformal):
    """Predict a number, standardised for the model so that one learning rate suits every unit."""

    task: Literal["regression"] = "regression"
    column: str
    mean: float
    std: float

    @property
    def outputs(self) -> int:
        return 1

    def encode(self, frame: pl.DataFrame) -> "torch.Tensor":
        import torch

        values = frame[self.column].cast(pl.Float64).to_numpy()
        return torch.from_numpy(((values - self.mean) / self.std).astype(np.float32))

    def decode(self, outputs: np.ndarray) -> pl.DataFrame:
        """Return `prediction` in the target's own units; with conformal quantiles also `low` and `high`."""
        values = outputs[:, 0].astype(np.float64) * self.std + self.mean
        if self.conformal is None:
            return pl.DataFrame({"prediction": values})
        (reach,) = self.conformal.quantiles
        return pl.DataFrame({"prediction": values, "low": values - reach, "high": values + reach})


class TagTarget(Target):
    """Predict a tag for each word."""

    task: Literal["token-classification"] = "token-classification"
    column: str
    labels: tuple[str, ...]

    @property
    def outputs(self) -> int:
        return len(self.labels)

    def codes(self, frame: pl.DataFrame) -> list[np.ndarray]:
        """Return the position of each word's tag in `labels`, row by row.

        Raises:
            DataError: a tag that the training split did not have.
        """
        rows = [read_list(text) for text in frame[self.column].to_list()]
        cure = "give more rows or another seed"
        positions = _positions(self.labels, chain.from_iterable(rows), f"{self.column!r} has the tag", cure)
        return [np.array([positions[tag] for tag in row], dtype=np.int64) for row in rows]

    def encode(self, frame: pl.DataFrame) -> "torch.Tensor":
        raise NotImplementedError("tags are put where words begin, which their preprocessor knows")

    def decode(self, outputs: np.ndarray) -> pl.DataFrame:
        """Return `prediction`, the list of tags; none for words beyond `data.sequence_length`."""
        rows = [[self.labels[int(code)] for code in row if code >= 0] for row in outputs]
        return pl.DataFrame({"prediction": pl.Series(rows, dtype=pl.List(pl.String))})


class NextTokenTarget(Target):
    """Predict the text's own next token."""

    task: Literal["language-modelling"] = "language-modelling"
    vocabulary: int

    @property
    def outputs(self) -> int:
        return self.vocabulary

    def encode(self, frame: pl.DataFrame) -> "torch.Tensor":
        raise NotImplementedError("a corpus's preprocessor makes inputs and answers in one go")

    def decode(self, outputs: np.ndarray) -> pl.DataFrame:
        """Return `tokens`, mean `loss` per token in nats, and `perplexity` of each text."""
        loss = outputs[:, 0] / np.maximum(outputs[:, 1], 1)
        tokens = outputs[:, 1].astype(np.int64)
        return pl.DataFrame({"tokens": tokens, "loss": loss, "perplexity": np.exp(loss)})


class PreferenceTarget(Target):
    """Predict which of two answers is preferred, relative to a reference model.

    The first answer of a pair is always the preferred one.

    Attributes:
        beta: strength of the penalty for departing from the reference (DPO); scales log-ratios to rewards.
    """

    task: Literal["preference"] = "preference"
    vocabulary: int
    beta: float

    @property
    def outputs(self) -> int:
        return self.vocabulary

    def encode(self, frame: pl.DataFrame) -> "torch.Tensor":
        """Return the reference's log-probabilities of both answers, [pairs, 2]."""
        import torch

        return torch.from_numpy(frame.select(REFERENCE).to_numpy().astype(np.float32))

    def decode(self, outputs: np.ndarray) -> pl.DataFrame:
        """Return `chosen` and `rejected` log-probabilities, and whether the chosen one is likelier."""
        chosen, rejected = outputs[:, 0].astype(np.float64), outputs[:, 1].astype(np.float64)
        return pl.DataFrame({"chosen": chosen, "rejected": rejected, "prefers_chosen": chosen > rejected})


Supervised = ClassTarget | MultiLabelTarget | NumericTarget  # targets that are a column of the data
TargetSpec = Supervised | TagTarget | NextTokenTarget | PreferenceTarget
AnyTarget = Annotated[TargetSpec, Field(discriminator="task")]


def fit_target(train: TrainSplit, dataset: Dataset) -> Supervised | TagTarget:
    """Learn the labels, or the mean and deviation, of the training split's target."""
    assert dataset.target is not None
    values = train.column(dataset.target)
    if dataset.task == "classification":
        labels = sorted(values.unique().to_list())
        if len(labels) == 1:
            raise DataError(f"{dataset.origin}: the training split holds one class alone ({labels[0]!r})")
        return ClassTarget(column=dataset.target, labels=tuple(labels))
    if dataset.task == "token-classification":
        tags = sorted({tag for text in values.unique().to_list() for tag in read_list(text)})
        if len(tags) == 1:
            raise DataError(f"{dataset.origin}: the training split holds one tag alone ({tags[0]!r})")
        return TagTarget(column=dataset.target, labels=tuple(tags))
    if dataset.task == "multi-label":
        several = sorted({label for text in values.unique().to_list() for label in read_labels(text)})
        if not several:
            raise DataError(f"{dataset.origin}: no row of the training split has a label; nothing to learn")
        return MultiLabelTarget(column=dataset.target, labels=tuple(several))
    numbers = values.cast(pl.Float64).to_numpy()
    std = float(numbers.std())
    return NumericTarget(column=dataset.target, mean=float(numbers.mean()), std=std if std > 0 else 1.0)
