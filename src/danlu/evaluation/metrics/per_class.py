"""Metrics per class: precision, recall, F1 and, with more than two classes, areas against the rest."""

from collections.abc import Callable
from typing import Any

import numpy as np

from danlu.data.targets import ClassTarget, MultiLabelTarget
from danlu.evaluation.metrics.base import Metric, Predictions, Statistic
from danlu.evaluation.metrics.classification import COUNTS, SCORES, Score
from danlu.evaluation.metrics.multilabel import LABEL_COUNTS, label_counts
from danlu.evaluation.metrics.ranking import AUROC, AVERAGE_PRECISION, ONE_VS_REST, PER_LABEL

PER_CLASS_SCORES = ("precision", "recall", "f1")
MAX_CLASSES = 100  # classes with intervals and areas of their own, beyond the counts


def class_metrics(target: ClassTarget | MultiLabelTarget) -> dict[str, Metric]:
    """Build the metrics of each class or label, under names that no overall metric has."""
    found: dict[str, Metric] = {}
    counts, areas = _class_statistics(target)
    for index in range(min(len(target.labels), MAX_CLASSES)):
        for name in PER_CLASS_SCORES:
            found[_key(index, name)] = Metric(target.task, counts, _score(SCORES[name][0], index), True, name)
        if areas is not None:
            for name, which in (("auroc", AUROC), ("average-precision", AVERAGE_PRECISION)):
                found[_key(index, name)] = Metric(target.task, areas, _area(index, which), True, name)
    return found


def per_class_values(
    target: ClassTarget | MultiLabelTarget, predictions: Predictions, figures: dict[str, dict[str, float]]
) -> dict[str, dict[str, Any]]:
    """Return label -> values, support and, under "intervals", low and high of each value."""
    counts = label_counts(_class_statistics(target)[0].prepare(predictions)(np.ones((1, len(predictions)))))[0]
    found: dict[str, dict[str, Any]] = {}
    for index, label in enumerate(target.labels):
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


def _class_statistics(target: ClassTarget | MultiLabelTarget) -> tuple[Statistic, Statistic | None]:
    """Return the statistics of scores and of areas; for two classes the latter is None."""
    if isinstance(target, MultiLabelTarget):
        return LABEL_COUNTS, PER_LABEL
    return COUNTS, ONE_VS_REST if len(target.labels) > 2 else None


def _key(index: int, name: str) -> str:
    return f"class {index}/{name}"


def _score(score: Score, index: int) -> Callable[[np.ndarray], np.ndarray]:
    def scored(found: np.ndarray) -> np.ndarray:
        counts = label_counts(found)
        return score(counts[..., 0, index], counts[..., 1, index], counts[..., 2, index])

    return scored


def _area(index: int, which: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda found: np.where(np.isnan(found[..., index, AUROC]), np.nan, found[..., index, which])
