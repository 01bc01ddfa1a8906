"""Metrics of predicted probabilities: proper scores, calibration and top-k accuracy."""

from collections.abc import Callable

import numpy as np

from danlu.evaluation.metric import Metric, Statistic, Predictions, StatisticFn, safe_divide, mean_statistic, ratio, weighted_bincount

CALIBRATION_BINS = 15  # of calibration error, of equal width (Guo et al. 2017, https://arxiv.org/abs/1706.04599)


def log_losses(truth: Predictions) -> np.ndarray:
    """Compute -log of the true class's probability, [samples], clipped by the dtype's epsilon."""
    smallest = float(np.finfo(truth.y_pred.dtype).eps)
    chosen = truth.y_pred[np.arange(len(truth)), truth.y_true].astype(np.float64)
    return np.asarray(-np.log(np.clip(chosen, smallest, 1 - smallest)))


def brier_scores(truth: Predictions) -> np.ndarray:
    """Compute the Brier score per sample, halved for two classes, [samples]."""
    wrong = truth.y_pred.astype(np.float64, copy=True)
    wrong[np.arange(len(truth)), truth.y_true] -= 1.0
    # With two classes only the second counts, as in the literature and scikit-learn.
    return wrong[:, 1] ** 2 if wrong.shape[1] == 2 else (wrong**2).sum(axis=1)


def in_top_k(most: int) -> Callable[[Predictions], np.ndarray]:
    """Return a function that tests whether the true class is in the top k, [samples].

    It gives NaN if there are no more than k classes.
    """

    def compute(truth: Predictions) -> np.ndarray:
        if truth.y_pred.shape[1] <= most:
            return np.full(len(truth), np.nan)
        best = np.argsort(truth.y_pred, axis=1, kind="stable")[:, : -most - 1 : -1]
        return np.asarray((best == truth.y_true[:, None]).any(axis=1), dtype=np.float64)

    return compute


def confidence(truth: Predictions) -> np.ndarray:
    """Return the probability of the predicted class, [samples]."""
    return np.asarray(truth.y_pred[np.arange(len(truth)), truth.predicted_classes], dtype=np.float64)


def _calibration_gaps(truth: Predictions) -> StatisticFn:
    """Map weights to [resamples, bins + 1]: accuracy minus confidence per bin, and total weight."""
    sure = confidence(truth)
    gap = (truth.predicted_classes == truth.y_true) - sure
    bins = np.clip(np.ceil(sure * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)

    def gather(weights: np.ndarray) -> np.ndarray:
        return np.concatenate([weighted_bincount(bins, CALIBRATION_BINS, weights * gap), weights.sum(axis=1, keepdims=True)], axis=1)

    return gather


def _calibration_error(found: np.ndarray) -> np.ndarray:
    return safe_divide(np.abs(found[..., :-1]).sum(-1), found[..., -1])


def _mean(terms: Callable[[Predictions], np.ndarray], higher_is_better: bool, meaning: str) -> Metric:
    return Metric("classification", mean_statistic(terms), ratio, higher_is_better, meaning)


PROBABILITY_METRICS: dict[str, Metric] = {
    "log-loss": _mean(log_losses, False, "cost of the probabilities given, in nats"),
    "brier": _mean(brier_scores, False, "mean squared distance of the probabilities from the truth"),
    "calibration-error": Metric(
        "classification",
        Statistic(_calibration_gaps, additive=True),
        _calibration_error,
        False,
        f"how far confidence is from the share of right answers, in {CALIBRATION_BINS} bins",
    ),
    "top-3-accuracy": _mean(in_top_k(3), True, "share whose class is among the three likeliest"),
    "top-5-accuracy": _mean(in_top_k(5), True, "share whose class is among the five likeliest"),
}
