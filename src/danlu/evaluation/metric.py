"""What a metric is: a statistic of weighted samples, and a value computed from it.

A sample's weight is how often it occurs in a resample; all weights are 1 for the value itself. So one definition gives
the value and, for thousands of resamples at once, its interval. A statistic that is a sum over samples can be
accumulated over batches and processes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

Weighted = Callable[[np.ndarray], np.ndarray]  # weights [resamples, samples] -> [resamples, ...]


@dataclass(frozen=True)
class Truth:
    """Hold the true values and the predictions of a split's samples.

    Attributes:
        values: class indices [samples]; numbers in the target's own units [samples]; 0 and 1 per label
            [samples, labels]; tuples of word tags [samples]; a text's tokens [texts]; or reference texts [samples].
        answers: probabilities [samples, classes or labels]; predicted numbers [samples]; summed loss, tokens and
            correctly predicted tokens of each text [texts, 3]; or generated texts [samples].
        text_bytes: UTF-8 bytes of each text of a language model, [texts].
        threshold: of two classes, the probability from which on the second is predicted; None for the more likely one.
        groups: which samples belong together, [samples]; they are resampled together.
    """

    values: np.ndarray
    answers: np.ndarray
    text_bytes: np.ndarray | None = None
    threshold: float | None = None
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def predicted(self) -> np.ndarray:
        """The predicted class index, [samples]; ties go to the first."""
        if self.threshold is not None and self.answers.shape[1] == 2:
            return (self.answers[:, 1] >= self.threshold).astype(np.int64)
        return np.asarray(self.answers.argmax(axis=1))

    def take(self, rows: np.ndarray) -> "Truth":
        """Select some samples."""
        sizes = None if self.text_bytes is None else self.text_bytes[rows]
        groups = None if self.groups is None else self.groups[rows]
        return Truth(self.values[rows], self.answers[rows], sizes, self.threshold, groups)


@dataclass(frozen=True)
class Statistic:
    """Define what is accumulated over weighted samples.

    Attributes:
        prepare: does once what needs no weights (a sort, a comparison) and returns a function from weights
            [resamples, samples] to [resamples, ...].
        additive: whether it is a sum over samples.
    """

    prepare: Callable[[Truth], Weighted]
    additive: bool = False


@dataclass(frozen=True)
class Metric:
    """Define a metric: a statistic and how to compute the value from it.

    Attributes:
        task: the task it evaluates.
        statistic: what it is computed from; metrics that share one have it computed once.
        finish: statistic [resamples, ...] -> values [resamples], NaN where undefined.
        resampled: whether the bootstrap is meaningful for it; for a maximum it is not.
        quick: whether a thousand resamples are cheap.
    """

    task: str
    statistic: Statistic
    finish: Callable[[np.ndarray], np.ndarray]
    higher_is_better: bool
    meaning: str
    resampled: bool = True
    quick: bool = True

    def compute(self, truth: Truth) -> float:
        """Compute the value of a split; NaN if undefined."""
        return figures_of({"": self}, truth)[""]


@dataclass
class Gathered:
    """Cache prepared statistics of some predictions for the metrics that share them."""

    truth: Truth
    prepared: dict[int, Weighted] = field(default_factory=dict)

    def of(self, metric: Metric) -> Weighted:
        """Return the function from weights to the metric's statistic."""
        key = id(metric.statistic)
        if key not in self.prepared:
            self.prepared[key] = metric.statistic.prepare(self.truth)
        return self.prepared[key]


def figures_of(metrics: Mapping[str, Metric], truth: Truth) -> dict[str, float]:
    """Compute metrics by name; NaN if undefined."""
    if len(truth) == 0:
        return dict.fromkeys(metrics, float("nan"))
    gathered, even = Gathered(truth), np.ones((1, len(truth)))
    return {name: float(metric.finish(gathered.of(metric)(even))[0]) for name, metric in metrics.items()}


def sums(terms: Callable[[Truth], np.ndarray]) -> Statistic:
    """Return the statistic of weighted sums of terms, [samples, k] -> [resamples, k]."""

    def prepare(truth: Truth) -> Weighted:
        columns = np.asarray(terms(truth), dtype=np.float64)
        return lambda weights: np.asarray(weights @ columns)

    return Statistic(prepare, additive=True)


def mean_of(terms: Callable[[Truth], np.ndarray]) -> Statistic:
    """Return the statistic of the sum of one term and of the weights, for `ratio`."""
    return sums(lambda truth: np.stack([terms(truth), np.ones(len(truth))], axis=1))


def ratio(found: np.ndarray) -> np.ndarray:
    """Divide the first of two sums by the second; NaN if the second is 0."""
    return divided(found[..., 0], found[..., 1])


def divided(above: np.ndarray, below: np.ndarray, otherwise: float = float("nan")) -> np.ndarray:
    """Divide elementwise; use `otherwise` where the denominator is 0."""
    above, below = np.broadcast_arrays(np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64))
    return np.asarray(np.divide(above, below, out=np.full(above.shape, otherwise), where=below != 0))


def tallied(positions: np.ndarray, size: int, weights: np.ndarray) -> np.ndarray:
    """Sum weights by position, [resamples, samples] -> [resamples, size]."""
    return np.stack([np.bincount(positions, weights=row, minlength=size) for row in weights])
