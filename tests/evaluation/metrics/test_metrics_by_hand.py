"""Metrics by hand where a library's agreement would not tell which way round it is."""

import math

import numpy as np
import pytest

from danlu.evaluation.intervals import mcnemar_test
from danlu.metrics.base import Predictions
from danlu.tasks.metric_table import METRICS, is_higher_better, metric_bounds, resolve_metrics
from danlu.tasks.table import get_task


def two(scores: list[float], values: list[int], threshold: float | None = None) -> Predictions:
    second = np.array(scores)
    return Predictions(np.array(values), np.stack([1 - second, second], axis=1), threshold=threshold)


def figure(name: str, truth: Predictions) -> float:
    return METRICS[name].compute(truth)


def test_figures_of_answers() -> None:
    # Answers 1 1 1 0 0 against 1 1 0 1 0: of the ones 2 are right of 3 answered and 3 true, of the zeros 1 of 2 and 2.
    truth = two([0.9, 0.8, 0.7, 0.2, 0.1], [1, 1, 0, 1, 0])
    assert figure("accuracy", truth) == pytest.approx(0.6)
    assert figure("balanced-accuracy", truth) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert figure("f1", truth) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert figure("f1-weighted", truth) == pytest.approx((3 * 2 / 3 + 2 * 1 / 2) / 5)
    assert figure("f1-micro", truth) == pytest.approx(0.6)
    assert figure("f1-positive", truth) == pytest.approx(2 / 3)
    assert figure("mcc", truth) == pytest.approx((2 * 1 - 1 * 1) / math.sqrt(3 * 3 * 2 * 2))
    assert figure("kappa", truth) == pytest.approx((0.6 - 0.52) / (1 - 0.52))  # chance agrees in 3/5^2 + 2/5^2


def test_precision_and_recall_are_not_swapped_and_f_counts_recall_beta_times() -> None:
    # All five answered as ones, of which two are.
    truth = two([0.9] * 5, [1, 1, 0, 0, 0])
    assert figure("precision-positive", truth) == pytest.approx(0.4)
    assert figure("recall-positive", truth) == pytest.approx(1.0)
    assert figure("f2-positive", truth) == pytest.approx(5 * 0.4 / (4 * 0.4 + 1))
    assert figure("f0.5-positive", truth) == pytest.approx(1.25 * 0.4 / (0.25 * 0.4 + 1))


def test_a_threshold_changes_what_is_answered_from_itself_on() -> None:
    assert figure("accuracy", two([0.3, 0.2], [1, 0], threshold=0.3)) == 1.0
    assert figure("accuracy", two([0.3, 0.2], [1, 0], threshold=0.31)) == 0.5
    assert figure("accuracy", two([0.5], [0])) == 1.0  # of equal probabilities the first


def test_calibration_error_is_of_fifteen_bins() -> None:
    # Confidences 0.95 and 0.9 lie in bins 15 (above 14/15) and 14; each bin's gap counts by its size.
    truth = two([0.95, 0.95, 0.9, 0.9], [1, 1, 1, 0])
    assert figure("calibration-error", truth) == pytest.approx((2 * 0.05 + 2 * 0.4) / 4)
    # 0.6 is the upper end of bin 9, 0.61 lies in bin 10; within one bin gaps of either sign cancel.
    assert figure("calibration-error", two([0.6, 0.61], [1, 0])) == pytest.approx((0.4 + 0.61) / 2)
    assert figure("calibration-error", two([0.61, 0.62], [1, 0])) == pytest.approx(abs(0.39 - 0.62) / 2)


def test_log_loss_and_brier() -> None:
    truth = two([0.8, 0.3], [1, 0])
    assert figure("log-loss", truth) == pytest.approx(-(math.log(0.8) + math.log(0.7)) / 2)
    assert figure("brier", truth) == pytest.approx((0.04 + 0.09) / 2)
    three = Predictions(np.array([0]), np.array([[0.5, 0.3, 0.2]]))
    assert figure("brier", three) == pytest.approx(0.25 + 0.09 + 0.04)
    assert math.isfinite(figure("log-loss", two([0.0], [1])))


