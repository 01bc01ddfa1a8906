"""Figures over folds: mean, deviation, and the interval of Nadeau and Bengio, by hand."""

import math

import numpy as np
import pytest

from danlu.core.seeds import Seed
from danlu.evaluation.cross_validation import FoldResult, concat_predictions, evaluate_folds
from danlu.evaluation.intervals import Resampling
from danlu.metrics.base import Predictions
from danlu.tasks.metric_table import METRICS

T_3 = 3.182446305284263  # 97.5 % of Student's t with 3 degrees of freedom, as printed tables have it
T_3_OF_90 = 2.3533634348018264


def fold(right: int, tested: int, trained_on: int, repeat: int = 0) -> FoldResult:
    """So many of `tested` answered rightly."""
    answers = np.tile([[1.0, 0.0]], (tested, 1))
    values = np.array([0] * right + [1] * (tested - right))
    return FoldResult(repeat, trained_on, Predictions(values, answers))


def accuracy_of(folds: list[FoldResult], confidence: float = 0.95) -> dict[str, object]:
    how = Resampling(Seed(0), confidence, 100)
    found = evaluate_folds({"accuracy": METRICS["accuracy"]}, folds, how)
    accuracy: dict[str, object] = found["metrics"]["accuracy"]
    return accuracy


@pytest.mark.parametrize(("confidence", "quantile"), [(0.95, T_3), (0.9, T_3_OF_90)])
def test_the_interval_counts_the_rows_that_folds_share(confidence: float, quantile: float) -> None:
    found = accuracy_of([fold(right, 10, 90) for right in (6, 7, 8, 9)], confidence)
    deviation = math.sqrt((0.15**2 + 0.05**2 + 0.05**2 + 0.15**2) / 3)
    half = quantile * deviation * math.sqrt(1 / 4 + 10 / 90)
    assert found["values"] == pytest.approx([0.6, 0.7, 0.8, 0.9])
    assert found["mean"] == pytest.approx(0.75) and found["std"] == pytest.approx(deviation)
    assert found["low"] == pytest.approx(0.75 - half) and found["high"] == pytest.approx(0.75 + half)


def test_unequal_folds_count_with_their_mean_sizes() -> None:
    sizes = [(10, 90), (10, 90), (20, 80), (20, 60)]
    found = accuracy_of([fold(right, tested, trained) for right, (tested, trained) in zip((6, 7, 16, 18), sizes)])  # noqa: B905
    deviation = math.sqrt((0.15**2 + 0.05**2 + 0.05**2 + 0.15**2) / 3)
    half = T_3 * deviation * math.sqrt(1 / 4 + 15 / 80)
    assert found["low"] == pytest.approx(0.75 - half)


def test_an_interval_stays_where_its_metric_can_be() -> None:
    found = accuracy_of([fold(right, 10, 10) for right in (1, 10, 10, 10)])
    assert (found["low"], found["high"]) == (0.0, 1.0)


def test_without_resampling_the_interval_is_of_95_percent() -> None:
    folds = [fold(right, 10, 90) for right in (6, 7, 8, 9)]
    plain = evaluate_folds({"accuracy": METRICS["accuracy"]}, folds, None)
    assert plain["metrics"]["accuracy"] == accuracy_of(folds)
    assert plain["out_of_fold"] == {"accuracy": {"value": pytest.approx(0.75)}}


def test_out_of_fold_figures_are_of_the_first_round_alone() -> None:
    folds = [fold(6, 10, 10), fold(8, 10, 10), fold(0, 10, 10, repeat=1), fold(0, 10, 10, repeat=1)]
    found = evaluate_folds({"accuracy": METRICS["accuracy"]}, folds, None)
    assert found["out_of_fold"]["accuracy"]["value"] == pytest.approx(0.7)
    assert found["metrics"]["accuracy"]["mean"] == pytest.approx(0.35)


def test_a_metric_that_one_fold_lacks_is_left_out() -> None:
    one_class = FoldResult(0, 10, Predictions(np.zeros(4, dtype=np.int64), np.tile([[0.7, 0.3]], (4, 1))))
    found = evaluate_folds({"auroc": METRICS["auroc"]}, [one_class, one_class], None)
    assert found["metrics"] == {}


def test_rows_behind_one_another_keep_their_folds_thresholds_and_groups() -> None:
    answers = np.array([[0.7, 0.3], [0.4, 0.6]])
    one = Predictions(np.array([0, 1]), answers, threshold=0.2, groups=np.array([1, 2]))
    other = Predictions(np.array([0, 1]), answers, threshold=0.65, groups=np.array([3, 3]))
    both = concat_predictions([one, other])
    assert both.predicted_classes.tolist() == [1, 1, 0, 0]
    assert both.groups is not None and both.groups.tolist() == [1, 2, 3, 3]
    assert len(both) == 4 and both.text_bytes is None
