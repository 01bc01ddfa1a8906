"""Each class by itself: precision, recall, F1 and, of more than two classes, how well it is ranked before the rest."""

from collections.abc import Callable
from typing import Any

import numpy as np

from danlu.data.targets import Classes
from danlu.evaluation.counts import COUNTS, SCORES, Score
from danlu.evaluation.metric import Metric, Truth
from danlu.evaluation.ranking import AGAINST_REST, AREA, PRECISION

SCORED = ("precision", "recall", "f1")
MOST = 100  # classes with figures of their own beyond their counts and intervals


def class_metrics(target: Classes) -> dict[str, Metric]:
    """The metrics of each class by itself, under names that no metric of all classes has."""
    found: dict[str, Metric] = {}
    for index in range(min(len(target.labels), MOST)):
        for name in SCORED:
            found[_key(index, name)] = Metric("classification", COUNTS, _score(SCORES[name][0], index), True, name)
        if len(target.labels) > 2:
            for name, which in (("auroc", AREA), ("average-precision", PRECISION)):
                found[_key(index, name)] = Metric("classification", AGAINST_REST, _area(index, which), True, name)
    return found


def classes_with_intervals(
    target: Classes, truth: Truth, figures: dict[str, dict[str, float]]
) -> dict[str, dict[str, Any]]:
    """Label -> its figures, its support and, under "intervals", low and high of each figure."""
    counts = COUNTS.prepare(truth)(np.ones((1, len(truth))))[0]
    found: dict[str, dict[str, Any]] = {}
    for index, label in enumerate(target.labels):
        own: dict[str, Any] = {name: float(SCORES[name][0](*counts[:, index])) for name in SCORED}
        own["support"] = int(counts[1, index])
        intervals: dict[str, list[float]] = {}
        for name in (*SCORED, "auroc", "average-precision"):
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
    return lambda counts: score(counts[..., 0, index], counts[..., 1, index], counts[..., 2, index])


def _area(index: int, which: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda found: np.where(np.isnan(found[..., index, AREA]), np.nan, found[..., index, which])
