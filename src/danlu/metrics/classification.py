"""Classification metrics: from counts of true and predicted classes, and from probabilities.

Definitions are scikit-learn's; precision, recall and F of an empty set are 0. Averages are over the classes that occur,
in the truth or among the predictions of the samples that are counted.
"""

from collections.abc import Callable

import numpy as np

from danlu.metrics.base import (
    FROM_ZERO,
    Metric,
    Predictions,
    Statistic,
    StatisticFn,
    mean_statistic,
    ratio,
    safe_divide,
    weighted_bincount,
)

Average = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _prepare(predictions: Predictions) -> StatisticFn:
    """Map weights to [resamples, 3, classes]: correct, true and predicted count of each class."""
    classes = predictions.y_pred.shape[1]
    cells, of_sample = np.unique(predictions.y_true * classes + predictions.predicted_classes, return_inverse=True)
    actual, answered = np.divmod(cells, classes)
    right = actual == answered

    def gather(weights: np.ndarray) -> np.ndarray:
        held = weighted_bincount(of_sample, len(cells), weights)
        parts = (weighted_bincount(actual, classes, held * right), weighted_bincount(actual, classes, held))
        return np.stack([*parts, weighted_bincount(answered, classes, held)], axis=1)

    return gather


COUNTS = Statistic(_prepare, additive=True)


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Compute the share of correct predictions."""
    return safe_divide(counts[..., 0, :].sum(-1), counts[..., 1, :].sum(-1))


def balanced_accuracy(counts: np.ndarray) -> np.ndarray:
    """Compute the mean recall over the classes that occur."""
    right, actual, _ = _split(counts)
    return safe_divide(safe_divide(right, actual, 0.0).sum(-1), (actual > 0).sum(-1))


def precision(right: np.ndarray, actual: np.ndarray, answered: np.ndarray) -> np.ndarray:
    """Compute the share of a class's predictions that are correct."""
    return safe_divide(right, answered, 0.0)


def recall(right: np.ndarray, actual: np.ndarray, answered: np.ndarray) -> np.ndarray:
    """Compute the share of a class's samples that are found."""
    return safe_divide(right, actual, 0.0)


def f_beta(beta: float) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """Return the F-beta score: the harmonic mean of precision and recall, recall weighted by beta."""

    def compute(right: np.ndarray, actual: np.ndarray, answered: np.ndarray) -> np.ndarray:
        return safe_divide((1 + beta**2) * right, beta**2 * actual + answered, 0.0)

    return compute


Score = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
SCORES: dict[str, tuple[Score, str]] = {
    "precision": (precision, "share of a class's answers that are right"),
    "recall": (recall, "share of a class that is found"),
    "f1": (f_beta(1.0), "harmonic mean of precision and recall"),
    "f0.5": (f_beta(0.5), "as f1, with precision counting twice as much as recall"),
    "f2": (f_beta(2.0), "as f1, with recall counting twice as much as precision"),
}


def macro(score: Score) -> Callable[[np.ndarray], np.ndarray]:
    """Average a score over the classes that occur, each with equal weight.

    NaN where none does.
    """

    def compute(counts: np.ndarray) -> np.ndarray:
        occurs = counts[..., 1, :] + counts[..., 2, :] > 0
        # The score of a class that does not occur is 0 and adds nothing.
        return safe_divide(score(*_split(counts)).sum(-1), occurs.sum(-1))

    return compute


def all_labels(score: Score) -> Callable[[np.ndarray], np.ndarray]:
    """Average a score over all labels, whether they occur or not.

    scikit-learn does so for several labels a sample.
    """
    return lambda counts: score(*_split(counts)).mean(-1)


def micro(score: Score) -> Callable[[np.ndarray], np.ndarray]:
    """Compute a score from the summed counts of all classes."""
    return lambda counts: score(*(part.sum(-1) for part in _split(counts)))


def weighted(score: Score) -> Callable[[np.ndarray], np.ndarray]:
    """Average a score over classes, weighted by class size."""

    def compute(counts: np.ndarray) -> np.ndarray:
        actual = counts[..., 1, :]
        return safe_divide((score(*_split(counts)) * actual).sum(-1), actual.sum(-1))

    return compute


def positive_class(score: Score) -> Callable[[np.ndarray], np.ndarray]:
    """Take the score of the second of two classes; NaN with more classes."""

    def compute(counts: np.ndarray) -> np.ndarray:
        found = score(*_split(counts))
        return found[..., 1] if found.shape[-1] == 2 else np.full(found.shape[:-1], np.nan)

    return compute


def matthews_corrcoef(counts: np.ndarray) -> np.ndarray:
    """Compute the Matthews correlation coefficient; 0 if one side has a single class."""
    right, actual, answered = _split(counts)
    total = actual.sum(-1)
    together = right.sum(-1) * total - (actual * answered).sum(-1)
    spread = (total**2 - (actual**2).sum(-1)) * (total**2 - (answered**2).sum(-1))
    return np.where(total > 0, safe_divide(together, np.sqrt(np.maximum(spread, 0.0)), 0.0), np.nan)


