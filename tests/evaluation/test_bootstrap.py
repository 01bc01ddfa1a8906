"""How resamples are drawn and what interval is made of them."""

from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from danlu.core.seeds import Seed
from danlu.evaluation.intervals import (
    _POISSON,
    POISSON_FROM_UNITS,
    Resampling,
    _num_resamples,
    _Sampler,
    bias_corrected_interval,
    count_units,
    for_each_resample,
    paired_differences,
    values_with_intervals,
)
from danlu.metrics.base import Predictions
from danlu.tasks.metric_table import METRICS

HOW = Resampling(Seed(4), resamples=200)


def test_the_table_of_counts_is_a_poisson_distribution_of_mean_1() -> None:
    """Each of 65,536 places is one draw; a count stands there as often as Poisson's probability says."""
    assert _POISSON.shape == (1 << 16,)
    counts = np.bincount(_POISSON, minlength=12)
    assert np.abs(counts / (1 << 16) - stats.poisson.pmf(np.arange(len(counts)), 1.0)).max() < 1 / (1 << 16)
    assert _POISSON.mean() == pytest.approx(1.0, abs=1e-4)
    assert _POISSON.var() == pytest.approx(1.0, abs=1e-3)
    assert counts[:2] == pytest.approx(65_536 / np.e, abs=1)
    assert _POISSON.min() == 0 and 7 <= _POISSON.max() <= 9


