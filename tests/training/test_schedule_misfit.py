"""A schedule whose lengths in steps do not fit in the run is said before the first step."""

from pathlib import Path

import pytest

import danlu as package
from danlu.training.schedules import Constant, Cosine, MultiStep, OneCycle, Schedule, Step, WarmupStableDecay


@pytest.mark.parametrize(
    ("schedule", "steps", "said"),
    [
        (Cosine(warmup=500), 120, "warmup: 500 steps are longer than the run of 120: the rate ends at 0.24 of"),
        (Constant(warmup=121), 120, "warmup: 121 steps are longer"),
        (Step(every=200, warmup=0.0), 120, "every: 200 steps, and 120 follow the warmup: the rate never falls"),
        (MultiStep(milestones=(0.5, 110), warmup=20), 120, "milestones: 110 are never reached, since 100 steps"),
        (WarmupStableDecay(decay=110, warmup=20), 120, "decay: 110 steps, and 100 follow the warmup"),
    ],
)
def test_what_a_run_never_comes_to_is_said(schedule: Schedule, steps: int, said: str) -> None:
    assert said in str(schedule.misfit(steps))


@pytest.mark.parametrize(
    "schedule",
    [Cosine(warmup=120), Cosine(), Constant(), Step(every=60), MultiStep(milestones=(100,), warmup=20), OneCycle()],
)
def test_what_fits_is_not_said(schedule: Schedule) -> None:
    assert schedule.misfit(120) is None


@pytest.mark.training
def test_training_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = {
        "data": {"source": "builtin:wine"},
        "model": "linear",
        "training": {"max_steps": 4, "batch_size": 32, "schedule": {"name": "linear", "warmup": 16}},
    }
    package.train(recipe, output=tmp_path)
    told = capsys.readouterr().err
    assert "training.schedule.warmup: 16 steps are longer than the run of 4: the rate ends at 0.25 of" in told
