"""What a compression may have cost is bounded rightly, for every true share of lost and gained samples."""

from itertools import product
from math import comb

import numpy as np
import pytest

from danlu.compression.acceptance import (
    BOUNDS,
    Flips,
    closest_bound,
    count_flips,
    difference_bound,
    lost_bound,
    rows_for,
    smallest_promise,
)
from danlu.metrics.base import Predictions


def test_flips_are_counted_on_both_sides() -> None:
    truth = np.array([0, 1, 1, 0, 1])
    before = Predictions(truth, np.eye(2)[[0, 1, 0, 0, 1]])
    after = Predictions(truth, np.eye(2)[[1, 1, 1, 1, 1]])
    flips = count_flips(before, after)
    assert flips == Flips(5, 2, 1)
    assert flips.drop == pytest.approx(0.2)
    assert flips.changed == 3


def test_rows_and_promises_are_those_of_the_binomial_distribution() -> None:
    assert smallest_promise(86, 0.95) == pytest.approx(1 - 0.05 ** (1 / 86))
    assert rows_for(0.005, 0.95) == 598
    assert smallest_promise(598, 0.95) <= 0.005 < smallest_promise(597, 0.95)
    # Of 10 with 2 lost, the bound is the share under which 2 or fewer have a probability of 5 %.
    share = lost_bound(Flips(10, 2, 0), 0.95)
    assert sum(comb(10, k) * share**k * (1 - share) ** (10 - k) for k in range(3)) == pytest.approx(0.05)


def test_the_bound_is_chosen_by_how_many_samples_change() -> None:
    assert closest_bound(Flips(600, 0, 0), 0.95) == "lost"
    assert closest_bound(Flips(1200, 20, 20), 0.95) == "difference"
    # As wide as a normal approximation says: sqrt(40) samples of 1,200, 1.645 times.
    assert difference_bound(Flips(1200, 20, 20), 0.95) == pytest.approx(1.645 * 40**0.5 / 1200, rel=0.35)
    assert difference_bound(Flips(1200, 30, 2), 0.95) > 28 / 1200


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize(("lost", "gained"), [(0.02, 0.0), (0.1, 0.06), (0.2, 0.2), (0.5, 0.3)])
def test_a_bound_is_below_the_true_drop_no_oftener_than_said(name: str, lost: float, gained: float) -> None:
    rows = 14  # so few that every outcome can be weighed by its own probability
    wrong = 0.0
    for losses, gains in product(range(rows + 1), repeat=2):
        if losses + gains > rows or losses - gains >= rows * (lost - gained):
            continue  # no bound is below what was observed
        ways = comb(rows, losses) * comb(rows - losses, gains)
        share = ways * lost**losses * gained**gains * (1 - lost - gained) ** (rows - losses - gains)
        if share > 1e-6 and BOUNDS[name](Flips(rows, losses, gains), 0.9) < lost - gained:
            wrong += share
    assert wrong <= 0.1 + 1e-4
