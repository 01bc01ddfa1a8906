"""Cross-validation figures: mean, deviation and interval over folds, and out-of-fold metrics of all rows.

In: each fold's predictions. Out: plain values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from danlu.evaluation.intervals import Resampling, values_with_intervals
from danlu.metrics.base import Metric, Predictions, compute_values
from danlu.tasks.metric_table import metric_bounds


@dataclass(frozen=True)
class FoldResult:
    """Hold the predictions of one fold.

    Attributes:
        repeat: the index of the repetition.
        train_rows: number of training rows.
        predictions: of its test rows.
    """

    repeat: int
    train_rows: int
    predictions: Predictions


def evaluate_folds(
    metrics: Mapping[str, Metric], folds: Sequence[FoldResult], how: Resampling | None
) -> dict[str, Any]:
    """Compute all figures of a cross-validation.

    Args:
        how: None for no intervals.

    Returns:
        metrics: metric -> mean, std, low, high and the values of every fold; out_of_fold: metric -> value, low, high
        on the rows of the first repetition, each predicted by a model that has not seen it.
    """
    values = [compute_values(metrics, fold.predictions) for fold in folds]
    found: dict[str, Any] = {}
    for name in metrics:
        column = np.array([value[name] for value in values])
        if np.isfinite(column).all():
            found[name] = _summarize_folds(name, column, folds, 0.95 if how is None else how.confidence)
    first = [fold.predictions for fold in folds if fold.repeat == 0]
    return {"metrics": found, "out_of_fold": values_with_intervals(metrics, concat_predictions(first), how)}


def _summarize_folds(name: str, values: np.ndarray, folds: Sequence[FoldResult], confidence: float) -> dict[str, Any]:
    """Compute mean, deviation and interval of the mean, clipped to the metric's bounds.

    Training sets of folds overlap, so the variance of their mean is larger than their variance over their number: the
    ratio of test to training rows is added (Nadeau and Bengio 2003, https://doi.org/10.1023/A:1024068626366).
    """
    from scipy.special import stdtrit

    count, mean, std = len(values), float(values.mean()), float(values.std(ddof=1))
    tested = np.mean([len(fold.predictions) for fold in folds]) / np.mean([fold.train_rows for fold in folds])
    half = float(stdtrit(count - 1, (1 + confidence) / 2)) * std * float(np.sqrt(1 / count + tested))
    least, most = metric_bounds(name)
    low, high = max(least, mean - half), min(most, mean + half)
    return {"mean": mean, "std": std, "low": low, "high": high, "values": [float(v) for v in values]}


def concat_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Concatenate predictions of several folds.

    A common threshold does not exist: each row keeps the class that its own fold's threshold predicted.
    """
    sizes = [part.text_bytes for part in parts if part.text_bytes is not None]
    groups = [part.groups for part in parts if part.groups is not None]
    bounds = [part.bounds for part in parts if part.bounds is not None]
    thresholds = any(part.threshold is not None for part in parts)
    return Predictions(
        np.concatenate([part.y_true for part in parts]),
        np.concatenate([part.y_pred for part in parts]),
        np.concatenate(sizes) if sizes else None,
        groups=np.concatenate(groups) if groups else None,
        decided=np.concatenate([part.predicted_classes for part in parts]) if thresholds else None,
        bounds=np.concatenate(bounds) if bounds else None,
    )
