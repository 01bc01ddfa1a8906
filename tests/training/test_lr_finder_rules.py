"""The range test's arithmetic: where losses are cut off, smoothed, and fall fastest."""

import math

import numpy as np
import pytest
from torch import nn

from danlu.errors import DanluError
from danlu.training.lr_finder import SMOOTHING_RADIUS, _smooth, _steepest_lr, _sweep, find_lr

RATES = [10.0**power for power in range(-6, 14)]


def test_rates_rise_by_one_factor_from_lowest_to_highest() -> None:
    losses = iter(np.linspace(2.0, 1.0, 5).tolist())
    found = find_lr(nn.Linear(1, 1), lambda rate: next(losses), 1e-4, 1.0, 5)
    assert found.lrs == pytest.approx((1e-4, 1e-3, 1e-2, 1e-1, 1.0))


def test_each_loss_is_smoothed_with_as_many_neighbours_on_either_side() -> None:
    losses = [float(index**2) for index in range(13)]
    found = _smooth(losses)
    assert found[0] == 0.0 and found[12] == 144.0
    assert found[1] == pytest.approx((0 + 1 + 4) / 3)
    assert found[6] == pytest.approx(sum(index**2 for index in range(1, 12)) / 11)
    assert found[2] == pytest.approx((0 + 1 + 4 + 9 + 16) / 5)
    assert SMOOTHING_RADIUS == 5


def test_the_steepest_fall_is_chosen() -> None:
    curve = [5.0] * 8 + [4.9, 4.8, 4.0, 3.0, 2.0, 1.9, 1.8] + [6.0] * 5
    # Central differences fall by 2 at positions 11 (4.0 -> 2.0); elsewhere by less.
    assert _steepest_lr(RATES, curve) == RATES[11]


def test_chance_falls_of_the_first_losses_do_not_count() -> None:
    """The first ones are means of few: a fall from 9 to 5 there is luck, the one from 5 to 3 later is learning."""
    curve = [9.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 4.0, 3.0, 2.9, 2.8] + [7.0] * 7
    assert _steepest_lr(RATES, curve) == RATES[9]


def test_what_comes_before_the_highest_loss_does_not_count() -> None:
    # It falls by 8 ahead of the peak at position 8, and more slowly behind it.
    curve = [9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 1.5, 1.5, 10.0, 9.0, 5.0, 3.0, 1.2, 1.0] + [9.0] * 6
    assert _steepest_lr(RATES, curve) == RATES[10]


def test_a_bottom_among_the_first_losses_is_still_answered() -> None:
    # At the bottom itself the slope is that to the loss before it, -2.
    assert _steepest_lr(RATES, [5.0, 4.0, 3.0, 1.0] + [6.0] * 16) == RATES[3]


@pytest.mark.parametrize(
    "curve",
    [
        [5.0] * 20,
        [5.0, 5.1, 5.2, 5.3],
        [5.0, 4.99, 4.95, 4.91],  # by less than 2 percent
        [5.0, 4.0],  # of two losses nothing can be said
        [],
    ],
)
def test_a_loss_that_does_not_fall_is_refused(curve: list[float]) -> None:
    with pytest.raises(DanluError, match="range test"):
        _steepest_lr(RATES, curve)


def test_a_fall_of_a_fiftieth_is_enough() -> None:
    assert _steepest_lr(RATES, [5.0, 4.97, 4.93, 4.89, 4.85]) in RATES


def test_a_sweep_ends_where_the_loss_diverges() -> None:
    losses = [1.0] * 10 + [1e6] * 10
    # One loss of a million lifts the running mean to 1e5 or so, far beyond four times the best; it is kept.
    assert _sweep(lambda rate: losses[RATES.index(rate)], RATES) == [*losses[:10], 1e6]


def test_a_sweep_goes_on_below_four_times_the_best() -> None:
    def last(level: float) -> int:
        values = [1.0] * 10 + [level] * 190
        rates = list(range(200))
        return len(_sweep(lambda rate: values[int(rate)], [float(rate) for rate in rates]))

    assert last(3.9) == 200
    assert last(4.2) < 60


def test_a_sweep_ends_before_a_loss_that_is_no_number() -> None:
    losses = [1.0, 0.9, math.nan, 0.5]
    assert _sweep(lambda rate: losses[int(rate)], [0.0, 1.0, 2.0, 3.0]) == [1.0, 0.9]
    losses = [1.0, 0.9, math.inf, 0.5]
    assert _sweep(lambda rate: losses[int(rate)], [0.0, 1.0, 2.0, 3.0]) == [1.0, 0.9]


def test_losses_below_zero_do_not_end_a_sweep() -> None:
    values = [1.0, 0.5, 0.0, -0.05, -0.1, -0.05]
    assert len(_sweep(lambda rate: values[int(rate)], [float(index) for index in range(6)])) == 6


def test_three_losses_and_a_fall_of_exactly_a_fiftieth_are_enough() -> None:
    assert _steepest_lr(RATES, [5.0, 4.0, 3.0]) in RATES
    assert _steepest_lr(RATES, [100.0, 99.5, 99.0, 98.0]) in RATES
