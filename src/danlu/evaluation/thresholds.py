"""Decision thresholds of two classes. In: predictions. Out: plain values.

The threshold is chosen on validation, for a metric or for the cost of mistakes; a table shows all other thresholds.
"""

import numpy as np

from danlu.errors import Problem, RecipeError
from danlu.metrics.base import Metric, Predictions, safe_divide
from danlu.metrics.classification import COUNT_METRICS
from danlu.recipe.sections.evaluation import Costs, Threshold

TABLE_ROWS = 101  # of the threshold table
TABLE_METRICS = ("accuracy", "balanced-accuracy", "f1", "f1-positive", "precision-positive", "recall-positive", "mcc")


def choose_threshold(wanted: Threshold, predictions: Predictions) -> float:
    """Choose the best threshold on a split; break ties towards 0.5.

    Raises:
        RecipeError: the metric does not depend on the predicted class.
    """
    candidates, counts = counts_by_threshold(predictions)
    if wanted.costs is not None:
        merit = -mean_cost(wanted.costs, counts)
    else:
        metric = threshold_metric(wanted.metric or "f1")
        merit = metric.finalize(counts) * (1 if metric.higher_is_better else -1)
    merit = np.where(np.isnan(merit), -np.inf, merit)
    best = np.flatnonzero(merit >= merit.max() - 1e-12)
    return float(candidates[best[np.abs(candidates[best] - 0.5).argmin()]])


def threshold_metric(name: str) -> Metric:
    """Return a metric that depends on the threshold."""
    if name not in COUNT_METRICS:
        message = f"no threshold can be chosen for {name!r} (allowed: {', '.join(COUNT_METRICS)})"
        raise RecipeError(Problem("", "evaluation.threshold.metric", message, code="DL117"))
    return COUNT_METRICS[name]


def counts_by_threshold(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Return the thresholds that give distinct predictions, [thresholds], and their counts, [thresholds, 3, 2].

    Each lies halfway between two neighbouring probabilities, so that rounding elsewhere changes no prediction.
    """
    scores = predictions.y_pred[:, 1].astype(np.float64)
    levels = np.unique(scores)
    between = np.concatenate([[min(0.0, levels[0])], (levels[:-1] + levels[1:]) / 2, [1.0 + 1e-6]])
    return between, _counts_at(predictions, scores, between)


def _counts_at(predictions: Predictions, scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Count correct, true and predicted of both classes at each threshold, [thresholds, 3, 2]."""
    members = np.sort(scores[predictions.y_true == 1])
    others = np.sort(scores[predictions.y_true != 1])
    found = len(members) - np.searchsorted(members, thresholds, side="left")
    wrong = len(others) - np.searchsorted(others, thresholds, side="left")
    right = np.stack([len(others) - wrong, found], axis=1)
    actual = np.broadcast_to([len(others), len(members)], right.shape)
    answered = np.stack([len(scores) - found - wrong, found + wrong], axis=1)
    return np.stack([right, actual, answered], axis=1).astype(np.float64)


def mean_cost(costs: Costs, counts: np.ndarray) -> np.ndarray:
    """Compute the mean cost per sample, [...]."""
    right, actual, answered = counts[..., 0, :], counts[..., 1, :], counts[..., 2, :]
    missed, alarms = actual[..., 1] - right[..., 1], answered[..., 1] - right[..., 1]
    return safe_divide(costs.false_negative * missed + costs.false_positive * alarms, actual.sum(-1))


def threshold_table(predictions: Predictions, costs: Costs | None) -> dict[str, list[float | None]]:
    """Tabulate counts and metrics for thresholds from 0 to 1, column by column."""
    thresholds = np.linspace(0, 1, TABLE_ROWS)
    counts = _counts_at(predictions, predictions.y_pred[:, 1].astype(np.float64), thresholds)
    right, actual, answered = counts[:, 0], counts[:, 1], counts[:, 2]
    columns: dict[str, np.ndarray] = {
        "threshold": thresholds,
        "true_positives": right[:, 1],
        "false_positives": answered[:, 1] - right[:, 1],
        "false_negatives": actual[:, 1] - right[:, 1],
        "true_negatives": right[:, 0],
        **{name: COUNT_METRICS[name].finalize(counts) for name in TABLE_METRICS},
    }
    if costs is not None:
        columns["cost"] = mean_cost(costs, counts)
    return {name: [json_number(value) for value in column] for name, column in columns.items()}


def json_number(value: float) -> float | None:
    """Convert a number for JSON; NaN and infinity become None."""
    return float(value) if np.isfinite(value) else None
