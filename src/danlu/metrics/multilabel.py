"""Multi-label metrics: truth and probabilities are [samples, labels]; a label is predicted from 0.5 on."""

from collections.abc import Callable

import numpy as np

from danlu.metrics import classification as counts
from danlu.metrics.base import Metric, Predictions, mean_statistic, ratio, safe_divide, sum_statistic
from danlu.metrics.ranking import AUROC, AVERAGE_PRECISION, PER_LABEL, average_defined_area

MULTI_LABEL_THRESHOLD = 0.5  # probability from which a label is predicted
BLOCK = 1 << 22  # entries of [samples, labels, labels] compared at a time


def predicted_labels(predictions: Predictions) -> np.ndarray:
    """Return which labels are predicted, [samples, labels] bool."""
    return np.asarray(
        predictions.y_pred >= (MULTI_LABEL_THRESHOLD if predictions.threshold is None else predictions.threshold)
    )


def _label_terms(predictions: Predictions) -> np.ndarray:
    """Stack correct, true and predicted labels, [samples, 3 * labels]."""
    there, said = predictions.y_true == 1, predicted_labels(predictions)
    return np.concatenate([there & said, there, said], axis=1)


def label_counts(found: np.ndarray) -> np.ndarray:
    """Reshape to the counts of classes, [resamples, 3, labels]."""
    return found.reshape(len(found), 3, -1)


def _label_metric(finish: Callable[[np.ndarray], np.ndarray], meaning: str) -> Metric:
    return Metric("multi-label", LABEL_COUNTS, lambda found: finish(label_counts(found)), True, meaning)


def _all_labels_right(predictions: Predictions) -> np.ndarray:
    return np.asarray(((predictions.y_true == 1) == predicted_labels(predictions)).all(axis=1))


def _wrong_label_share(predictions: Predictions) -> np.ndarray:
    return np.asarray(((predictions.y_true == 1) != predicted_labels(predictions)).mean(axis=1))


def label_ranking_precision(predictions: Predictions) -> np.ndarray:
    """Compute scikit-learn's label_ranking_average_precision_score per sample, [samples].

    The mean over a sample's true labels of the share of true ones among those ranked as high. A sample with no label,
    or with all of them, scores 1.
    """
    there, scores = predictions.y_true == 1, predictions.y_pred
    found, step = np.ones(len(predictions)), max(1, BLOCK // max(1, scores.shape[1] ** 2))
    for start in range(0, len(predictions), step):
        own, score = there[start : start + step], scores[start : start + step]
        as_high = score[:, None, :] >= score[:, :, None]
        share = (as_high & own[:, None, :]).sum(-1) / as_high.sum(-1)
        count = own.sum(-1)
        mean = safe_divide((share * own).sum(-1), count, 1.0)
        found[start : start + step] = np.where(count == own.shape[1], 1.0, mean)
    return found


LABEL_COUNTS = sum_statistic(_label_terms)
MULTILABEL_METRICS: dict[str, Metric] = {
    "subset-accuracy": Metric(
        "multi-label", mean_statistic(_all_labels_right), ratio, True, "share of samples with every label right"
    ),
    "hamming-loss": Metric(
        "multi-label", mean_statistic(_wrong_label_share), ratio, False, "share of labels that are wrong"
    ),
    "label-f1": _label_metric(counts.all_labels(counts.f_beta(1.0)), "mean F1 of the labels"),
    "label-f1-micro": _label_metric(counts.micro(counts.f_beta(1.0)), "F1 of all labels together"),
    "label-precision": _label_metric(counts.all_labels(counts.precision), "mean precision of the labels"),
    "label-recall": _label_metric(counts.all_labels(counts.recall), "mean recall of the labels"),
    "label-auroc": Metric(
        "multi-label", PER_LABEL, average_defined_area(AUROC), True, "mean area under ROC of the labels that occur"
    ),
    "mean-average-precision": Metric(
        "multi-label",
        PER_LABEL,
        average_defined_area(AVERAGE_PRECISION),
        True,
        "mean average precision of the labels that occur",
    ),
    "label-ranking-precision": Metric(
        "multi-label",
        mean_statistic(label_ranking_precision),
        ratio,
        True,
        "share of true labels among those ranked as high",
    ),
}