def test_top_k_wants_more_classes_than_k() -> None:
    answers = np.array([[0.4, 0.3, 0.2, 0.1]])
    assert [figure("top-3-accuracy", Predictions(np.array([value]), answers)) for value in range(4)] == [1, 1, 1, 0]
    assert math.isnan(figure("top-5-accuracy", Predictions(np.array([0]), answers)))


def test_figures_of_numbers() -> None:
    truth = Predictions(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 3.0, 2.0]))  # errors 0, -1, 0, 2
    assert figure("mae", truth) == pytest.approx(0.75)
    assert figure("rmse", truth) == pytest.approx(math.sqrt(5 / 4))
    assert figure("median-absolute-error", truth) == pytest.approx(0.5)
    assert figure("r2", truth) == pytest.approx(1 - 5 / 5)
    assert figure("explained-variance", truth) == pytest.approx(1 - (5 - 1 / 4) / 5)
    assert figure("mape", truth) == pytest.approx((0 + 1 / 2 + 0 + 2 / 4) / 4)
    assert figure("max-error", truth) == 2.0
    assert figure("quantile-loss-0.9", truth) == pytest.approx((0.9 * 2 + 0.1 * 1) / 4)  # too low costs nine times
    assert figure("quantile-loss-0.1", truth) == pytest.approx((0.1 * 2 + 0.9 * 1) / 4)
    assert math.isnan(figure("r2", Predictions(np.array([1.0]), np.array([1.0]))))


@pytest.mark.parametrize(("alone", "other", "p_value"), [(1, 5, 14 / 64), (5, 1, 14 / 64), (0, 3, 2 / 8), (2, 2, 1.0)])
def test_mcnemars_exact_test(alone: int, other: int, p_value: float) -> None:
    values = np.zeros(20, dtype=np.int64)
    right, wrong = [0.9, 0.1], [0.1, 0.9]
    first = Predictions(values, np.array([right] * alone + [wrong] * other + [right] * (20 - alone - other)))
    second = Predictions(values, np.array([wrong] * alone + [right] * other + [right] * (20 - alone - other)))
    found = mcnemar_test(first, second)
    assert (found.first_alone, found.second_alone) == (alone, other)
    assert found.p_value == pytest.approx(p_value)
    assert mcnemar_test(first, first).p_value == 1.0


def test_what_a_metric_can_be_and_which_way_is_better() -> None:
    assert metric_bounds("accuracy") == metric_bounds("auroc") == (0.0, 1.0)
    assert metric_bounds("mcc") == (-1.0, 1.0) and metric_bounds("r2") == (-math.inf, 1.0)
    assert metric_bounds("rmse") == metric_bounds("log-loss") == (0.0, math.inf)
    assert metric_bounds("reward-margin") == (-math.inf, math.inf) == metric_bounds("own:metric")
    assert is_higher_better("validation/auroc") and is_higher_better("accuracy") and is_higher_better("r2")
    assert (
        not is_higher_better("validation/loss")
        and not is_higher_better("validation/rmse")
        and not is_higher_better("log-loss")
    )


def test_the_usual_metrics_are_those_of_the_task() -> None:
    for task in ("classification", "regression", "multi-label", "language-modelling", "token-classification"):
        assert all(METRICS[name].task == task for name in resolve_metrics(get_task(task), None))
    assert resolve_metrics(get_task("regression"), ("mae",)) == ("mae",)


def test_two_numbers_have_an_r2_and_nothing_has_no_correlation() -> None:
    assert figure("r2", Predictions(np.array([1.0, 3.0]), np.array([1.0, 2.0]))) == pytest.approx(0.5)
    assert np.isnan(METRICS["mcc"].finalize(np.zeros((1, 3, 2)))).all()
