"""Ordinal classification: each row has one of several classes that stand in an order."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from danlu.errors import DataError
from danlu.metrics.base import Metric, Predictions, mean_statistic, ratio, safe_divide, sum_statistic
from danlu.tasks.activations import ordinal
from danlu.tasks.base import FitInputs, Head, Label, Target, Words
from danlu.tasks.classification import ClassTarget, ClassTask, classification_loss
from danlu.tasks.ensembles import ensemble_answer, ensemble_loss, ensemble_predict
from danlu.tasks.loss_weighting import LossWeighting

if TYPE_CHECKING:
    from torch import Tensor

MIN_CLASSES = 3  # with two there is no order


class OrdinalTarget(ClassTarget):
    """Predict one of several labels, which stand from the lowest to the highest."""

    task: str = "ordinal"

    @property
    def outputs(self) -> int:
        return len(self.labels) - 1

    @property
    def output_names(self) -> list[str]:
        """The borders between neighbouring classes."""
        return [f"{low} | {high}" for low, high in zip(self.labels[:-1], self.labels[1:], strict=True)]

    def to_readable(self, weights: np.ndarray) -> np.ndarray:
        return weights


def _kappa_terms(predictions: Predictions) -> np.ndarray:
    """Return the terms of the quadratic kappa, [samples, 6]."""
    true, said = predictions.y_true.astype(np.float64), predictions.predicted_classes.astype(np.float64)
    return np.stack([np.ones(len(true)), true, said, true**2, said**2, (true - said) ** 2], axis=1)


def _quadratic_kappa(found: np.ndarray) -> np.ndarray:
    """Compute the quadratic kappa from its sums; NaN if chance expects no distance."""
    count, true, said, true_squares, said_squares, apart = np.moveaxis(found, -1, 0)
    by_chance = true_squares + said_squares - 2 * safe_divide(true * said, count)
    return np.asarray(1 - safe_divide(apart, by_chance))


def _steps_apart(predictions: Predictions) -> np.ndarray:
    return np.asarray(np.abs(predictions.y_true - predictions.predicted_classes), dtype=np.float64)


ORDINAL_METRICS: dict[str, Metric] = {
    "quadratic-kappa": Metric(
        "ordinal",
        sum_statistic(_kappa_terms),
        _quadratic_kappa,
        True,
        "agreement beyond chance, where a mistake counts by the square of its distance (Cohen 1968)",
        bounds=(-1.0, 1.0),
    ),
    "ordinal-mae": Metric(
        "ordinal",
        mean_statistic(_steps_apart),
        ratio,
        False,
        "mean distance to the true class, in classes",
        bounds=(0.0, np.inf),
    ),
    "one-off-accuracy": Metric(
        "ordinal",
        mean_statistic(lambda predictions: _steps_apart(predictions) <= 1),
        ratio,
        True,
        "share answered rightly or with a neighbouring class",
    ),
}


class Ordinal(ClassTask):
    """Predict one of several ordered classes by cumulative logits (McCullagh 1980).

    https://doi.org/10.1111/j.2517-6161.1980.tb01109.x. A mistake costs more the farther it is from the true class. The
    borders between classes may differ from row to row, but never cross.
    """

    name: Literal["ordinal"] = "ordinal"
    order: tuple[Label, ...] | None = Field(
        default=None, description="the classes from the lowest to the highest; numbers need none"
    )
    words: ClassVar[Words] = {
        "en": {"name": "ordinal classification"},
        "zh": {
            "name": "有序分类",
            "metric.quadratic-kappa": "超出偶然的一致程度，错误按距离的平方计（Cohen 1968）",
            "metric.ordinal-mae": "与真实类别的平均距离，以类别计",
            "metric.one-off-accuracy": "预测正确或只差一个类别的比例",
        },
    }
    own_metrics: ClassVar[Mapping[str, Metric]] = ORDINAL_METRICS
    metrics_of = ("classification",)
    default_metrics = (
        *("quadratic-kappa", "ordinal-mae", "one-off-accuracy", "accuracy", "balanced-accuracy"),
        *("log-loss", "calibration-error"),
    )
    main_metric = "quadratic-kappa"
    has_order = True
    target_class: ClassVar[type[Target]] = OrdinalTarget

    @model_validator(mode="after")
    def _name_classes_once(self) -> Self:
        if self.order is not None and len(set(self.order)) < len(self.order):
            twice = next(label for at, label in enumerate(self.order) if label in self.order[:at])
            raise ValueError(f"order names the class {twice!r} twice; each class has one place")
        return self

    def check_values(self, values: pl.Series, origin: str) -> None:
        """Raise DataError unless the classes have an order and are three or more."""
        found = values.unique().to_list()
        if self.order is None and not isinstance(values.dtype, pl.Enum) and not values.dtype.is_numeric():
            listed = ", ".join(map(repr, sorted(map(str, found))[:5]))
            raise DataError(
                f"{origin}: the classes of {values.name!r} are words ({listed}) without an order; say it from the "
                "lowest to the highest: data.task: {ordinal: {order: [...]}}",
                code="DL221",
            )
        lacking = [value for value in found if self.order is not None and value not in self.order]
        if lacking and self.order is not None:
            given = ", ".join(map(repr, self.order))
            alike = any(str(label) == str(lacking[0]) for label in self.order)
            cure = f"write {lacking[0]!r}, as the data has it" if alike else "add it at its place, or correct the rows"
            raise DataError(
                f"{origin}: {values.name!r} has the class {lacking[0]!r}, which data.task.order lacks ({given}); "
                f"{cure}",
                code="DL221",
            )
        if len(found) < MIN_CLASSES:
            raise DataError(
                f"{origin}: {values.name!r} has {len(found)} classes, and an order needs three; use data.task: "
                "classification",
                code="DL223",
            )

    def describe_target(self, parts: Mapping[str, pl.Series], values: pl.Series) -> dict[str, Any]:
        """Describe the classes in their order."""
        told: dict[str, dict[str, int]] = super().describe_target(parts, values)["classes"]
        return {"classes": {str(label): told[str(label)] for label in self._ordered(values)}}

    def fit_target(self, inputs: FitInputs) -> Target:
        assert inputs.values is not None
        labels = self._ordered(inputs.values)
        if len(labels) < MIN_CLASSES:
            raise DataError(
                f"{inputs.origin}: the training split holds {len(labels)} classes; an order needs three", code="DL223"
            )
        return OrdinalTarget(column=inputs.column, labels=tuple(labels))

    def _ordered(self, values: pl.Series) -> list[Any]:
        """Return the classes that occur, from the lowest to the highest."""
        found = values.unique().to_list()
        order = list(values.dtype.categories) if isinstance(values.dtype, pl.Enum) else sorted(found)
        return [label for label in (self.order or order) if label in found]

    def head(self, target: OrdinalTarget) -> Head:
        predict, answer = ensemble_predict(ordinal_predict), ensemble_answer(ordinal)
        return Head(ensemble_loss(ordinal_loss), predict, len, ensemble_loss, answer)


def ordinal_log_probabilities(logits: "Tensor") -> "Tensor":
    """Return the log-probability of each class, [batch, borders] -> [batch, borders + 1].

    The logit of being above border k is c_1 = x_1, c_k = c_(k-1) - softplus(x_k), so that it falls with k. A class
    between two borders has sigmoid(c_k) - sigmoid(c_(k+1)) = sigmoid(c_k) sigmoid(-c_(k+1)) sigmoid(x_(k+1)).
    """
    import torch
    from torch.nn import functional

    own = logits.float()
    falls = torch.cat([own[:, :1], -functional.softplus(own[:, 1:])], dim=1)
    above = falls.cumsum(dim=1)
    reached, missed = functional.logsigmoid(above), functional.logsigmoid(-above)
    between = reached[:, :-1] + missed[:, 1:] + functional.logsigmoid(own[:, 1:])
    return torch.cat([missed[:, :1], between, reached[:, -1:]], dim=1)


def ordinal_loss(logits: "Tensor", target: "Tensor", emphasis: LossWeighting) -> "tuple[Tensor, int]":
    """Compute the negative log-likelihood of classes [batch] or soft labels [batch, classes]."""
    return classification_loss(ordinal_log_probabilities(logits), target, emphasis)


def ordinal_predict(logits: "Tensor", target: "Tensor | None") -> "Tensor":
    """Return class probabilities, [batch, classes]."""
    return ordinal_log_probabilities(logits).exp()
