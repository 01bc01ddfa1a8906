"""Quantile regression: each row has a number, predicted with an interval."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field

from danlu.metrics.base import Metric, Predictions, mean_statistic, ratio
from danlu.tasks.activations import sort
from danlu.tasks.base import FitInputs, Head, SplitRows, Target, Words
from danlu.tasks.ensembles import ensemble_answer, ensemble_loss, ensemble_predict
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.regression import NumericTarget, NumericTask, fit_transform

if TYPE_CHECKING:
    from torch import Tensor

LOW, MEDIAN, HIGH = range(3)
Coverage = Annotated[float, Field(gt=0.0, lt=1.0)]


class QuantileTarget(NumericTarget):
    """Predict the median of a number and the ends of its central interval.

    Attributes:
        coverage: the share of rows that the interval is to hold.
    """

    task: str = "quantile-regression"
    coverage: Coverage

    @property
    def outputs(self) -> int:
        return 3

    @property
    def levels(self) -> tuple[float, float, float]:
        """The quantiles that are predicted, ascending."""
        tail = (1 - self.coverage) / 2
        return tail, 0.5, 1 - tail

    @property
    def output_names(self) -> list[str]:
        return [f"{self.column} at {level:.4g}" for level in self.levels]

    def interval(self, values: np.ndarray) -> np.ndarray:
        """Return the ends of each interval, [samples, 2]; conformal quantiles widen or narrow it.

        It holds the median however much narrower it becomes: the ends of a narrow interval would pass one another.

        Args:
            values: quantiles in the target's units, [samples, levels].
        """
        reach = 0.0 if self.conformal is None else self.conformal.quantiles[0]
        low, high = values[:, LOW] - reach, values[:, HIGH] + reach
        middle = values[:, MEDIAN]
        return np.stack([np.minimum(low, middle), np.maximum(high, middle)], axis=1)

    def decode(self, outputs: np.ndarray) -> pl.DataFrame:
        """Return `prediction`, the median, and the ends of the interval, `low` and `high`."""
        values = self.in_units(outputs)
        low, high = self.interval(values).T
        return pl.DataFrame({"prediction": values[:, MEDIAN], "low": low, "high": high})

    def answer_columns(self, outputs: np.ndarray) -> dict[str, list[Any]]:
        return Target.answer_columns(self, outputs)


def _is_inside(predictions: Predictions) -> np.ndarray:
    if predictions.bounds is None:
        return np.full(len(predictions), np.nan)
    low, high = predictions.bounds.T
    return np.asarray((low <= predictions.y_true) & (predictions.y_true <= high), dtype=np.float64)


def _widths(predictions: Predictions) -> np.ndarray:
    if predictions.bounds is None:
        return np.full(len(predictions), np.nan)
    return np.asarray(predictions.bounds[:, 1] - predictions.bounds[:, 0])


INTERVAL_METRICS: dict[str, Metric] = {
    "interval-coverage": Metric(
        "quantile-regression",
        mean_statistic(_is_inside),
        ratio,
        True,
        "share of the rows whose number lies in the predicted interval",
    ),
    "interval-width": Metric(
        "quantile-regression",
        mean_statistic(_widths),
        ratio,
        False,
        "mean width of the predicted intervals, in the target's units",
        bounds=(0.0, np.inf),
    ),
}


class QuantileRegression(NumericTask):
    """Predict the median of a number and a central interval by the pinball loss.

    Koenker and Bassett 1978, https://doi.org/10.2307/1913643. With `evaluation.intervals: conformal` the interval is
    corrected on rows that did not train (Romano et al. 2019, https://arxiv.org/abs/1905.03222).
    """

    name: Literal["quantile-regression"] = "quantile-regression"
    coverage: Coverage = Field(default=0.9, description="share of rows that the interval is to hold")
    words: ClassVar[Words] = {
        "en": {"name": "quantile regression"},
        "zh": {
            "name": "分位数回归",
            "metric.interval-coverage": "真实值落在预测区间内的比例",
            "metric.interval-width": "预测区间的平均宽度，单位与目标相同",
        },
    }
    own_metrics: ClassVar[Mapping[str, Metric]] = INTERVAL_METRICS
    metrics_of = ("regression",)
    default_metrics = ("rmse", "mae", "median-absolute-error", "r2", "interval-coverage", "interval-width")
    main_metric = "mae"
    target_class: ClassVar[type[Target]] = QuantileTarget
    transforms_target = True

    def fit_target(self, inputs: FitInputs) -> Target:
        assert inputs.values is not None
        return QuantileTarget(column=inputs.column, coverage=self.coverage, **fit_transform(inputs))

    def describe_encoded(self, target: QuantileTarget, value: np.ndarray) -> str:
        return f"{float(target.in_units(np.array([value]))[0]):.4g}"

    def head(self, target: QuantileTarget) -> Head:
        levels = (0.05, 0.5, 0.95) if target is None else target.levels
        predict, answer = ensemble_predict(quantile_predict), ensemble_answer(sort)
        return Head(ensemble_loss(partial(quantile_loss, levels=levels)), predict, len, ensemble_loss, answer)

    def to_y_pred(self, target: NumericTarget, outputs: np.ndarray) -> np.ndarray:
        return target.in_units(outputs)

    def pair(self, split: SplitRows, target: NumericTarget, y_pred: np.ndarray, text_column: str | None) -> Predictions:
        """Pair medians, and intervals if there are any: a baseline gives one number alone."""
        true = split.column(target.column).cast(pl.Float64).to_numpy()
        if y_pred.ndim == 1:
            return Predictions(true, y_pred)
        assert isinstance(target, QuantileTarget)
        return Predictions(true, y_pred[:, MEDIAN], bounds=target.interval(y_pred))

    def blank_predictions(self, target: QuantileTarget) -> Predictions:
        return Predictions(np.zeros(1), np.zeros(1), bounds=np.zeros((1, 2)))

    def read(self, table: pl.DataFrame, labels: Sequence[str]) -> Predictions:
        bounds = table.select("low", "high").to_numpy()
        return Predictions(table["truth"].to_numpy(), table["prediction"].to_numpy(), bounds=bounds)

    def nonconformity(self, predictions: Predictions) -> np.ndarray:
        """Return how far the truth lies outside of the interval; negative inside of it."""
        assert predictions.bounds is not None
        low, high = predictions.bounds.T
        return np.asarray(np.maximum(low - predictions.y_true, predictions.y_true - high), dtype=np.float64)

    def covered(self, target: NumericTarget, predictions: Predictions) -> np.ndarray:
        """Return which numbers lie in their intervals, which conformal quantiles have moved already."""
        return np.asarray(self.nonconformity(predictions) <= 0)

    def interval_widths(self, target: NumericTarget, predictions: Predictions) -> np.ndarray:
        return _widths(predictions)


def quantile_loss(
    logits: "Tensor", target: "Tensor", emphasis: LossWeighting, levels: Sequence[float]
) -> "tuple[Tensor, int]":
    """Compute the pinball loss of quantiles [batch, levels] against [batch], averaged over the levels."""
    import torch

    error = target[:, None] - logits.float()
    shares = logits.new_tensor(levels, dtype=torch.float32)
    return torch.maximum(shares * error, (shares - 1) * error).mean(dim=1).sum(), len(target)


def quantile_predict(logits: "Tensor", target: "Tensor | None") -> "Tensor":
    """Return standardized quantiles in ascending order, [batch, levels].

    Quantiles that cross are sorted (Chernozhukov et al. 2010, https://arxiv.org/abs/0704.3649).
    """
    return logits.float().sort(dim=1).values
