"""Metrics per class: precision, recall, F1 and, with more than two classes, areas against the rest."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from danlu.metrics.base import Metric, Predictions, Statistic
from danlu.metrics.classification import SCORES, Score
from danlu.metrics.multilabel import label_counts
from danlu.metrics.ranking import AUROC, AVERAGE_PRECISION

PER_CLASS_SCORES = ("precision", "recall", "f1")
MAX_CLASSES = 100  # classes with intervals and areas of their own, beyond the counts


def per_class_metrics(task: str, classes: int, counts: Statistic, areas: Statistic | None) -> dict[str, Metric]:
    """Build the metrics of each class or label, under names that no overall metric has.

    Args:
        counts: correct, true and predicted samples of each class.
        areas: the areas under each class's curves; None for none.
    """
    found: dict[str, Metric] = {}
    for index in range(min(classes, MAX_CLASSES)):
        for name in PER_CLASS_SCORES:
            found[_key(index, name)] = Metric(task, counts, _score(SCORES[name][0], index), True, name)
        if areas is not None:
            for name, which in (("auroc", AUROC), ("average-precision", AVERAGE_PRECISION)):
                found[_key(index, name)] = Metric(task, areas, _area(index, which), True, name)
    return found


def per_class_values(
    labels: Sequence[object],
    statistic: Statistic,
    predictions: Predictions,
    figures: Mapping[str, Mapping[str, float]],
) -> dict[str, dict[str, Any]]:
    """Return label -> values, support and, under "intervals", low and high of each value."""
    counts = label_counts(statistic.prepare(predictions)(np.ones((1, len(predictions)))))[0]
    found: dict[str, dict[str, Any]] = {}
    for index, label in enumerate(labels):
        own: dict[str, Any] = {name: float(SCORES[name][0](*counts[:, index])) for name in PER_CLASS_SCORES}
        own["support"] = int(counts[1, index])
        intervals: dict[str, list[float]] = {}
        for name in (*PER_CLASS_SCORES, "auroc", "average-precision"):
            figure = figures.get(_key(index, name), {})
            if "value" in figure:
                own[name] = figure["value"]
            if "low" in figure:
                intervals[name] = [figure["low"], figure["high"]]
        found[str(label)] = {**own, "intervals": intervals}
    return found


def _key(index: int, name: str) -> str:
    return f"class {index}/{name}"


def _score(score: Score, index: int) -> Callable[[np.ndarray], np.ndarray]:
    def scored(found: np.ndarray) -> np.ndarray:
        counts = label_counts(found)
        return score(counts[..., 0, index], counts[..., 1, index], counts[..., 2, index])

    return scored


def _area(index: int, which: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda found: np.where(np.isnan(found[..., index, AUROC]), np.nan, found[..., index, which])
