"""What a metric is: a statistic of weighted samples, and a value computed from it.

A sample's weight is how often it occurs in a resample; all weights are 1 for the value itself. So one definition gives
the value and, for thousands of resamples at once, its interval. A statistic that is a sum over samples can be
accumulated over batches and processes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

UNBOUNDED = (-np.inf, np.inf)
FROM_ZERO, UP_TO_ONE = (0.0, np.inf), (-np.inf, 1.0)
StatisticFn = Callable[[np.ndarray], np.ndarray]  # weights [resamples, samples] -> [resamples, ...]


@dataclass(frozen=True)
class Predictions:
    """Hold the true values and the predictions of a split's samples.

    Attributes:
        y_true: class indices [samples]; numbers in the target's own units [samples]; 0 and 1 per label
            [samples, labels]; tuples of word tags [samples]; a text's tokens [texts]; or reference texts [samples].
        y_pred: probabilities [samples, classes or labels]; predicted numbers [samples]; summed loss, tokens and
            correctly predicted tokens of each text [texts, 3]; or generated texts [samples].
        text_bytes: UTF-8 bytes of each text of a language model, [texts].
        threshold: of two classes, the probability from which on the second is predicted; None for the more likely one.
        groups: which samples belong together, [samples]; they are resampled together.
        bounds: the ends of each row's prediction interval, [samples, 2], in the target's units.
        decided: predicted class indices, [samples], if several thresholds decided them (one per fold).

    Example:
        >>> import numpy as np
        >>> import danlu
        >>> answers = danlu.Predictions(np.array([0, 1]), np.array([[0.9, 0.1], [0.6, 0.4]]))
        >>> answers.predicted_classes.tolist()
        [0, 0]
    """

    y_true: np.ndarray
    y_pred: np.ndarray
    text_bytes: np.ndarray | None = None
    threshold: float | None = None
    groups: np.ndarray | None = None
    decided: np.ndarray | None = None
    bounds: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.y_true)

    @cached_property
    def predicted_classes(self) -> np.ndarray:
        """The predicted class index, [samples]; ties go to the first."""
        if self.decided is not None:
            return self.decided
        if self.threshold is not None and self.y_pred.shape[1] == 2:
            return (self.y_pred[:, 1] >= self.threshold).astype(np.int64)
        return np.asarray(self.y_pred.argmax(axis=1))

    def take(self, rows: np.ndarray) -> "Predictions":
        """Select some samples."""
        sizes, groups, decided, bounds = (
            None if values is None else values[rows]
            for values in (self.text_bytes, self.groups, self.decided, self.bounds)
        )
        return Predictions(self.y_true[rows], self.y_pred[rows], sizes, self.threshold, groups, decided, bounds)


@dataclass(frozen=True)
class Statistic:
    """Define what is accumulated over weighted samples.

    Attributes:
        prepare: does once what needs no weights (a sort, a comparison) and returns a function from weights
            [resamples, samples] to [resamples, ...].
        additive: whether it is a sum over samples.

    Example:
        >>> import numpy as np
        >>> import danlu
        >>> def prepare(predictions):
        ...     right = predictions.predicted_classes == predictions.y_true
        ...     return lambda weights: weights @ right
        >>> statistic = danlu.Statistic(prepare, additive=True)
        >>> answers = danlu.Predictions(np.array([0, 1]), np.array([[0.9, 0.1], [0.6, 0.4]]))
        >>> statistic.prepare(answers)(np.array([[3.0, 1.0]])).tolist()  # the first sample three times
        [3.0]
    """

    prepare: Callable[[Predictions], StatisticFn]
    additive: bool = False


@dataclass(frozen=True)
class Metric:
    """Define a metric: a statistic and how to compute the value from it.

    Attributes:
        task: the task it evaluates.
        statistic: what it is computed from; metrics that share one have it computed once.
        finalize: statistic [resamples, ...] -> values [resamples], NaN where undefined.
        can_bootstrap: whether the bootstrap is meaningful for it; for a maximum it is not.
        is_fast: whether a thousand resamples are cheap.
        bounds: the smallest and the largest value.

    Example:
        >>> import numpy as np
        >>> import danlu
        >>> def prepare(predictions):
        ...     errors = np.abs(predictions.y_true - predictions.y_pred)
        ...     return lambda weights: np.stack([weights @ errors, weights.sum(axis=1)], axis=1)
        >>> error = danlu.Metric(
        ...     task="regression",
        ...     statistic=danlu.Statistic(prepare, additive=True),
        ...     finalize=lambda sums: sums[:, 0] / sums[:, 1],
        ...     higher_is_better=False,
        ...     description="mean absolute error",
        ...     bounds=(0.0, np.inf),
        ... )
        >>> error.compute(danlu.Predictions(np.array([1.0, 2.0]), np.array([1.5, 2.0])))
        0.25
    """

    task: str
    statistic: Statistic
    finalize: Callable[[np.ndarray], np.ndarray]
    higher_is_better: bool
    description: str
    can_bootstrap: bool = True
    is_fast: bool = True
    bounds: tuple[float, float] = (0.0, 1.0)

    def compute(self, predictions: Predictions) -> float:
        """Compute the value of a split; NaN if undefined."""
        return compute_values({"": self}, predictions)[""]


@dataclass
class StatCache:
    """Cache prepared statistics of some predictions for the metrics that share them."""

    predictions: Predictions
    prepared: dict[int, StatisticFn] = field(default_factory=dict)

    def get(self, metric: Metric) -> StatisticFn:
        """Return the function from weights to the metric's statistic."""
        key = id(metric.statistic)
        if key not in self.prepared:
            self.prepared[key] = metric.statistic.prepare(self.predictions)
        return self.prepared[key]


def compute_values(metrics: Mapping[str, Metric], predictions: Predictions) -> dict[str, float]:
    """Compute metrics by name; NaN if undefined."""
    if len(predictions) == 0:
        return dict.fromkeys(metrics, float("nan"))
    gathered, even = StatCache(predictions), np.ones((1, len(predictions)))
    return {name: float(metric.finalize(gathered.get(metric)(even))[0]) for name, metric in metrics.items()}


def sum_statistic(terms: Callable[[Predictions], np.ndarray]) -> Statistic:
    """Return the statistic of weighted sums of terms, [samples, k] -> [resamples, k]."""

    def prepare(predictions: Predictions) -> StatisticFn:
        columns = np.asarray(terms(predictions), dtype=np.float64)
        return lambda weights: np.asarray(weights @ columns)

    return Statistic(prepare, additive=True)


def mean_statistic(terms: Callable[[Predictions], np.ndarray]) -> Statistic:
    """Return the statistic of the sum of one term and of the weights, for `ratio`."""
    return sum_statistic(lambda predictions: np.stack([terms(predictions), np.ones(len(predictions))], axis=1))


def ratio(found: np.ndarray) -> np.ndarray:
    """Divide the first of two sums by the second; NaN if the second is 0."""
    return safe_divide(found[..., 0], found[..., 1])


def safe_divide(above: np.ndarray, below: np.ndarray, otherwise: float = float("nan")) -> np.ndarray:
    """Divide elementwise; use `otherwise` where the denominator is 0."""
    above, below = np.broadcast_arrays(np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64))
    return np.asarray(np.divide(above, below, out=np.full(above.shape, otherwise), where=below != 0))


def weighted_bincount(positions: np.ndarray, size: int, weights: np.ndarray) -> np.ndarray:
    """Sum weights by position, [resamples, samples] -> [resamples, size]."""
    return np.stack([np.bincount(positions, weights=row, minlength=size) for row in weights])