def test_drawn_counts_of_many_samples_have_mean_1_and_variance_1() -> None:
    weights = _Sampler.of(POISSON_FROM_UNITS + 500, None, HOW).weights(0, 200)
    assert weights.shape == (200, POISSON_FROM_UNITS + 500)
    assert weights.mean() == pytest.approx(1.0, abs=0.01)
    assert weights.var() == pytest.approx(1.0, abs=0.02)
    # How many are drawn in all varies as the sum of so many Poisson counts.
    assert weights.sum(axis=1).std() == pytest.approx(np.sqrt(POISSON_FROM_UNITS + 500), rel=0.2)
    # Neighbouring samples and neighbouring resamples know nothing of one another.
    assert abs(np.corrcoef(weights[:, :-1].ravel(), weights[:, 1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(weights[:-1].ravel(), weights[1:].ravel())[0, 1]) < 0.01


def test_drawn_counts_of_few_samples_add_up_to_their_number() -> None:
    assert POISSON_FROM_UNITS == 1000
    for units in (2, 30, POISSON_FROM_UNITS - 1):
        weights = _Sampler.of(units, None, HOW).weights(0, 64)
        assert (weights.sum(axis=1) == units).all()
    weights = _Sampler.of(30, None, HOW).weights(0, 4000)
    # Of n draws among n, a count is binomial: mean 1, variance 1 - 1/n.
    assert weights.mean() == 1.0 and weights.var() == pytest.approx(1 - 1 / 30, abs=0.02)
    assert not (_Sampler.of(POISSON_FROM_UNITS, None, HOW).weights(0, 64).sum(axis=1) == POISSON_FROM_UNITS).all()


def test_draws_follow_from_the_seed_and_the_resamples_number() -> None:
    draw = _Sampler.of(50, None, HOW)
    assert (draw.weights(0, 64) == draw.weights(0, 64)).all()
    assert (draw.weights(0, 64) != draw.weights(64, 64)).any()
    assert (draw.weights(0, 64) != _Sampler.of(50, None, Resampling(Seed(5))).weights(0, 64)).any()


@pytest.mark.parametrize("count", [40, 1500])
def test_samples_of_a_group_are_drawn_together(count: int) -> None:
    groups = np.arange(count) // 4
    weights = _Sampler.of(count, groups, HOW).weights(0, 8)
    for member in range(1, 4):
        assert (weights[:, member::4] == weights[:, ::4]).all()


def test_every_resample_is_used_once() -> None:
    seen: dict[int, int] = {}
    for_each_resample(3000, None, HOW, lambda first, weights: seen.update({first: len(weights)}))
    assert sum(seen.values()) == 200
    covered = sorted(number for first, length in seen.items() for number in range(first, first + length))
    assert covered == list(range(200))


def test_an_interval_of_unbiased_resamples_is_their_middle() -> None:
    figures = np.arange(101.0)
    assert bias_corrected_interval(50.0, figures, 0.95) == pytest.approx((2.5, 97.5))
    assert bias_corrected_interval(50.0, figures, 0.5) == pytest.approx((25.0, 75.0))


def test_percentiles_move_by_the_bias_of_the_figure() -> None:
    """Efron's bias-corrected percentiles, with Python's own normal distribution."""
    normal, figures = NormalDist(), np.arange(101.0)
    bias = normal.inv_cdf((30 + 31) / 2 / 101)
    expected = [100 * normal.cdf(2 * bias + sign * normal.inv_cdf(0.975)) for sign in (-1, 1)]
    assert bias_corrected_interval(30.0, figures, 0.95) == pytest.approx(expected)


def test_an_interval_holds_its_figure() -> None:
    figures = np.arange(101.0)
    low, high = bias_corrected_interval(-5.0, figures, 0.95) or (0.0, 0.0)
    assert low == -5.0 and high < 50
    low, high = bias_corrected_interval(120.0, figures, 0.95) or (0.0, 0.0)
    assert high == 120.0 and low > 50


def test_too_many_undefined_resamples_give_no_interval() -> None:
    figures = np.arange(100.0)
    figures[:10] = np.nan
    assert bias_corrected_interval(50.0, figures, 0.95) is not None
    figures[10] = np.nan
    assert bias_corrected_interval(50.0, figures, 0.95) is None
    assert bias_corrected_interval(50.0, np.full(5, np.nan), 0.95) is None
    assert bias_corrected_interval(50.0, np.zeros(0), 0.95) is None


@pytest.mark.parametrize(
    ("rows", "quick", "expected"),
    [(10, False, 2000), (10_000, False, 2000), (20_000, False, 1000), (10**7, False, 100), (10**7, True, 2000)],
)
def test_slow_metrics_of_many_rows_have_fewer_resamples(rows: int, quick: bool, expected: int) -> None:
    metric = METRICS["accuracy"]
    metric = type(metric)(metric.task, metric.statistic, metric.finalize, True, "", is_fast=quick)
    assert _num_resamples(metric, rows, Resampling(Seed(0))) == expected


def test_units_are_groups_where_there_are_any() -> None:
    values, answers = np.zeros(6), np.zeros(6)
    assert count_units(Predictions(values, answers)) == 6
    assert count_units(Predictions(values, answers, groups=np.array([1, 1, 2, 2, 2, 9]))) == 3
    lone = Predictions(values, answers + 1, groups=np.zeros(6))
    assert values_with_intervals({"mae": METRICS["mae"]}, lone, HOW) == {"mae": {"value": 1.0}}


def test_a_difference_is_the_first_less_the_second_on_the_same_resamples() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=400)
    noise = generator.normal(size=400)
    first, second = Predictions(values, values + noise), Predictions(values, values + noise + 0.1 * np.sign(noise))
    metrics = {"mae": METRICS["mae"]}
    found = paired_differences(metrics, first, second, HOW)["mae"]
    # Each error of the second is larger by exactly 0.1, in every resample.
    assert found["value"] == pytest.approx(-0.1)
    assert (found["low"], found["high"]) == pytest.approx((-0.1, -0.1))
    turned = paired_differences(metrics, second, first, HOW)["mae"]
    assert turned["value"] == pytest.approx(0.1)


def test_a_difference_that_is_undefined_is_left_out() -> None:
    one_class = Predictions(np.zeros(50, dtype=np.int64), np.tile([[0.7, 0.3]], (50, 1)))
    assert paired_differences({"auroc": METRICS["auroc"]}, one_class, one_class, HOW) == {}
