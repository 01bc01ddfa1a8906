"""Each schedule gives torch's own factors, or its paper's, over a whole run; the plateau goes on from its state."""

import json
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.optim import lr_scheduler

from danlu.core.component import components
from danlu.training.schedules import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    MultiStep,
    OneCycle,
    Plateau,
    Polynomial,
    ReduceLROnPlateau,
    Schedule,
    Step,
    WarmupSchedule,
    WarmupStableDecay,
)

STEPS = 90
ALL = sorted(components("schedule"))


def torchs(make: Callable[[torch.optim.Optimizer], Any], steps: int) -> list[float]:
    """The rates that a scheduler of torch gives an optimizer whose own rate is 1, step by step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def factors(schedule: Schedule, steps: int) -> list[float]:
    return [schedule.factor(step, steps) for step in range(steps)]


OWN: list[tuple[Schedule, Any]] = [
    (Constant(), lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    (Linear(warmup=0), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, total_iters=STEPS)),
    (Linear(warmup=0, floor=0.2), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.2, total_iters=STEPS)),
    (Polynomial(warmup=0, power=2.0), lambda o: lr_scheduler.PolynomialLR(o, STEPS, power=2.0)),
    (Exponential(warmup=0, end=0.05), lambda o: lr_scheduler.ExponentialLR(o, 0.05 ** (1 / STEPS))),
    (Step(warmup=0, every=0.3), lambda o: lr_scheduler.StepLR(o, 27, gamma=0.1)),
    (Step(warmup=0, every=40, gamma=0.5), lambda o: lr_scheduler.StepLR(o, 40, gamma=0.5)),
    (MultiStep(warmup=0), lambda o: lr_scheduler.MultiStepLR(o, [45, 68], gamma=0.1)),
    (MultiStep(warmup=0, milestones=(7, 0.5), gamma=0.3), lambda o: lr_scheduler.MultiStepLR(o, [7, 45], gamma=0.3)),
    (Cosine(warmup=0), lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS)),
    (Cosine(warmup=0, floor=0.1), lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.1)),
    (Cosine(warmup=0, cycles=3), lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 30)),
    (
        Cosine(warmup=0, cycles=4, growth=2, floor=0.05),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, STEPS // 15, 2, eta_min=0.05),
    ),
    (OneCycle(), lambda o: lr_scheduler.OneCycleLR(o, 1.0, STEPS, cycle_momentum=False)),
    (
        OneCycle(rise=0.17, start=0.1, end=0.001),
        lambda o: lr_scheduler.OneCycleLR(
            o, 1.0, STEPS, pct_start=0.17, div_factor=10, final_div_factor=100, cycle_momentum=False
        ),
    ),
]


@pytest.mark.parametrize(("schedule", "make"), [pytest.param(*pair, id=repr(pair[0])) for pair in OWN])
def test_a_schedule_is_torchs_own(schedule: Schedule, make: Any) -> None:
    assert factors(schedule, STEPS) == pytest.approx(torchs(make, STEPS), abs=1e-9)


def test_one_cycle_moves_the_momentum_as_torchs_does() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    theirs = lr_scheduler.OneCycleLR(optimizer, 1.0, STEPS)
    for step in range(STEPS):
        assert OneCycle().momentum(step, STEPS) == pytest.approx(optimizer.param_groups[0]["momentum"], abs=1e-9)
        optimizer.step()
        if step < STEPS - 1:
            theirs.step()


@pytest.mark.parametrize("warmup", [0.1, 9])
def test_a_warmup_comes_before_the_schedule(warmup: float) -> None:
    """As torch chains them: 9 steps up, then what follows counted from there."""
    schedule = MultiStep(warmup=warmup, milestones=(20, 0.5))

    def make(optimizer: torch.optim.Optimizer) -> Any:
        parts = [lr_scheduler.LinearLR(optimizer, 1 / 9, 1.0, total_iters=8)]
        parts += [lr_scheduler.MultiStepLR(optimizer, [20, round(0.5 * 81)], gamma=0.1)]
        return lr_scheduler.SequentialLR(optimizer, parts, [9])

    assert factors(schedule, STEPS) == pytest.approx(torchs(make, STEPS), abs=1e-9)


@pytest.mark.parametrize(
    ("shape", "left"),
    [
        ("sqrt", lambda gone: 1 - math.sqrt(gone)),
        ("linear", lambda gone: 1 - gone),
        ("cosine", lambda gone: (1 + math.cos(math.pi * gone)) / 2),
    ],
)
@pytest.mark.parametrize("decay", [0.25, 20])
def test_warmup_stable_decay_is_flat_and_then_falls(shape: Any, left: Any, decay: float) -> None:
    """Hägele et al. 2024, equation 1: warmup to 10, decay over the last 20."""
    found = factors(WarmupStableDecay(warmup=10, decay=decay, shape=shape, floor=0.1), 90)
    wanted = [
        (step + 1) / 10 if step < 10 else 1.0 if step <= 70 else 0.1 + 0.9 * left((step - 70) / 20)
        for step in range(90)
    ]
    assert found == pytest.approx(wanted)


def test_each_cycle_begins_at_a_share_of_the_peak_before_it() -> None:
    found = factors(Cosine(warmup=0, cycles=3, decay=0.5), 30)
    assert (found[0], found[10], found[20]) == pytest.approx((1.0, 0.5, 0.25))
    assert [found[step] for step in (5, 15, 25)] == pytest.approx([0.5, 0.25, 0.125])


def test_steps_do_not_fall_below_the_floor() -> None:
    assert factors(Step(warmup=0, every=10, floor=0.05), 40)[-1] == 0.05


@given(st.sampled_from(ALL), st.integers(1, 400), st.one_of(st.floats(0, 0.9), st.integers(1, 50)))
@example("multi-step", 8, 0.875)  # one step is left after the warmup
@settings(max_examples=200, deadline=None)
def test_a_factor_is_a_function_of_the_step_within_0_and_1(name: str, steps: int, warmup: float) -> None:
    component = components("schedule")[name]
    schedule: Any = component(warmup=warmup) if issubclass(component, WarmupSchedule) else component()  # type: ignore[call-arg]
    found = factors(schedule, steps)
    assert all(0 <= factor <= 1 for factor in found)
    assert found == [schedule.factor(step, steps) for step in reversed(range(steps))][::-1]
    if name != "one-cycle":
        warm = min(steps, warmup if isinstance(warmup, int) else math.ceil(warmup * steps))
        assert found[:warm] == [(step + 1) / warm for step in range(warm)]
        assert all(later <= earlier + 1e-12 for earlier, later in pairwise(found[warm:]))
        assert warm in (0, steps) or found[warm] == 1


@pytest.mark.parametrize("warmup", [-0.1, 1.0, 1.5, -3])
def test_a_warmup_is_a_share_or_a_number_of_steps(warmup: float) -> None:
    with pytest.raises(ValidationError):
        Cosine(warmup=warmup)
    assert Cosine(warmup=3).factor(0, 10) == pytest.approx(1 / 3)
    assert Cosine(warmup=0).factor(0, 10) == 1


PLATEAUS = [
    {"patience": 2, "gamma": 0.5},
    {"patience": 0, "gamma": 0.1, "cooldown": 3},
    {"patience": 1, "gamma": 0.3, "threshold": 0.1, "floor": 0.05},
]


@pytest.mark.parametrize("higher", [False, True])
@pytest.mark.parametrize("options", PLATEAUS)
@given(values=st.lists(st.floats(0.1, 2.0), min_size=1, max_size=40), cut=st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_a_plateau_lowers_the_rate_when_torch_does_and_goes_on_from_its_state(
    options: dict[str, Any], higher: bool, values: list[float], cut: int
) -> None:
    schedule = Plateau(warmup=0, **options)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode="max" if higher else "min",
        factor=schedule.gamma,
        patience=schedule.patience,
        threshold=schedule.threshold,
        cooldown=schedule.cooldown,
        min_lr=schedule.floor,
        eps=0.0,
    )
    watcher = schedule.plateau_reducer(higher)
    for index, value in enumerate(values):
        if index == cut:
            resumed = schedule.plateau_reducer(higher)
            resumed.load_state_dict(json.loads(json.dumps(watcher.state_dict())))
            watcher = resumed
        watcher.update(value)
        reference.step(value)
        assert watcher.factor == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        assert schedule.factor(index, len(values)) == 1


def test_what_is_no_number_is_no_improvement() -> None:
    watcher = Plateau(patience=1).plateau_reducer()
    for value in (1.0, math.nan, math.nan):
        watcher.update(value)
    assert watcher.factor == 0.1


def test_only_the_plateau_watches() -> None:
    watching = [name for name in ALL if components("schedule")[name]().plateau_reducer() is not None]  # type: ignore[attr-defined]
    assert watching == ["plateau"]
    assert isinstance(Plateau().plateau_reducer(), ReduceLROnPlateau)
