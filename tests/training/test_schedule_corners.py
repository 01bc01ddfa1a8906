"""Every schedule at its corners: the first step, the last of the warmup, the middle, the last."""

import math

import pytest

from danlu.training.schedules import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    MultiStep,
    OneCycle,
    Polynomial,
    Schedule,
    Step,
    WarmupStableDecay,
    to_steps,
)

HALF = math.sqrt(0.5)


@pytest.mark.parametrize(
    ("schedule", "steps", "expected"),
    [
        # A warmup of 4 steps climbs in quarters and reaches 1 in its last; what follows begins at 1.
        (Constant(warmup=4), 20, {0: 0.25, 1: 0.5, 2: 0.75, 3: 1.0, 4: 1.0, 19: 1.0}),
        (Constant(warmup=0.2), 20, {0: 0.25, 3: 1.0, 4: 1.0}),
        (Constant(warmup=0.16), 20, {0: 0.25, 3: 1.0}),  # 3.2 steps are 4
        (Constant(), 20, {0: 1.0, 19: 1.0}),
        (Constant(warmup=50), 10, {0: 0.1, 9: 1.0}),  # no longer than the run
        # Half a cosine over the 8 steps after a warmup of 2: 1, then (1 + cos(pi k / 8)) / 2.
        (Cosine(warmup=2), 10, {0: 0.5, 1: 1.0, 2: 1.0, 4: (1 + HALF) / 2, 6: 0.5, 8: (1 - HALF) / 2}),
        (Cosine(warmup=0.0, floor=0.2), 10, {0: 1.0, 5: 0.6}),
        (Cosine(warmup=0.0, cycles=2), 8, {0: 1.0, 2: 0.5, 4: 1.0, 6: 0.5}),
        (Cosine(warmup=0.0, cycles=2, decay=0.5), 8, {0: 1.0, 4: 0.5, 6: 0.25}),
        (Cosine(warmup=0.0, cycles=2, growth=3.0), 8, {0: 1.0, 1: 0.5, 2: 1.0, 5: 0.5}),  # 2 and 6 steps
        (Linear(warmup=0.0), 4, {0: 1.0, 1: 0.75, 2: 0.5, 3: 0.25}),
        (Linear(warmup=0.0, floor=0.2), 4, {0: 1.0, 2: 0.6, 3: 0.4}),
        (Linear(warmup=2), 6, {0: 0.5, 1: 1.0, 2: 1.0, 4: 0.5}),
        (Polynomial(warmup=0.0, power=2.0), 4, {0: 1.0, 1: 0.5625, 2: 0.25, 3: 0.0625}),
        (Polynomial(warmup=0.0, power=2.0, floor=0.2), 4, {0: 1.0, 2: 0.4}),
        (Exponential(warmup=0.0, end=0.01), 4, {0: 1.0, 2: 0.1, 1: 0.01**0.25}),
        (Step(warmup=0.0, every=3, gamma=0.1), 9, {0: 1.0, 2: 1.0, 3: 0.1, 5: 0.1, 6: 0.01}),
        (Step(warmup=0.0, every=0.25, gamma=0.5), 8, {1: 1.0, 2: 0.5, 4: 0.25, 6: 0.125}),
        (Step(warmup=0.0, every=3, gamma=0.1, floor=0.05), 9, {3: 0.1, 6: 0.05}),
        (MultiStep(warmup=0.0), 8, {0: 1.0, 3: 1.0, 4: 0.1, 5: 0.1, 6: 0.01, 7: 0.01}),
        (MultiStep(warmup=0.0, milestones=(2, 0.5), gamma=0.5), 8, {1: 1.0, 2: 0.5, 3: 0.5, 4: 0.25}),
        (MultiStep(warmup=0.0, milestones=(0.1,), gamma=0.5), 2, {0: 1.0, 1: 0.5}),
        # 1 for 6 of 10 steps, then 1 - sqrt(k / 4); a straight line; half a cosine.
        (WarmupStableDecay(warmup=0.0, decay=4), 10, {0: 1.0, 6: 1.0, 7: 0.5, 8: 1 - HALF, 9: 1 - math.sqrt(0.75)}),
        (WarmupStableDecay(warmup=0.0, decay=4, shape="linear"), 10, {6: 1.0, 7: 0.75, 9: 0.25}),
        (WarmupStableDecay(warmup=0.0, decay=4, shape="cosine"), 10, {6: 1.0, 8: 0.5, 9: (1 - HALF) / 2}),
        (WarmupStableDecay(warmup=0.0, decay=0.4, shape="linear", floor=0.2), 10, {6: 1.0, 8: 0.6}),
        (WarmupStableDecay(warmup=0.0, decay=100, shape="linear"), 4, {0: 1.0, 1: 0.75}),
        # The top lies at 0.3 * 20 - 1 = step 5; half way to it is 2.5, half way down from it step 12.
        (OneCycle(start=0.1, end=0.0), 20, {0: 0.1, 5: 1.0, 12: 0.5, 19: 0.0}),
    ],
)
def test_factors_at_the_corners(schedule: Schedule, steps: int, expected: dict[int, float]) -> None:
    assert {step: schedule.factor(step, steps) for step in expected} == pytest.approx(expected, abs=1e-12)


def test_momentum_of_one_cycle_goes_the_other_way() -> None:
    schedule = OneCycle()
    found = {step: schedule.momentum(step, 20) for step in (0, 5, 12, 19)}
    assert found == pytest.approx({0: 0.95, 5: 0.85, 12: 0.9, 19: 0.95})
    assert Cosine().momentum(3, 20) is None


def test_default_warmup_is_a_twentieth_of_the_run_for_all_but_constant() -> None:
    for schedule in (Cosine(), Linear(), Polynomial(), Exponential(), Step(), MultiStep(), WarmupStableDecay()):
        assert [schedule.factor(step, 100) for step in (0, 4)] == pytest.approx([0.2, 1.0]), schedule.name
    assert Constant().factor(0, 100) == 1.0


@pytest.mark.parametrize(
    ("amount", "steps", "rounded", "expected"),
    [
        (0.3, 10, round, 3),
        (0.25, 10, round, 2),  # halves go to the even number
        (0.35, 10, round, 4),
        (0.31, 10, math.ceil, 4),
        (7, 10, round, 7),
        (70, 10, math.ceil, 70),
        (1, 10, round, 1),  # a whole number is steps, not a share
    ],
)
def test_shares_and_steps(amount: float, steps: int, rounded: object, expected: int) -> None:
    assert to_steps(amount, steps, rounded) == expected  # type: ignore[arg-type]
