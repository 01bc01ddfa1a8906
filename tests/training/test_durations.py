"""Durations with a unit: the same rate at each epoch as torch's own schedulers, and clear errors."""

import json
from pathlib import Path
from typing import Any

import pytest

import danlu as package
from danlu.errors import RecipeError
from danlu.recipe.durations import Pace
from danlu.recipe.load import check_recipe
from danlu.training.schedules import Constant, Exponential, MultiStep, OneCycle, Step, WarmupStableDecay

PACE = Pace(steps_per_epoch=7, batch_size=20, steps=7 * 30)


def rates(schedule: Any, pace: Pace = PACE) -> list[float]:
    """Return the factor at each step of the run."""
    timed = schedule.in_steps(pace, "training.schedule")
    return [timed.factor(step, pace.steps) for step in range(pace.steps)]


@pytest.mark.parametrize("warmup", [0.0, 0.05, "2 epochs"])
def test_every_10_epochs_divides_where_torch_divides(warmup: Any) -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler, expected = torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.1), list[float]()
    for _ in range(30):
        expected += [optimizer.param_groups[0]["lr"]] * 7
        optimizer.step()
        scheduler.step()
    found = rates(Step(every="10 epochs", warmup=warmup))
    assert found[14:] == pytest.approx(expected[14:])
    assert rates(MultiStep(milestones=("10 epochs", "20 epochs"), warmup=warmup))[14:] == pytest.approx(expected[14:])


def test_lengths_with_units_are_the_steps_they_name() -> None:
    assert rates(Constant(warmup="2 epochs"))[:15] == pytest.approx([*((step + 1) / 14 for step in range(14)), 1.0])
    assert rates(Constant(warmup="280 samples")) == rates(Constant(warmup="14 steps")) == rates(Constant(warmup=14))
    language = Pace(steps_per_epoch=7, batch_size=20, tokens_per_sample=50, steps=210)
    assert rates(Constant(warmup="14k tokens"), language) == rates(Constant(warmup=14))
    assert rates(WarmupStableDecay(decay="5 epochs")) == rates(WarmupStableDecay(decay=35))
    assert rates(OneCycle(rise="9 epochs")) == pytest.approx(rates(OneCycle(rise=0.3)))
    exponential = rates(Exponential(gamma=0.5, warmup=0.0))
    assert exponential[::7] == pytest.approx([0.5**epoch for epoch in range(30)])  # as torch's ExponentialLR, by epoch
    assert rates(Exponential(gamma=0.5, every="1 steps", warmup=0.0))[:3] == pytest.approx([1, 0.5, 0.25])
    assert rates(Exponential(end=0.5)) != rates(Exponential())


def test_tokens_of_samples_without_a_fixed_number_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"training.schedule.warmup: 1M tokens: only a language model's"):
        rates(Constant(warmup="1M tokens"))


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"schedule": {"warmup": "2 parsecs"}}, "warmup: a duration is a share of the run"),
        ({"epochs": "2 steps"}, "training.epochs: is counted in whole epochs"),
        ({"schedule": {"name": "exponential", "end": 0.1, "gamma": 0.9}}, "end and gamma both say"),
        ({"schedule": {"name": "exponential", "every": "2 epochs"}}, "every belongs to gamma"),
        ({"sparsity": {"amount": 0.5, "begin": "3 epochs", "end": "2 epochs"}}, "begin is 3 epochs, not below end"),
    ],
)
def test_what_is_no_duration_is_refused(training: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        check_recipe({"data": {"source": "builtin:wine"}, "model": "linear", "training": training})


@pytest.mark.training
def test_a_run_follows_its_epochs_and_says_a_rate_that_vanishes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe: dict[str, Any] = {
        "data": {"source": "builtin:wine"},
        "model": "linear",
        "training": {
            "epochs": "4 epochs",
            "batch_size": 32,
            "optimizer": {"lr": 0.1},
            "schedule": {"name": "step", "every": "2 epochs", "warmup": 0.0},
            "average": {"name": "swa", "start": "3 epochs"},
            "sparsity": None,
            "early_stopping": None,
        },
    }
    run = package.train(recipe, output=tmp_path / "run")
    lines = [json.loads(line) for line in (Path(run.path) / "metrics.jsonl").read_text().splitlines()]
    trained = {line["step"]: line["lr"] for line in lines if "lr" in line}
    assert trained == pytest.approx({step: 0.1 if step <= 8 else 0.01 for step in range(1, 17)})
    assert "training.schedule" not in capsys.readouterr().err
    recipe["training"] |= {"schedule": {"name": "step", "every": 1, "warmup": 0.0}, "max_steps": "3 epochs"}
    package.train(recipe, output=tmp_path / "other")
    told = capsys.readouterr().err
    assert "training.schedule: the rate falls below 1e-08 of training.optimizer.lr by step 10 of 12" in told
