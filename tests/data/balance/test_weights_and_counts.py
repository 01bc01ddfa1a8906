"""Class weights, offsets, and how often rows are drawn, by hand."""

import math

import numpy as np
import pytest

from danlu.core.seeds import Seed
from danlu.data.balance.loss_weights import ClassWeights, Focal, LogitAdjustment, class_weights
from danlu.data.balance.resampling import Oversample, Undersample, WeightedSampling, target_counts

CODES = np.array([0] * 6 + [1] * 3 + [2])  # six, three and one of ten rows


def test_inverse_frequency_has_mean_1_over_samples() -> None:
    # In proportion to 1/6, 1/3, 1; ten samples weigh ten.
    found = class_weights(np.array([6, 3, 1]), "inverse-frequency", 0.999)
    assert found == pytest.approx((10 / 18, 10 / 9, 10 / 3))
    assert np.dot(found, [6, 3, 1]) == pytest.approx(10)


def test_effective_number() -> None:
    # With beta 0.5 one sample weighs 1, two 1 / 1.5, three 1 / 1.75.
    found = class_weights(np.array([1, 2, 3]), "effective-number", 0.5)
    raw = np.array([1.0, 1 / 1.5, 1 / 1.75])
    assert found == pytest.approx(tuple(raw * 6 / (raw * [1, 2, 3]).sum()))
    assert class_weights(np.array([5, 9]), "effective-number", 0.0) == pytest.approx((1.0, 1.0))


def test_a_class_without_samples_counts_as_one() -> None:
    assert class_weights(np.array([3, 0]), "inverse-frequency", 0.0) == pytest.approx((4 / 6, 2.0))


def test_what_balancers_ask_of_the_loss() -> None:
    counts = np.array([6, 3, 1])
    emphasis = ClassWeights().loss_weighting(counts)
    assert emphasis.class_weights == pytest.approx((10 / 18, 10 / 9, 10 / 3)) and emphasis.focal_gamma == 0.0
    focal = Focal().loss_weighting(counts)
    assert focal.class_weights is None and focal.focal_gamma == 2.0
    weighted = Focal(gamma=1.5, alpha="inverse-frequency").loss_weighting(counts)
    assert weighted.class_weights == emphasis.class_weights and weighted.focal_gamma == 1.5
    offsets = LogitAdjustment(tau=2.0).loss_weighting(counts).logit_offsets
    assert offsets == pytest.approx(tuple(2 * math.log(share) for share in (0.6, 0.3, 0.1)))
    assert LogitAdjustment().loss_weighting(np.array([3, 0])).logit_offsets == pytest.approx(
        (math.log(0.75), math.log(0.25))
    )


def drawn(order: np.ndarray) -> list[int]:
    return np.bincount(CODES[order % len(CODES)], minlength=3).tolist()


@pytest.mark.parametrize(
    ("balancer", "expected"),
    [
        (Oversample(), [6, 6, 6]),
        (Oversample(ratio=0.5), [6, 3, 3]),
        (Oversample(ratio=0.75), [6, 4, 4]),  # 4.5 to the even number
        (Undersample(), [1, 1, 1]),
        (Undersample(ratio=0.5), [2, 2, 1]),
        (Undersample(ratio=0.2), [5, 3, 1]),
    ],
)
def test_rows_of_each_class_an_epoch(balancer: Oversample | Undersample, expected: list[int]) -> None:
    order = balancer.order(CODES, Seed(0))
    for epoch in range(3):
        assert drawn(order(epoch)) == expected
    assert order(0).tolist() == order(0).tolist() and order(0).tolist() != order(1).tolist()


def test_rows_are_repeated_evenly_and_with_numbers_of_their_own() -> None:
    order = Oversample().order(CODES, Seed(0))(0)
    assert len(set(order.tolist())) == 18
    times = np.bincount(order % 10, minlength=10)
    assert times[:6].tolist() == [1] * 6 and times[6:9].tolist() == [2, 2, 2] and times[9] == 6
    uneven = np.bincount(Oversample(ratio=0.75).order(CODES, Seed(0))(0) % 10, minlength=10)
    assert sorted(uneven[6:9].tolist()) == [1, 1, 2]


def test_what_is_left_to_a_multiple_is_drawn_without_repetition() -> None:
    """Five rows of a class of three: two of them twice, never one three times."""
    order = Oversample(ratio=5 / 6).order(CODES, Seed(0))
    for epoch in range(20):
        times = np.bincount(order(epoch) % 10, minlength=10)
        assert sorted(times[6:9].tolist()) == [1, 2, 2]
    fewer = Undersample(ratio=0.2).order(CODES, Seed(0))
    for epoch in range(20):
        assert np.bincount(fewer(epoch) % 10, minlength=10).max() == 1


def test_weighted_sampling_draws_classes_alike_often() -> None:
    codes = np.array([0] * 900 + [1] * 100)
    orders = [WeightedSampling().order(codes, Seed(0))(epoch) for epoch in range(10)]
    assert all(len(order) == 1000 for order in orders)
    share = np.mean([(codes[order % 1000] == 1).mean() for order in orders])
    assert share == pytest.approx(0.5, abs=0.02)
    # 1 / sqrt(size): 900 / 30 to 100 / 10, so a quarter.
    half = [WeightedSampling(power=0.5).order(codes, Seed(0))(epoch) for epoch in range(10)]
    assert np.mean([(codes[order % 1000] == 1).mean() for order in half]) == pytest.approx(0.25, abs=0.02)
    none = [WeightedSampling(power=0.0).order(codes, Seed(0))(epoch) for epoch in range(10)]
    assert np.mean([(codes[order % 1000] == 1).mean() for order in none]) == pytest.approx(0.1, abs=0.02)


def test_a_class_that_has_none_gets_none() -> None:
    assert target_counts(np.array([8, 0, 3]), 0.5).tolist() == [4, 0, 4]
