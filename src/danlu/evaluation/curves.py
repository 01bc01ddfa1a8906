"""Points of ROC, precision-recall, reliability and risk-coverage curves, few enough to be stored and drawn.

In: predictions. Out: plain lists. Curves are downsampled where a left-out point would not be visible.
"""

from typing import Any

import numpy as np

from danlu.metrics.base import Predictions
from danlu.metrics.classification import CALIBRATION_BINS, confidence

MAX_POINTS = 200
MAX_CURVES = 20  # classes with curves


def roc_curve(scores: np.ndarray, member: np.ndarray) -> dict[str, list[float]]:
    """Compute `false_positive_rate`, `true_positive_rate` and `threshold`, from (0, 0) to (1, 1)."""
    levels, found, wrong = _counts_above(scores, member)
    x = np.append(0.0, wrong / max(1, wrong[-1]))
    y = np.append(0.0, found / max(1, found[-1]))
    kept = downsample(x, y)
    return {
        "false_positive_rate": _list(x[kept]),
        "true_positive_rate": _list(y[kept]),
        "threshold": _list(np.append(1.0, levels)[kept]),
    }


def precision_recall_curve(scores: np.ndarray, member: np.ndarray) -> dict[str, list[float]]:
    """Compute `recall`, `precision` and `threshold`, from the highest threshold to the lowest."""
    levels, found, wrong = _counts_above(scores, member)
    recall, precision = found / max(1, found[-1]), found / np.maximum(found + wrong, 1)
    kept = downsample(recall, precision)
    return {"recall": _list(recall[kept]), "precision": _list(precision[kept]), "threshold": _list(levels[kept])}


def reliability_curve(predictions: Predictions) -> dict[str, list[float]]:
    """Compute mean `confidence`, `accuracy` and `count` of each non-empty confidence bin.

    With two classes, confidence is the probability of the second class and accuracy its share of the samples.
    """
    two = predictions.y_pred.shape[1] == 2
    sure = predictions.y_pred[:, 1].astype(np.float64) if two else confidence(predictions)
    right = predictions.y_true == (1 if two else predictions.predicted_classes)
    bins = np.clip(np.ceil(sure * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    count = np.bincount(bins, minlength=CALIBRATION_BINS)
    there = count > 0
    mean = [
        np.bincount(bins, weights=values, minlength=CALIBRATION_BINS)[there] / count[there] for values in (sure, right)
    ]
    return {"confidence": _list(mean[0]), "accuracy": _list(mean[1]), "count": [int(each) for each in count[there]]}


def classification_curves(predictions: Predictions, labels: tuple[Any, ...]) -> dict[str, Any]:
    """Compute ROC and precision-recall curves per class (of two, the second), and the reliability curve."""
    classes = [1] if len(labels) == 2 else range(min(len(labels), MAX_CURVES))
    found: dict[str, Any] = {"roc": {}, "precision_recall": {}, "calibration": reliability_curve(predictions)}
    for index in classes:
        member = predictions.y_true == index
        if 0 < member.sum() < len(member):
            scores = predictions.y_pred[:, index].astype(np.float64)
            found["roc"][str(labels[index])] = roc_curve(scores, member)
            found["precision_recall"][str(labels[index])] = precision_recall_curve(scores, member)
    return found


def risk_coverage(predictions: Predictions) -> dict[str, Any]:
    """Compute the risk-coverage curve: the error rate when the least confident samples are left out.

    Returns:
        `coverage`, `risk` (share of wrong predictions among those given) and `confidence` (the lowest answered),
        downsampled, and the `area` under risk over coverage.
    """
    sure = confidence(predictions)
    order = np.argsort(-sure, kind="stable")
    wrong = (predictions.predicted_classes != predictions.y_true)[order].astype(np.float64)
    count = np.arange(1, len(predictions) + 1)
    # Samples of equal confidence are kept or left out together; in between the risk is interpolated linearly.
    ends = np.flatnonzero(np.append(np.diff(sure[order]) != 0, True))
    coverage, risk = count[ends] / len(predictions), (np.cumsum(wrong) / count)[ends]
    kept = downsample(coverage, risk)
    area = float(np.trapezoid(np.append(risk[0], risk), np.append(0.0, coverage)))
    return {
        "coverage": [float(value) for value in coverage[kept]],
        "risk": [float(value) for value in risk[kept]],
        "confidence": [float(value) for value in sure[order][ends][kept]],
        "area": area,
    }


def downsample(x: np.ndarray, y: np.ndarray, most: int = MAX_POINTS) -> np.ndarray:
    """Choose points so that the line through them stays closest to the curve.

    Points are added by importance (Douglas and Peucker 1973, https://doi.org/10.3138/FM57-6770-U75U-7727): always the
    one furthest, vertically, from the line so far.
    """
    if len(x) <= most:
        return np.arange(len(x))
    kept = {0, len(x) - 1}
    waiting = [_furthest(x, y, 0, len(x) - 1)]
    while waiting and len(kept) < most:
        waiting.sort()
        distance, first, place, last = waiting.pop()
        if distance <= 0:
            break
        kept.add(place)
        waiting += [_furthest(x, y, start, end) for start, end in ((first, place), (place, last)) if end - start > 1]
    return np.array(sorted(kept))


def _furthest(x: np.ndarray, y: np.ndarray, first: int, last: int) -> tuple[float, int, int, int]:
    """Return the distance of the point furthest from a segment, and its position."""
    along, up = x[last] - x[first], y[last] - y[first]
    length = float(np.hypot(along, up)) or 1.0
    inner = slice(first + 1, last)
    distance = np.abs(along * (y[inner] - y[first]) - up * (x[inner] - x[first])) / length
    place = int(distance.argmax())
    return float(distance[place]), first, first + 1 + place, last


def _counts_above(scores: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count members and others at or above each distinct score, highest score first."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    found = np.cumsum(member[order])[ends]
    return scores[order][ends], found, ends + 1 - found


def _list(values: np.ndarray) -> list[float]:
    return [float(value) for value in values]
