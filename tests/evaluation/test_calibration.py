"""Calibration by hand, and how it is chosen."""

import math

import numpy as np
import pytest

from danlu.evaluation.calibration import MIN_ROWS_FOR_ISOTONIC, _select_method, fit_calibration
from danlu.metrics.base import Predictions
from danlu.tasks.calibrations import Isotonic, Temperature


def always(probability: float, right: int, wrong: int) -> Predictions:
    """Answers the second class with one probability, of which `right` are."""
    answers = np.tile([[1 - probability, probability]], (right + wrong, 1))
    return Predictions(np.array([1] * right + [0] * wrong), answers)


def test_a_temperature_divides_the_logits() -> None:
    # At 2, probabilities are in proportion to their roots: 0.8 and 0.2 become 2 to 1.
    found = Temperature(temperature=2.0).apply(np.array([[0.8, 0.2], [0.5, 0.5]]))
    np.testing.assert_allclose(found, [[2 / 3, 1 / 3], [0.5, 0.5]], rtol=1e-6)
    squared = Temperature(temperature=0.5).apply(np.array([[0.8, 0.2, 0.0]]))
    np.testing.assert_allclose(squared, [[0.64 / 0.68, 0.04 / 0.68, 0.0]], atol=1e-7)


def test_the_temperature_that_is_found_makes_confidence_true() -> None:
    # Log odds of 9 to 1 should be those of 3 to 1, which is half as much.
    found = fit_calibration("temperature", always(0.9, 75, 25))
    assert isinstance(found, Temperature)
    assert found.temperature == pytest.approx(math.log(9) / math.log(3), rel=1e-3)
    shy = fit_calibration("temperature", always(0.75, 90, 10))
    assert isinstance(shy, Temperature) and shy.temperature == pytest.approx(0.5, rel=1e-3)


def test_a_curve_is_read_between_its_corners() -> None:
    curve = Isotonic(given=((0.2, 0.6),), true=((0.1, 0.5),))
    found = curve.apply(np.array([[0.6, 0.4], [0.9, 0.1], [0.0, 1.0]]))
    np.testing.assert_allclose(found[:, 1], [0.3, 0.1, 0.5], rtol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-6)


def test_curves_of_several_classes_are_brought_to_a_sum_of_1() -> None:
    curve = Isotonic(given=((0.0, 1.0),) * 3, true=((0.0, 1.0), (0.0, 0.5), (0.0, 0.0)))
    found = curve.apply(np.array([[0.4, 0.4, 0.2], [0.0, 0.0, 1.0]]))
    np.testing.assert_allclose(found, [[2 / 3, 1 / 3, 0.0], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-6)


def test_a_fitted_curve_is_never_quite_0_or_1() -> None:
    scores = np.repeat([0.1, 0.9], 49)
    truth = Predictions((scores > 0.5).astype(np.int64), np.stack([1 - scores, scores], axis=1))
    found = fit_calibration("isotonic", truth)
    assert isinstance(found, Isotonic) and len(found.true) == 1
    assert (found.true[0][0], found.true[0][-1]) == pytest.approx((0.01, 0.99))  # one in 98 + 2


def test_none_is_none_and_few_rows_are_left_alone() -> None:
    assert fit_calibration("none", always(0.9, 75, 25)) is None
    assert fit_calibration("auto", always(0.9, 7, 2)) is None  # nine rows, of which five parts say nothing
    assert fit_calibration("auto", always(0.99, 6, 4)) is not None


def bent(count: int) -> Predictions:
    """Scores whose truth is a step that no temperature can make: half right below 0.5, all right above."""
    generator = np.random.default_rng(0)
    scores = generator.uniform(0.05, 0.95, size=count)
    values = np.where(scores > 0.5, 1, generator.integers(2, size=count))
    return Predictions(values, np.stack([1 - scores, scores], axis=1))


def test_auto_takes_curves_only_from_a_thousand_rows_on() -> None:
    assert MIN_ROWS_FOR_ISOTONIC == 1000
    assert _select_method(bent(999)) != "isotonic"
    assert _select_method(bent(1000)) == "isotonic"


def test_auto_leaves_what_is_true_already() -> None:
    generator = np.random.default_rng(1)
    scores = generator.uniform(0.02, 0.98, size=900)
    truth = Predictions((generator.random(900) < scores).astype(np.int64), np.stack([1 - scores, scores], axis=1))
    chosen = fit_calibration("auto", truth)
    assert chosen is None or abs(getattr(chosen, "temperature", 0.0) - 1.0) < 0.1
    assert fit_calibration("auto", always(0.99, 60, 40)) is not None


def test_a_curve_of_many_corners_is_thinned() -> None:
    """In block k of 110 rows k are true, and stand first: each block is a step of its own, with two corners."""
    values = np.concatenate([np.arange(110) < k for k in range(1, 110)]).astype(np.int64)
    scores = np.linspace(0.01, 0.99, len(values))
    found = fit_calibration("isotonic", Predictions(values, np.stack([1 - scores, scores], axis=1)))
    assert isinstance(found, Isotonic)
    assert len(found.true[0]) == 200
