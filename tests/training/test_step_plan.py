"""How many steps a run has, and when it validates and logs, by hand."""

from typing import Any

import pytest

from danlu.recipe.load import check_recipe
from danlu.training.loop import TrainPlan, plan_steps


def planned(samples: int, until: float | None = None, **training: Any) -> TrainPlan:
    return plan_steps(samples, check_recipe({"data": {"source": "x"}, "training": training}).training, until)


@pytest.mark.parametrize(
    ("samples", "training", "steps", "an_epoch", "validate_every", "log_every"),
    [
        (100, {"epochs": 20, "batch_size": 10}, 200, 10, 10, 1),
        (100, {"epochs": 200, "batch_size": 10}, 2000, 10, 10, 10),
        (100, {"epochs": 10, "batch_size": 10}, 100, 10, 10, 1),
        (100, {"epochs": 5, "batch_size": 10}, 50, 10, 5, 1),  # ten validations in all
        (100, {"epochs": 1, "batch_size": 10}, 10, 10, 1, 1),
        (105, {"epochs": 4, "batch_size": 10}, 44, 11, 5, 1),
        (101, {"epochs": 4, "batch_size": 10}, 40, 10, 4, 1),  # a last batch of one row is left out
        (100, {"epochs": 4, "batch_size": 10, "max_steps": 7}, 7, 10, 1, 1),
        (100, {"epochs": 4, "batch_size": 10, "max_steps": 70}, 40, 10, 4, 1),
        (1000, {"epochs": 41, "batch_size": 10}, 4100, 100, 100, 20),
    ],
)
def test_steps_by_hand(
    samples: int, training: dict[str, Any], steps: int, an_epoch: int, validate_every: int, log_every: int
) -> None:
    assert planned(samples, **training) == TrainPlan(steps, steps, an_epoch, validate_every, log_every)


def test_a_known_end_leaves_the_schedule_as_long_as_it_was() -> None:
    plan = planned(100, until=2.5, epochs=20, batch_size=10)
    assert (plan.steps, plan.end_step) == (200, 25)
    assert planned(100, until=0.01, epochs=20, batch_size=10).end_step == 1
    assert planned(100, until=50.0, epochs=20, batch_size=10).end_step == 200
