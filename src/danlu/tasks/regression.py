"""Regression: each row has a number."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import SerializerFunctionWrapHandler, model_serializer

from danlu.errors import DataError
from danlu.metrics.base import Metric, Predictions
from danlu.metrics.regression import REGRESSION_METRICS
from danlu.tasks.activations import identity
from danlu.tasks.base import (
    Baseline,
    BaselineData,
    ConformalTarget,
    ErrorScores,
    FitInputs,
    Head,
    SplitRows,
    Target,
    Task,
    Words,
    without_unset_conformal,
)
from danlu.tasks.bends import BENDS, UNBENDS, Bend, best_exponent
from danlu.tasks.ensembles import ensemble_answer, ensemble_loss, ensemble_predict
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.summaries import describe_numbers

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MAX_STRATA = 10  # a numeric target is stratified by tenths of its distribution


class NumericTarget(ConformalTarget):
    """Predict a number, transformed for the model so that one learning rate suits every unit.

    Attributes:
        mean: is subtracted from what `bend` makes of it.
        std: divides the difference.
        bend: power transform of a skewed target (`data.target_transform`).
        exponent: of the Yeo-Johnson transform.
    """

    task: str = "regression"
    mean: float
    std: float
    bend: Bend = "none"
    exponent: float = 1.0

    @model_serializer(mode="wrap")
    def _leave_out_no_bend(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write the transform only where there is one; other bundles stay as they were."""
        written = without_unset_conformal(write(self))
        if self.bend == "none":
            written.pop("bend", None)
        if self.bend != "yeo-johnson":
            written.pop("exponent", None)
        return written

    @property
    def outputs(self) -> int:
        return 1

    def encode(self, frame: pl.DataFrame) -> "torch.Tensor":
        import torch

        values = frame[self.column].cast(pl.Float64).to_numpy()
        bent = BENDS[self.bend](values, self.exponent)
        return torch.from_numpy(((bent - self.mean) / self.std).astype(np.float32))

    def decode(self, outputs: np.ndarray) -> pl.DataFrame:
        """Return `prediction` in the target's own units; with conformal quantiles also `low` and `high`."""
        values = self.in_units(outputs)[:, 0]
        if self.conformal is None:
            return pl.DataFrame({"prediction": values})
        (reach,) = self.conformal.quantiles
        return pl.DataFrame({"prediction": values, "low": values - reach, "high": values + reach})

    def answer_columns(self, outputs: np.ndarray) -> dict[str, list[Any]]:
        if self.conformal is not None:
            return super().answer_columns(outputs)
        return {"prediction": self.in_units(outputs)[:, 0].tolist()}

    @property
    def output_names(self) -> list[str]:
        return [self.column]

    def to_readable(self, weights: np.ndarray) -> np.ndarray:
        return weights * self.std

    @property
    def readable_offset(self) -> float:
        return self.mean

    def decode_scores(self, scores: np.ndarray) -> pl.DataFrame:
        return pl.DataFrame({"prediction": self.in_units(scores)[:, 0]})

    def in_units(self, outputs: np.ndarray) -> np.ndarray:
        """Convert a network's predictions, [samples, outputs], to the target's units, float64."""
        return np.asarray(UNBENDS[self.bend](outputs.astype(np.float64) * self.std + self.mean, self.exponent))


class NumericTask(Task):
    """Predict a number, whatever the loss."""

    main_metric = "rmse"
    learns_numbers = True
    has_logits = False
    has_sets = True
    target_class: ClassVar[type[Target]] = NumericTarget

    def check_values(self, values: pl.Series, origin: str) -> None:
        if not values.dtype.is_numeric():
            raise DataError(
                f"{origin}: {self} needs numbers, but the target {values.name!r} is {values.dtype}", code="DL221"
            )

    def numbers(self, values: pl.Series) -> list[pl.Series]:
        return [values.cast(pl.Float64)]

    def strata(self, values: pl.Series, origin: str, fewest: int) -> np.ndarray:
        """Return the tenth of the target's distribution that each row is in."""
        return tenths(values.to_numpy())

    def describe_target(self, parts: Mapping[str, pl.Series], values: pl.Series) -> dict[str, Any]:
        return describe_numbers(values.cast(pl.Float64))

    def fit_target(self, inputs: FitInputs) -> Target:
        assert inputs.values is not None
        return self.target_class.model_validate({"column": inputs.column, **fit_transform(inputs)})

    def to_y_pred(self, target: NumericTarget, outputs: np.ndarray) -> np.ndarray:
        return target.in_units(outputs)[:, 0]

    def pair(self, split: SplitRows, target: NumericTarget, y_pred: np.ndarray, text_column: str | None) -> Predictions:
        return Predictions(split.column(target.column).cast(pl.Float64).to_numpy(), y_pred)

    def truth_columns(self, split: SplitRows, target: NumericTarget, predictions: Predictions) -> dict[str, Any]:
        return {"truth": predictions.y_true}

    def read(self, table: pl.DataFrame, labels: Sequence[str]) -> Predictions:
        return Predictions(table["truth"].to_numpy(), table["prediction"].to_numpy())

    def nonconformity(self, predictions: Predictions) -> np.ndarray:
        """Return the absolute error in the target's units."""
        return np.asarray(np.abs(predictions.y_true - predictions.y_pred), dtype=np.float64)

    def interval_widths(self, target: NumericTarget, predictions: Predictions) -> np.ndarray:
        assert target.conformal is not None
        return np.array([2 * target.conformal.quantiles[0]])

    def score_errors(self, table: pl.DataFrame) -> ErrorScores:
        """Score every row by its absolute error."""
        errors = (table["prediction"] - table["truth"]).abs().to_numpy()
        return ErrorScores("error", np.arange(table.height), errors, errors)

    def describe_error(self, table: pl.DataFrame, place: int) -> dict[str, Any]:
        return {"truth": table["truth"][place], "answer": table["prediction"][place]}

    def baselines(self, target: NumericTarget, data: BaselineData) -> list[Baseline]:
        """Fit the mean, ridge regression and, for tables, boosted trees."""
        values = target_numbers(target, data.learned)
        linear = data.predict_linear(lambda features: fit_ridge(features, values))
        return [
            mean_baseline(target, data),
            Baseline("ridge", data.linear_description, linear),
            *boosting_baselines(values, data),
        ]


