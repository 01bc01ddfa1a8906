"""`check_metric`: danlu's own metrics pass, and each broken one is told what is wrong with it."""

from typing import Any

import numpy as np
import pytest

import danlu
from danlu.metrics.base import ratio, sum_statistic
from danlu.tasks.metric_table import METRICS
from danlu.testing import CheckFailed, check_metric


@pytest.mark.parametrize("name", METRICS)
def test_danlus_own_metrics_pass(name: str) -> None:
    check_metric(METRICS[name])


def largest_error(true: np.ndarray, predicted: np.ndarray) -> float:
    """Largest absolute error."""
    return float(np.abs(true - predicted).max())


largest_error.task = "regression"  # type: ignore[attr-defined]
largest_error.higher_is_better = False  # type: ignore[attr-defined]


def test_a_plain_function_passes() -> None:
    check_metric(largest_error)


def of_numbers(function: Any, higher_is_better: bool = False) -> Any:
    function.task, function.higher_is_better = "regression", higher_is_better
    function.__doc__ = function.__doc__ or "An error."
    return function


def terms(predictions: danlu.Predictions) -> np.ndarray:
    errors = np.abs(predictions.y_true - predictions.y_pred)
    return np.stack([errors, np.ones(len(errors))], axis=1)


def without_weights(predictions: danlu.Predictions) -> Any:
    columns = terms(predictions)
    return lambda weights: np.tile(columns.sum(axis=0), (len(weights), 1))


def first_alone(predictions: danlu.Predictions) -> Any:
    columns = terms(predictions)
    return lambda weights: np.tile(weights[:1] @ columns, (len(weights), 1))


def largest(predictions: danlu.Predictions) -> Any:
    errors = terms(predictions)[:, :1]
    return lambda weights: np.stack([errors[row > 0].max(axis=0) for row in weights])


def metric(prepare: Any, additive: bool = False, finalize: Any = ratio, **changes: Any) -> danlu.Metric:
    said = {"task": "regression", "higher_is_better": False, "description": "mean error", **changes}
    return danlu.Metric(statistic=danlu.Statistic(prepare, additive), finalize=finalize, **said)


BROKEN: list[tuple[Any, str]] = [
    (of_numbers(lambda true, predicted: abs(true[0] - predicted[0])), "rows in another order"),
    (of_numbers(lambda true, predicted: largest_error(true, predicted), True), "the right ones would be the worse"),
    (of_numbers(lambda true, predicted: float("nan")), "gives no number"),
    (metric(without_weights), "repeated in place of being weighted"),
    (metric(first_alone), "repeated in place of being weighted"),
    (metric(largest, additive=True, finalize=lambda found: found[:, 0]), "do not add up"),
    (metric(sum_statistic(terms).prepare, finalize=lambda found: found.sum()), "one value for each"),
    (metric(sum_statistic(terms).prepare, task="clustering"), "task is 'clustering'"),
    (metric(sum_statistic(terms).prepare, description=""), "has no description"),
]


@pytest.mark.parametrize(("broken", "told"), BROKEN, ids=[told for _, told in BROKEN])
def test_a_broken_metric_is_told_what_is_wrong(broken: Any, told: str) -> None:
    with pytest.raises(CheckFailed, match=told):
        check_metric(broken)


def test_a_metric_of_another_packages_task_is_tried_on_predictions_that_are_given() -> None:
    values = np.random.default_rng(0).normal(size=50)
    given, right = danlu.Predictions(values, values + 0.5), danlu.Predictions(values, values)
    check_metric(metric(sum_statistic(terms).prepare, True, task="stars"), predictions=(given, right))
    with pytest.raises(CheckFailed, match="the right ones would be the worse"):
        check_metric(metric(sum_statistic(terms).prepare, True, task="stars"), predictions=(right, given))


def test_a_metric_as_it_should_be_passes() -> None:
    check_metric(metric(sum_statistic(terms).prepare, additive=True))
