"""Multi-label metrics: truth and probabilities are [samples, labels]; a label is predicted from 0.5 on."""

from collections.abc import Callable

import numpy as np

from danlu.data.targets import GIVEN
from danlu.evaluation import counts
from danlu.evaluation.metric import Metric, Truth, divided, mean_of, ratio, sums
from danlu.evaluation.ranking import AREA, LABELS, PRECISION, over_defined

BLOCK = 1 << 22  # entries of [samples, labels, labels] compared at a time


def given(truth: Truth) -> np.ndarray:
    """Return which labels are predicted, [samples, labels] bool."""
    return np.asarray(truth.answers >= (GIVEN if truth.threshold is None else truth.threshold))


def _terms(truth: Truth) -> np.ndarray:
    """Stack correct, true and predicted labels, [samples, 3 * labels]."""
    there, said = truth.values == 1, given(truth)
    return np.concatenate([there & said, there, said], axis=1)


def label_counts(found: np.ndarray) -> np.ndarray:
    """Reshape to the counts of classes, [resamples, 3, labels]."""
    return found.reshape(len(found), 3, -1)


def _counted(finish: Callable[[np.ndarray], np.ndarray], meaning: str) -> Metric:
    return Metric("multi-label", LABEL_COUNTS, lambda found: finish(label_counts(found)), True, meaning)


def _whole(truth: Truth) -> np.ndarray:
    return np.asarray(((truth.values == 1) == given(truth)).all(axis=1))


def _wrong_share(truth: Truth) -> np.ndarray:
    return np.asarray(((truth.values == 1) != given(truth)).mean(axis=1))


def ranking_precision(truth: Truth) -> np.ndarray:
    """Compute scikit-learn's label_ranking_average_precision_score per sample, [samples].

    The mean over a sample's true labels of the share of true ones among those ranked as high. A sample with no label,
    or with all of them, scores 1.
    """
    there, scores = truth.values == 1, truth.answers
    found, step = np.ones(len(truth)), max(1, BLOCK // max(1, scores.shape[1] ** 2))
    for start in range(0, len(truth), step):
        own, score = there[start : start + step], scores[start : start + step]
        as_high = score[:, None, :] >= score[:, :, None]
        share = (as_high & own[:, None, :]).sum(-1) / as_high.sum(-1)
        count = own.sum(-1)
        mean = divided((share * own).sum(-1), count, 1.0)
        found[start : start + step] = np.where(count == own.shape[1], 1.0, mean)
    return found


LABEL_COUNTS = sums(_terms)
OF_LABELS: dict[str, Metric] = {
    "subset-accuracy": Metric("multi-label", mean_of(_whole), ratio, True, "share of samples with every label right"),
    "hamming-loss": Metric("multi-label", mean_of(_wrong_share), ratio, False, "share of labels that are wrong"),
    "label-f1": _counted(counts.macro(counts.f_beta(1.0)), "mean F1 of the labels"),
    "label-f1-micro": _counted(counts.micro(counts.f_beta(1.0)), "F1 of all labels together"),
    "label-precision": _counted(counts.macro(counts.precision), "mean precision of the labels"),
    "label-recall": _counted(counts.macro(counts.recall), "mean recall of the labels"),
    "label-auroc": Metric(
        "multi-label", LABELS, over_defined(AREA), True, "mean area under ROC of the labels that occur"
    ),
    "mean-average-precision": Metric(
        "multi-label", LABELS, over_defined(PRECISION), True, "mean average precision of the labels that occur"
    ),
    "label-ranking-precision": Metric(
        "multi-label", mean_of(ranking_precision), ratio, True, "share of true labels among those ranked as high"
    ),
}
