"""Poisson regression: each row has a count, as of claims, calls or visits."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import polars as pl

from danlu.errors import DataError
from danlu.metrics.base import FROM_ZERO, Metric, Predictions, mean_statistic, ratio
from danlu.tasks.activations import exp
from danlu.tasks.base import Baseline, BaselineData, FitInputs, Head, Target, Words
from danlu.tasks.ensembles import ensemble_answer, ensemble_loss, ensemble_predict
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.regression import NumericTarget, NumericTask, boosting_baselines, mean_baseline, target_numbers

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MIN_SHARE = 1e-6  # of the mean count: the least that a baseline may answer, since the deviance of 0 is infinite


class CountTarget(NumericTarget):
    """Predict a mean count, as a multiple of that of the training rows."""

    task: str = "poisson-regression"

    @property
    def output_names(self) -> list[str]:
        return [f"log of {self.column}"]

    def to_readable(self, weights: np.ndarray) -> np.ndarray:
        return weights

    @property
    def readable_offset(self) -> float:
        return float(np.log(self.mean))

    def encode(self, frame: pl.DataFrame) -> "torch.Tensor":
        import torch

        return torch.from_numpy((frame[self.column].cast(pl.Float64).to_numpy() / self.mean).astype(np.float32))

    def decode(self, outputs: np.ndarray) -> pl.DataFrame:
        """Return `prediction`; with conformal quantiles also `low`, which no count is below 0, and `high`."""
        found = super().decode(outputs)
        return found if self.conformal is None else found.with_columns(pl.col("low").clip(0.0))

    def in_units(self, outputs: np.ndarray) -> np.ndarray:
        """Convert multiples of the mean, [samples, 1], to counts, float64."""
        return np.asarray(outputs.astype(np.float64) * self.mean)


def _deviances(predictions: Predictions) -> np.ndarray:
    """Return each row's Poisson deviance, [samples]; infinite where a count is said to be impossible."""
    true, said = predictions.y_true.astype(np.float64), predictions.y_pred.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = np.where(true > 0, true * np.log(true / said), 0.0)
    return np.asarray(2 * (surprise - true + said))


class PoissonRegression(NumericTask):
    """Predict a count by the Poisson likelihood with a log link (Nelder and Wedderburn 1972).

    https://doi.org/10.2307/2344614. Predictions are mean counts, never negative.
    """

    name: Literal["poisson-regression"] = "poisson-regression"
    words: ClassVar[Words] = {
        "en": {"name": "Poisson regression"},
        "zh": {
            "name": "泊松回归",
            "metric.poisson-deviance": "计数与所给均值相差多少，按泊松分布计",
            "baseline.poisson": "线性模型，看到的输入相同，用对数连接",
        },
    }
    own_metrics: ClassVar[Mapping[str, Metric]] = {
        "poisson-deviance": Metric(
            "poisson-regression",
            mean_statistic(_deviances),
            ratio,
            False,
            "how far counts are from the means given, by the Poisson distribution",
            bounds=FROM_ZERO,
        )
    }
    metrics_of = ("regression",)
    default_metrics = ("poisson-deviance", "rmse", "mae", "r2")
    main_metric = "poisson-deviance"
    target_class: ClassVar[type[Target]] = CountTarget

    def check_values(self, values: pl.Series, origin: str) -> None:
        """Raise DataError unless the target holds counts."""
        super().check_values(values, origin)
        below = values.filter(values < 0)
        if len(below):
            raise DataError(
                f"{origin}: {self} needs counts, but the target {values.name!r} is {below[0]} in {len(below)} rows; "
                "correct them, or use data.task: regression",
                code="DL221",
            )

    def interval_widths(self, target: NumericTarget, predictions: Predictions) -> np.ndarray:
        assert target.conformal is not None
        (reach,) = target.conformal.quantiles
        said = predictions.y_pred.astype(np.float64)
        return np.asarray(said + reach - np.maximum(said - reach, 0.0))

    def fit_target(self, inputs: FitInputs) -> Target:
        """Learn the mean count, which may not be 0: rates are multiples of it."""
        assert inputs.values is not None
        if not (inputs.values.cast(pl.Float64) > 0).any():
            raise DataError(
                f"{inputs.origin}: every count of {inputs.column!r} in the training split is 0, so there is nothing to "
                "learn; give more rows, or split them otherwise (data.split)",
                code="DL223",
            )
        return super().fit_target(inputs)

    def head(self, target: CountTarget) -> Head:
        predict, answer = ensemble_predict(poisson_predict), ensemble_answer(exp)
        return Head(ensemble_loss(poisson_loss), predict, len, ensemble_loss, answer)

    def baselines(self, target: NumericTarget, data: BaselineData) -> list[Baseline]:
        """Fit the mean, a linear model with a log link and, for tables, boosted trees."""
        values, least = target_numbers(target, data.learned), MIN_SHARE * target.mean
        linear = data.predict_linear(lambda features: _fit_log_linear(features, values))
        boosted = [
            Baseline(each.name, each.description, {name: found.clip(least) for name, found in each.predictions.items()})
            for each in boosting_baselines(values, data)
        ]
        described = f"{data.linear_description}, with a log link"
        return [mean_baseline(target, data), Baseline("poisson", described, linear), *boosted]


def _fit_log_linear(features: Any, values: np.ndarray) -> Callable[[Any], np.ndarray]:
    """Fit Poisson regression to counts, [rows]; return what predicts their means."""
    from sklearn.linear_model import PoissonRegressor

    predict: Callable[[Any], np.ndarray] = PoissonRegressor(alpha=1e-3, max_iter=1000).fit(features, values).predict
    return predict


def poisson_loss(logits: "Tensor", target: "Tensor", emphasis: LossWeighting) -> "tuple[Tensor, int]":
    """Compute the Poisson loss of log-rates [batch, 1] against counts [batch]."""
    from torch.nn import functional

    return functional.poisson_nll_loss(logits[:, 0].float(), target, log_input=True, reduction="sum"), len(target)


def poisson_predict(logits: "Tensor", target: "Tensor | None") -> "Tensor":
    """Return multiples of the mean count, [batch, 1]."""
    return logits.float().exp()