def target_numbers(target: NumericTarget, rows: SplitRows) -> np.ndarray:
    """Return the target of some rows, [rows] float64."""
    return rows.column(target.column).cast(pl.Float64).to_numpy()


def mean_baseline(target: NumericTarget, data: BaselineData) -> Baseline:
    """Predict the mean of the training rows."""
    mean = float(data.train.column(target.column).cast(pl.Float64).mean() or 0.0)  # type: ignore[arg-type]
    found = {name: np.full(len(split), mean) for name, split in data.eval_splits.items()}
    return Baseline("mean", "always the training mean", found)


def boosting_baselines(values: np.ndarray, data: BaselineData) -> list[Baseline]:
    """Fit boosted trees to numbers of a table, [rows]; return nothing for other data."""
    found = data.predict_boosting(values, None)
    if found is None:
        return []
    return [Baseline("gradient-boosting", f"boosted trees of the same columns{data.boosting_note}", found)]


class Regression(NumericTask):
    """Predict a number."""

    name: Literal["regression"] = "regression"
    words: ClassVar[Words] = {"en": {"name": "regression"}, "zh": {"name": "回归"}}
    own_metrics: ClassVar[Mapping[str, Metric]] = REGRESSION_METRICS
    default_metrics = ("rmse", "mae", "median-absolute-error", "r2")
    probe_metric = "r2"
    fits_trees = True
    can_distill = True
    transforms_target = True

    def head(self, target: NumericTarget) -> Head:
        predict, answer = ensemble_predict(regression_predict), ensemble_answer(identity)
        return Head(ensemble_loss(regression_loss), predict, len, ensemble_loss, answer)

    def soft_loss(self, logits: "Tensor", teacher: "Tensor", temperature: float) -> "Tensor":
        return soft_regression_loss(logits, teacher, temperature)

    def hard_target(self, target: "Tensor") -> "Tensor":
        return target[:, 0]

    def align_teacher(self, found: "Tensor", own: NumericTarget, student: NumericTarget) -> "Tensor":
        return (found * own.std + (own.mean - student.mean)) / student.std


def fit_transform(inputs: FitInputs) -> dict[str, Any]:
    """Fit `data.target_transform` on the training rows: the fields of a NumericTarget."""
    assert inputs.values is not None
    values, bend, exponent = inputs.values, inputs.transform, 1.0
    if bend == "none":
        return {"mean": 0.0, "std": 1.0}
    if bend == "minmax":
        numbers = values.cast(pl.Float64).to_numpy()
        return {"mean": float(numbers.min()), "std": float(np.ptp(numbers)) or 1.0}
    if bend == "standard":
        mean, std = mean_and_std(values)
        return {"mean": mean, "std": std}
    numbers = values.cast(pl.Float64).to_numpy()
    if bend == "yeo-johnson":
        exponent = best_exponent(numbers)
    mean, std = mean_and_std(pl.Series(values.name, BENDS[bend](numbers, exponent)))
    return {"mean": mean, "std": std, "bend": bend, "exponent": exponent}


def tenths(numbers: np.ndarray) -> np.ndarray:
    """Return the tenth of the distribution that each number is in, [rows] int64 from 0."""
    bins = max(1, min(MAX_STRATA, len(numbers) // 10))
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.asarray(np.searchsorted(edges, numbers, side="right"))


def mean_and_std(values: pl.Series) -> tuple[float, float]:
    """Return mean and standard deviation of numbers; 1 in place of a deviation of 0."""
    numbers = values.cast(pl.Float64).to_numpy()
    return float(numbers.mean()), float(nonzero_std(numbers))


def nonzero_std(numbers: np.ndarray) -> np.ndarray:
    """Return the standard deviation over rows, [rows, ...] -> [...]; 1 for 0."""
    spread = numbers.std(axis=0)
    return np.where(spread > 0, spread, 1.0)


def fit_ridge(features: Any, values: np.ndarray) -> Callable[[Any], np.ndarray]:
    """Fit ridge regression to numbers, [rows] or [rows, outputs]; return what predicts them."""
    from sklearn.linear_model import Ridge

    predict: Callable[[Any], np.ndarray] = Ridge().fit(features, values).predict
    return predict


def regression_loss(logits: "Tensor", target: "Tensor", emphasis: LossWeighting) -> "tuple[Tensor, int]":
    """Compute squared error of [batch, 1] against [batch]; label smoothing does not apply."""
    from torch.nn import functional

    return functional.mse_loss(logits[:, 0].float(), target, reduction="sum"), len(target)


def regression_predict(logits: "Tensor", target: "Tensor | None") -> "Tensor":
    """Return standardized predictions, [batch, 1]."""
    return logits.float()


def soft_regression_loss(logits: "Tensor", teacher_logits: "Tensor", temperature: float) -> "Tensor":
    """Return the squared distance to the teacher's standardised predictions, summed; ignores temperature."""
    from torch.nn import functional

    return functional.mse_loss(logits, teacher_logits, reduction="sum")
