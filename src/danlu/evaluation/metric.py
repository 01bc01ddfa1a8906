"""What a metric is: a statistic of weighted samples, and the figure that is made of it.

A sample's weight says how often a resample has it; all are 1 for the figure itself. So one definition gives the figure
and, for thousands of resamples at once, its interval. A statistic that is a sum over samples can be had batch by batch
and process by process.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

Weighted = Callable[[np.ndarray], np.ndarray]  # weights [resamples, samples] -> [resamples, ...]


@dataclass(frozen=True)
class Truth:
    """What the answers of a split are judged by.

    Attributes:
        values: the classes' positions [samples]; numbers in the target's own units [samples]; 0 and 1 of each label
            [samples, labels]; the words' tags, tuples [samples]; a text's tokens [texts]; or the texts that were asked
            for [samples].
        answers: probabilities [samples, classes or labels]; predicted numbers [samples]; summed loss, tokens and
            rightly predicted tokens of each text [texts, 3]; or the texts that were given [samples].
        text_bytes: UTF-8 bytes of each text of a language model, [texts].
        threshold: of two classes, the probability of the second from which on it is the answer; else the likelier is.
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
        """The class answered, [samples]; the first of the likeliest."""
        if self.threshold is not None and self.answers.shape[1] == 2:
            return (self.answers[:, 1] >= self.threshold).astype(np.int64)
        return np.asarray(self.answers.argmax(axis=1))

    def take(self, rows: np.ndarray) -> "Truth":
        """Some samples."""
        sizes = None if self.text_bytes is None else self.text_bytes[rows]
        groups = None if self.groups is None else self.groups[rows]
        return Truth(self.values[rows], self.answers[rows], sizes, self.threshold, groups)


@dataclass(frozen=True)
class Statistic:
    """What is gathered of weighted samples.

    Attributes:
        prepare: does once what needs no weights (a sort, a comparison) and returns what takes weights
            [resamples, samples] to [resamples, ...].
        additive: whether it is a sum over samples.
    """

    prepare: Callable[[Truth], Weighted]
    additive: bool = False


@dataclass(frozen=True)
class Metric:
    """A figure of merit.

    Attributes:
        task: what it judges.
        statistic: what it is made of; metrics that share one have it gathered once.
        finish: statistic [resamples, ...] -> figures [resamples], NaN where undefined.
        resampled: whether a bootstrap says anything about it; of a maximum it does not.
        quick: whether a thousand resamples cost little.
    """

    task: str
    statistic: Statistic
    finish: Callable[[np.ndarray], np.ndarray]
    higher_is_better: bool
    meaning: str
    resampled: bool = True
    quick: bool = True

    def compute(self, truth: Truth) -> float:
        """The figure of a split; NaN where it is undefined."""
        return figures_of({"": self}, truth)[""]


@dataclass
class Gathered:
    """Statistics of a truth, prepared once for the metrics that share them."""

    truth: Truth
    prepared: dict[int, Weighted] = field(default_factory=dict)

    def of(self, metric: Metric) -> Weighted:
        """What takes weights to the metric's statistic."""
        key = id(metric.statistic)
        if key not in self.prepared:
            self.prepared[key] = metric.statistic.prepare(self.truth)
        return self.prepared[key]


def figures_of(metrics: Mapping[str, Metric], truth: Truth) -> dict[str, float]:
    """The figures of a split by name; NaN where undefined."""
    if len(truth) == 0:
        return dict.fromkeys(metrics, float("nan"))
    gathered, even = Gathered(truth), np.ones((1, len(truth)))
    return {name: float(metric.finish(gathered.of(metric)(even))[0]) for name, metric in metrics.items()}


def sums(terms: Callable[[Truth], np.ndarray]) -> Statistic:
    """The weighted sums of terms, [samples, k] -> [resamples, k]."""

    def prepare(truth: Truth) -> Weighted:
        columns = np.asarray(terms(truth), dtype=np.float64)
        return lambda weights: np.asarray(weights @ columns)

    return Statistic(prepare, additive=True)


def mean_of(terms: Callable[[Truth], np.ndarray]) -> Statistic:
    """Sums of one term and of the weights, for `ratio`."""
    return sums(lambda truth: np.stack([terms(truth), np.ones(len(truth))], axis=1))


def ratio(found: np.ndarray) -> np.ndarray:
    """The first of two sums over the second; NaN where there is nothing."""
    return divided(found[..., 0], found[..., 1])


def divided(above: np.ndarray, below: np.ndarray, otherwise: float = float("nan")) -> np.ndarray:
    """A quotient; something else where it would divide by 0."""
    above, below = np.broadcast_arrays(np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64))
    return np.asarray(np.divide(above, below, out=np.full(above.shape, otherwise), where=below != 0))


def tallied(positions: np.ndarray, size: int, weights: np.ndarray) -> np.ndarray:
    """Weights summed by position, [resamples, samples] -> [resamples, size]."""
    return np.stack([np.bincount(positions, weights=row, minlength=size) for row in weights])