def cohen_kappa(counts: np.ndarray) -> np.ndarray:
    """Compute Cohen's kappa; NaN if agreement by chance is certain."""
    right, actual, answered = _split(counts)
    total = actual.sum(-1)
    by_chance = safe_divide((actual * answered).sum(-1), total)
    return 1 - safe_divide(total - right.sum(-1), total - by_chance)


def _split(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return counts[..., 0, :], counts[..., 1, :], counts[..., 2, :]


def _count_metric(
    finish: Callable[[np.ndarray], np.ndarray], meaning: str, bounds: tuple[float, float] = (0.0, 1.0)
) -> Metric:
    return Metric("classification", COUNTS, finish, True, meaning, bounds=bounds)


def _average_metrics() -> dict[str, Metric]:
    ways = (
        ("", macro, ""),
        ("-micro", micro, "; every sample counts alike"),
        ("-weighted", weighted, "; every class by its size"),
        ("-positive", positive_class, "; of the positive one of two classes"),
    )
    return {
        f"{name}{suffix}": _count_metric(way(score), meaning + said)
        for suffix, way, said in ways
        for name, (score, meaning) in SCORES.items()
    }


COUNT_METRICS: dict[str, Metric] = {
    "accuracy": _count_metric(accuracy, "share answered rightly"),
    "balanced-accuracy": _count_metric(balanced_accuracy, "mean recall of the classes"),
    **_average_metrics(),
    "mcc": _count_metric(matthews_corrcoef, "Matthews' correlation of answers and truth, from -1 to 1", (-1.0, 1.0)),
    "kappa": _count_metric(cohen_kappa, "Cohen's kappa: agreement beyond chance", (-1.0, 1.0)),
}

CALIBRATION_BINS = 15  # of calibration error, of equal width (Guo et al. 2017, https://arxiv.org/abs/1706.04599)


def log_losses(predictions: Predictions) -> np.ndarray:
    """Compute -log of the true class's probability, [samples], clipped by the dtype's epsilon."""
    smallest = float(np.finfo(predictions.y_pred.dtype).eps)
    chosen = predictions.y_pred[np.arange(len(predictions)), predictions.y_true].astype(np.float64)
    return np.asarray(-np.log(np.clip(chosen, smallest, 1 - smallest)))


def brier_scores(predictions: Predictions) -> np.ndarray:
    """Compute the Brier score per sample, halved for two classes, [samples]."""
    wrong = predictions.y_pred.astype(np.float64, copy=True)
    wrong[np.arange(len(predictions)), predictions.y_true] -= 1.0
    # With two classes only the second counts, as in the literature and scikit-learn.
    return wrong[:, 1] ** 2 if wrong.shape[1] == 2 else (wrong**2).sum(axis=1)


def in_top_k(most: int) -> Callable[[Predictions], np.ndarray]:
    """Return a function that tests whether the true class is in the top k, [samples].

    It gives NaN if there are no more than k classes.
    """

    def compute(predictions: Predictions) -> np.ndarray:
        if predictions.y_pred.shape[1] <= most:
            return np.full(len(predictions), np.nan)
        best = np.argsort(predictions.y_pred, axis=1, kind="stable")[:, : -most - 1 : -1]
        return np.asarray((best == predictions.y_true[:, None]).any(axis=1), dtype=np.float64)

    return compute


def confidence(predictions: Predictions) -> np.ndarray:
    """Return the probability of the predicted class, [samples]."""
    return np.asarray(predictions.y_pred[np.arange(len(predictions)), predictions.predicted_classes], dtype=np.float64)


def _calibration_gaps(predictions: Predictions) -> StatisticFn:
    """Map weights to [resamples, bins + 1]: accuracy minus confidence per bin, and total weight."""
    sure = confidence(predictions)
    gap = (predictions.predicted_classes == predictions.y_true) - sure
    bins = np.clip(np.ceil(sure * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)

    def gather(weights: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [weighted_bincount(bins, CALIBRATION_BINS, weights * gap), weights.sum(axis=1, keepdims=True)], axis=1
        )

    return gather


def _calibration_error(found: np.ndarray) -> np.ndarray:
    return safe_divide(np.abs(found[..., :-1]).sum(-1), found[..., -1])


def _mean(
    terms: Callable[[Predictions], np.ndarray],
    higher_is_better: bool,
    meaning: str,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Metric:
    return Metric("classification", mean_statistic(terms), ratio, higher_is_better, meaning, bounds=bounds)


def confusion_matrix(classes: int, predictions: Predictions) -> list[list[int]]:
    """Count the samples of each class (row) predicted as each class (column)."""
    places = predictions.y_true * classes + predictions.predicted_classes
    counts = np.bincount(places, minlength=classes * classes).reshape(classes, classes)
    return [[int(count) for count in row] for row in counts]


PROBABILITY_METRICS: dict[str, Metric] = {
    "log-loss": _mean(log_losses, False, "cost of the probabilities given, in nats", FROM_ZERO),
    "brier": _mean(brier_scores, False, "mean squared distance of the probabilities from the truth", FROM_ZERO),
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
