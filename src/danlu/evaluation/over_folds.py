"""Figures of cross-validation: of each fold, their mean, deviation and interval, and of all rows out of their folds.

In: each fold's truth. Out: plain figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from danlu.evaluation.intervals import Resampling, with_intervals
from danlu.evaluation.metric import Metric, Truth, figures_of
from danlu.evaluation.metrics import possible


@dataclass(frozen=True)
class Fold:
    """One fold's answers.

    Attributes:
        repeat: the round that it is of.
        trained_on: how many rows it learned from.
        truth: the rows that it was tested on.
    """

    repeat: int
    trained_on: int
    truth: Truth


def judge_folds(metrics: Mapping[str, Metric], folds: Sequence[Fold], how: Resampling | None) -> dict[str, Any]:
    """All figures of a cross-validation.

    Args:
        how: None for no intervals.

    Returns:
        metrics: metric -> mean, std, low, high and the values of every fold; out_of_fold: metric -> value, low, high
        of the first round's rows, each answered by a model that has not seen it.
    """
    values = [figures_of(metrics, fold.truth) for fold in folds]
    found: dict[str, Any] = {}
    for name in metrics:
        column = np.array([value[name] for value in values])
        if np.isfinite(column).all():
            found[name] = _over_folds(name, column, folds, 0.95 if how is None else how.confidence)
    first = [fold.truth for fold in folds if fold.repeat == 0]
    return {"metrics": found, "out_of_fold": with_intervals(metrics, joined(first), how)}


def _over_folds(name: str, values: np.ndarray, folds: Sequence[Fold], confidence: float) -> dict[str, Any]:
    """Mean, deviation and interval of the mean, as far as the metric can go.

    Folds share most of what they learn from, so that their mean varies more than the deviation over their number says:
    by the share of tested to trained rows besides (Nadeau and Bengio 2003).
    """
    from scipy.special import stdtrit

    count, mean, std = len(values), float(values.mean()), float(values.std(ddof=1))
    tested = np.mean([len(fold.truth) for fold in folds]) / np.mean([fold.trained_on for fold in folds])
    half = float(stdtrit(count - 1, (1 + confidence) / 2)) * std * float(np.sqrt(1 / count + tested))
    least, most = possible(name)
    low, high = max(least, mean - half), min(most, mean + half)
    return {"mean": mean, "std": std, "low": low, "high": high, "values": [float(v) for v in values]}


def joined(truths: Sequence[Truth]) -> Truth:
    """Several truths behind one another; folds' thresholds are in what each answered, so none is kept but a common."""
    sizes = [truth.text_bytes for truth in truths if truth.text_bytes is not None]
    groups = [truth.groups for truth in truths if truth.groups is not None]
    whole = Truth(
        np.concatenate([truth.values for truth in truths]),
        np.concatenate([truth.answers for truth in truths]),
        np.concatenate(sizes) if sizes else None,
        groups=np.concatenate(groups) if groups else None,
    )
    if any(truth.threshold is not None for truth in truths):
        # Each row was answered by its own fold's threshold.
        whole.__dict__["predicted"] = np.concatenate([truth.predicted for truth in truths])
    return whole
