"""The loop: which seed, rate and batch each step has, when it validates, logs, keeps and ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from danlu.core.seeds import Seed
from danlu.errors import DanluError
from danlu.training.averaging import EMA
from danlu.training.early_stopping import EarlyStopper
from danlu.training.loop import TrainPlan, TrainResult, train
from danlu.training.recorder import Recorder
from danlu.training.schedules import Linear, ReduceLROnPlateau
from danlu.training.train_state import ShardCopy, TrainState
from tests.support.machines import WithDropout, feed_of, same, small_machine, weights_of

METRIC = "validation/loss"


class Notes(Recorder):
    """Keeps what the loop reports."""

    def __init__(self) -> None:
        self.lines: list[dict[str, float]] = []
        self.steps: list[int] = []
        self.kept: dict[int, dict[str, Tensor]] = {}
        self.judged: dict[int, bool] = {}
        self.due: set[int] = set()

    def record_step(self, step: int, samples: int, loss: Tensor, norm: Tensor | None) -> None:
        self.steps.append(step)

    def log(self, record: dict[str, float]) -> None:
        self.lines.append(record)

    @contextmanager
    def validating(self) -> Iterator[None]:
        yield

    def is_checkpoint_due(self, step: int) -> bool:
        return step in self.due

    def save_checkpoint(
        self, machine: TrainState, step: int, watch: EarlyStopper, judged: dict[str, ShardCopy] | None = None
    ) -> None:
        self.kept[step] = weights_of(machine.model)
        self.judged[step] = bool(judged)


def trained(
    values: list[float] | None = None,
    steps: int = 8,
    patience: int | None = None,
    seed: int = 3,
    ends: int | None = None,
    notes: Notes | None = None,
    log_every: int = 1,
    first: int = 0,
    last: int | None = None,
    model: WithDropout | None = None,
    min_delta: float = 0.0,
    **options: Any,
) -> tuple[TrainResult, Notes, TrainState]:
    """Train on 16 rows in batches of 4; validations give `values` one after the other."""
    machine = small_machine(model or WithDropout(), steps, 4, **options)
    given = iter(values or [1.0] * 100)
    notes = notes or Notes()
    plan = TrainPlan(steps=steps, end_step=ends or steps, steps_per_epoch=4, validate_every=2, log_every=log_every)
    watch = EarlyStopper(METRIC, patience, higher_is_better=False, min_delta=min_delta)
    validate = lambda: {METRIC: next(given)}  # noqa: E731
    outcome = train(
        machine,
        loader=feed_of(16),
        plan=plan,
        seed=Seed(seed),
        early_stopping=watch,
        validate=validate,
        recorder=notes,
        start_step=first,
        end_step=last,
    )
    return outcome, notes, machine


def test_every_step_draws_masks_of_its_own_and_the_same_ones_in_another_run() -> None:
    one, other = WithDropout(), WithDropout()
    trained(model=one)
    trained(model=other)
    assert len(one.masks) == 8
    for index, mask in enumerate(one.masks):
        assert torch.equal(mask, other.masks[index])
        assert not any(torch.equal(mask, later) for later in one.masks[index + 1 :])
    third = WithDropout()
    trained(model=third, seed=4)
    assert not any(torch.equal(mask, third.masks[index]) for index, mask in enumerate(one.masks))


def test_a_steps_masks_follow_from_the_seed_derived_by_its_number() -> None:
    model = WithDropout()
    trained(model=model)
    for number, mask in enumerate(model.masks):
        torch.manual_seed(Seed(3).derive("step", number).value)
        assert torch.equal(torch.nn.functional.dropout(torch.ones(4, 32), 0.5), mask)


def test_a_run_that_goes_on_makes_the_steps_that_are_left() -> None:
    whole = trained()
    model = WithDropout()
    model.load_state_dict(whole[1].kept[4])
    outcome, notes, machine = trained(model=model, first=4)
    assert notes.steps == [5, 6, 7, 8] and outcome.steps == 8
    assert same(weights_of(machine.model), weights_of(whole[2].model))


def test_rates_follow_the_schedule_from_its_first_step() -> None:
    _, notes, _ = trained(schedule=Linear(warmup=0.0), base_lr=0.2)
    rates = [line["lr"] for line in notes.lines if "lr" in line]
    assert rates == pytest.approx([0.2 * (1 - step / 8) for step in range(8)])


def test_the_plateau_lowers_the_rate_once_validation_stalls() -> None:
    plateau = ReduceLROnPlateau(0.5, 0, 0.0, 0, 0.0, higher_is_better=False)
    _, notes, _ = trained([1.0, 1.0, 0.5, 0.5], plateau=plateau)
    rates = [line["lr"] for line in notes.lines if "lr" in line]
    assert rates == pytest.approx([0.1] * 4 + [0.05] * 4)


def test_validations_logs_and_epochs() -> None:
    _, notes, _ = trained(steps=7, log_every=3)
    assert [line["step"] for line in notes.lines if METRIC in line] == [2, 4, 6, 7]  # the last step validates too
    assert [(line["step"], line["epoch"]) for line in notes.lines if "train/loss" in line] == [(3, 0.75), (6, 1.5)]
    assert notes.steps == list(range(1, 8)) and sorted(notes.kept) == [2, 4, 6, 7]


def test_a_checkpoint_that_is_due_is_kept_between_validations() -> None:
    notes = Notes()
    notes.due = {3}
    trained(notes=notes)
    assert sorted(notes.kept) == [2, 3, 4, 6, 8]


@pytest.mark.parametrize(
    ("values", "patience", "steps", "best_step"),
    [
        ([1.0, 0.9, 0.8, 0.7], 1, 8, 8),
        ([1.0, 1.1, 0.8, 0.7], 1, 4, 2),
        ([1.0, 1.0, 0.8, 0.7], 1, 4, 2),
        ([1.0, 1.1, 0.8, 0.9], 2, 8, 6),
        ([1.0, 1.1, 1.2, 0.7], 2, 6, 2),
        ([1.0, 1.1, 1.2, 0.7], None, 8, 8),
    ],
)
def test_training_ends_early_and_names_the_best_step(
    values: list[float], patience: int | None, steps: int, best_step: int
) -> None:
    outcome, _, _ = trained(values, patience=patience)
    assert (outcome.steps, outcome.best_step) == (steps, best_step)
    assert outcome.best == min(values[: steps // 2])
    assert ("stopped early" in outcome.stop_reason) == (patience is not None and steps < 8)


def test_training_ends_early_where_improvements_are_small_and_keeps_the_best_of_them() -> None:
    outcome, _, _ = trained([1.0, 0.9375, 0.875, 0.25], patience=2, min_delta=0.25)
    assert (outcome.steps, outcome.best_step, outcome.best) == (6, 6, 0.875)
    assert outcome.stop_reason == f"stopped early: {METRIC} had not improved by more than 0.25 in 2 validations"


def test_a_run_ends_where_the_plan_or_the_caller_says() -> None:
    assert trained(ends=5)[0].steps == 5
    assert trained(last=3)[0].steps == 3
    assert trained(first=2, last=3)[1].steps == [3]


def test_a_validation_loss_that_is_no_number_ends_the_run() -> None:
    with pytest.raises(DanluError, match="the validation loss is nan after step 4"):
        trained([1.0, float("nan")])


def test_an_average_is_judged_and_kept_beside_the_weights_only_where_it_is_best() -> None:
    model = WithDropout()
    judged: list[dict[str, Tensor]] = []

    def validate() -> dict[str, float]:
        judged.append(weights_of(model))
        return {METRIC: [1.0, 2.0, 0.5, 3.0][len(judged) - 1]}

    machine = small_machine(model, 8, 4)
    machine.average = EMA(decay=0.5).build(model)
    notes = Notes()
    plan = TrainPlan(steps=8, end_step=8, steps_per_epoch=4, validate_every=2, log_every=1)
    train(
        machine,
        loader=feed_of(16),
        plan=plan,
        seed=Seed(3),
        early_stopping=EarlyStopper(METRIC, None, False),
        validate=validate,
        recorder=notes,
    )
    assert notes.judged == {2: True, 4: False, 6: True, 8: False}
    assert all(not same(judged[index], notes.kept[2 * index + 2]) for index in range(4))
