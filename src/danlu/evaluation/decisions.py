"""Decisions made of probabilities: the threshold of two classes, and when to abstain. In: truths. Out: plain figures.

A threshold is chosen on validation, for a metric or for what mistakes cost; its table lets a reader choose another.
"""

from typing import Any

import numpy as np

from danlu.core.errors import Problem, RecipeError
from danlu.evaluation.counts import COUNTED
from danlu.evaluation.curves import thinned
from danlu.evaluation.metric import Metric, Truth, divided
from danlu.evaluation.probabilities import confidence
from danlu.recipe.judging import Costs, Threshold

ROWS = 101  # of the table of thresholds
TABLED = ("accuracy", "balanced-accuracy", "f1", "f1-positive", "precision-positive", "recall-positive", "mcc")


def choose_threshold(wanted: Threshold, truth: Truth) -> float:
    """The threshold that is best on a split; of those as good, the one nearest to a half.

    Raises:
        RecipeError: the metric does not follow from what is answered.
    """
    candidates, counts = counts_by_threshold(truth)
    if wanted.costs is not None:
        merit = -cost_of(wanted.costs, counts)
    else:
        metric = counted_metric(wanted.metric or "f1")
        merit = metric.finish(counts) * (1 if metric.higher_is_better else -1)
    merit = np.where(np.isnan(merit), -np.inf, merit)
    best = np.flatnonzero(merit >= merit.max() - 1e-12)
    return float(candidates[best[np.abs(candidates[best] - 0.5).argmin()]])


def counted_metric(name: str) -> Metric:
    """A metric that a threshold changes."""
    if name not in COUNTED:
        message = f"no threshold can be chosen for {name!r} (allowed: {', '.join(COUNTED)})"
        raise RecipeError(Problem("", "evaluation.threshold.metric", message))
    return COUNTED[name]


def counts_by_threshold(truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Every threshold that answers otherwise than another, [thresholds], with its counts [thresholds, 3, 2].

    They lie half way between two neighbouring probabilities, so that rounding elsewhere changes no answer.
    """
    scores = truth.answers[:, 1].astype(np.float64)
    levels = np.unique(scores)
    between = np.concatenate([[min(0.0, levels[0])], (levels[:-1] + levels[1:]) / 2, [1.0 + 1e-6]])
    return between, _counts_at(truth, scores, between)


def _counts_at(truth: Truth, scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Right, true and answered of both classes at each threshold, [thresholds, 3, 2]."""
    members = np.sort(scores[truth.values == 1])
    others = np.sort(scores[truth.values != 1])
    found = len(members) - np.searchsorted(members, thresholds, side="left")
    wrong = len(others) - np.searchsorted(others, thresholds, side="left")
    right = np.stack([len(others) - wrong, found], axis=1)
    actual = np.broadcast_to([len(others), len(members)], right.shape)
    answered = np.stack([len(scores) - found - wrong, found + wrong], axis=1)
    return np.stack([right, actual, answered], axis=1).astype(np.float64)


def cost_of(costs: Costs, counts: np.ndarray) -> np.ndarray:
    """Mean cost a sample, [...]."""
    right, actual, answered = counts[..., 0, :], counts[..., 1, :], counts[..., 2, :]
    missed, alarms = actual[..., 1] - right[..., 1], answered[..., 1] - right[..., 1]
    return divided(costs.false_negative * missed + costs.false_positive * alarms, actual.sum(-1))


def threshold_table(truth: Truth, costs: Costs | None) -> dict[str, list[float | None]]:
    """What each threshold from 0 to 1 would give on a split, column by column."""
    thresholds = np.linspace(0, 1, ROWS)
    counts = _counts_at(truth, truth.answers[:, 1].astype(np.float64), thresholds)
    right, actual, answered = counts[:, 0], counts[:, 1], counts[:, 2]
    columns: dict[str, np.ndarray] = {
        "threshold": thresholds,
        "true_positives": right[:, 1],
        "false_positives": answered[:, 1] - right[:, 1],
        "false_negatives": actual[:, 1] - right[:, 1],
        "true_negatives": right[:, 0],
        **{name: COUNTED[name].finish(counts) for name in TABLED},
    }
    if costs is not None:
        columns["cost"] = cost_of(costs, counts)
    return {name: [plain(value) for value in column] for name, column in columns.items()}


def abstention(truth: Truth) -> dict[str, Any]:
    """The error of the samples answered, when those of least confidence are left to somebody else.

    Returns:
        `coverage`, `risk` (share of wrong answers among those given) and `confidence` (the least that is answered),
        thinned, and the area under risk over coverage.
    """
    sure = confidence(truth)
    order = np.argsort(-sure, kind="stable")
    wrong = (truth.predicted != truth.values)[order].astype(np.float64)
    count = np.arange(1, len(truth) + 1)
    # Samples of one confidence are answered or left together; in between the risk is a straight line.
    ends = np.flatnonzero(np.append(np.diff(sure[order]) != 0, True))
    coverage, risk = count[ends] / len(truth), (np.cumsum(wrong) / count)[ends]
    kept = thinned(coverage, risk)
    area = float(np.trapezoid(np.append(risk[0], risk), np.append(0.0, coverage)))
    return {
        "coverage": [float(value) for value in coverage[kept]],
        "risk": [float(value) for value in risk[kept]],
        "confidence": [float(value) for value in sure[order][ends][kept]],
        "area": area,
    }


def plain(value: float) -> float | None:
    """A number that JSON can hold; None for NaN."""
    return float(value) if np.isfinite(value) else None
