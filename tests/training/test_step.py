"""One optimizer step: gradients of the mean loss, in one piece or in parts, clipped, and what is random repeats."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from danlu.core.seeds import Seed
from danlu.tasks.loss_weighting import LossWeighting
from danlu.training.optimizers.options import SGD
from tests.support.machines import WithDropout, batch_of, same, small_step, weights_of

ROWS = 12


@pytest.fixture(autouse=True)
def _quick_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """To collect garbage after each attempt takes a quarter of a second here."""
    monkeypatch.setattr("gc.collect", lambda: 0)


def stepped(model: WithDropout, seed: int = 7, **options: Any) -> tuple[float, dict[str, Tensor], int]:
    step = small_step(model, **options)
    loss = step(batch_of(ROWS), 0.1, Seed(seed))
    return float(loss), weights_of(model), step.num_microbatches


@pytest.mark.parametrize(("most", "parts"), [(6, 2), (4, 4), (3, 4), (2, 8)])
def test_a_retry_after_memory_ran_out_is_the_step_that_had_been_planned_in_parts(most: int, parts: int) -> None:
    """Dropout draws masks before memory runs out; the retry must draw the same ones as if nothing had happened."""
    loss, weights, found = stepped(WithDropout(most))
    planned_loss, planned, _ = stepped(WithDropout(), num_microbatches=parts)
    assert found == parts
    assert loss == planned_loss and same(weights, planned)


def test_the_masks_of_a_step_follow_from_its_seed() -> None:
    assert same(stepped(WithDropout(), 7)[1], stepped(WithDropout(), 7)[1])
    assert not same(stepped(WithDropout(), 7)[1], stepped(WithDropout(), 8)[1])


def test_memory_that_runs_out_for_the_smallest_part_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="can't allocate"):
        stepped(WithDropout(2), min_microbatch_rows=3)
    assert stepped(WithDropout(3), min_microbatch_rows=3)[2] == 4  # twelve rows in parts of three
    with pytest.raises(RuntimeError, match="can't allocate"):
        stepped(WithDropout(0))


def test_other_errors_are_not_retried() -> None:
    model = WithDropout()

    def broken(x: Tensor) -> Tensor:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        small_step(model, forward=broken)(batch_of(ROWS), 0.1, Seed(0))


def squared(logits: Tensor, target: Tensor, emphasis: LossWeighting) -> tuple[Tensor, int]:
    """The sum over rows of w^2 / 2 for a network that answers w."""
    return (logits**2).sum() / 2, len(target)


class OneWeight(nn.Module):
    """Answers its weight for every row."""

    def __init__(self, value: float = 2.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(value))

    def forward(self, x: Tensor) -> Tensor:
        return self.w.expand(len(x), 1)


def one_step(lr: float = 0.1, value: float = 2.0, **options: Any) -> tuple[float, float]:
    model = OneWeight(value)
    loss = small_step(model, loss=squared, **options)(batch_of(ROWS), lr, Seed(0))
    return float(loss), model.w.item()


def test_the_loss_is_the_mean_and_the_step_goes_down_its_gradient() -> None:
    # The mean of w^2 / 2 is 2, its gradient w = 2; a step of 0.1 leaves 2 - 0.2.
    assert one_step() == pytest.approx((2.0, 1.8))


@pytest.mark.parametrize("parts", [1, 2, 3, 5, 12, 50])
def test_parts_add_up_to_the_whole_batchs_mean(parts: int) -> None:
    assert one_step(num_microbatches=parts) == pytest.approx((2.0, 1.8))


def test_gradients_do_not_add_up_over_steps() -> None:
    model = OneWeight()
    step = small_step(model, loss=squared)
    for _ in range(2):
        step(batch_of(ROWS), 0.1, Seed(0))
    assert model.w.item() == pytest.approx(2.0 * 0.9 * 0.9)


def test_clipping_by_norm_and_by_value() -> None:
    assert one_step(clip_norm=1.0)[1] == pytest.approx(1.9, abs=1e-6)
    assert one_step(clip_norm=3.0)[1] == pytest.approx(1.8)
    assert one_step(clip_value=0.5)[1] == pytest.approx(1.95)
    model = OneWeight()
    step = small_step(model, loss=squared, clip_norm=1.0)
    step(batch_of(ROWS), 0.1, Seed(0))
    assert step.grad_norm is not None and float(step.grad_norm) == pytest.approx(2.0)  # before it was clipped


def test_values_are_clipped_before_the_norm() -> None:
    # 2 is cut to 1.5 and that to a norm of 1.
    model = OneWeight()
    step = small_step(model, loss=squared, clip_norm=1.0, clip_value=1.5)
    step(batch_of(ROWS), 0.1, Seed(0))
    assert step.grad_norm is not None and float(step.grad_norm) == pytest.approx(1.5)


def test_before_comes_ahead_of_clipping_and_after_behind_the_step() -> None:
    model = OneWeight()
    seen: list[float] = []

    def before() -> None:
        assert model.w.grad is not None
        model.w.grad += 1.0  # of 2 it makes 3

    step = small_step(
        model, loss=squared, before_step=before, after_step=lambda: seen.append(model.w.item()), clip_norm=1.5
    )
    step(batch_of(ROWS), 0.1, Seed(0))
    assert step.grad_norm is not None and float(step.grad_norm) == pytest.approx(3.0)
    assert seen == [pytest.approx(2.0 - 0.15, abs=1e-6)]


def test_each_group_has_its_share_of_the_rate() -> None:
    model = nn.ModuleList([OneWeight(), OneWeight()])

    def forward(x: Tensor) -> Tensor:
        return torch.cat([model[0](x), model[1](x)], dim=1)

    optimizer = SGD(momentum=0.0).build(
        [{"params": [model[0].w], "lr_scale": 1.0}, {"params": [model[1].w], "lr_scale": 0.5}], 0.1
    )
    step = small_step(model, forward=forward, loss=squared, optimizer=None)
    step.optimizer = optimizer
    for lr in (0.1, 0.2):
        step(batch_of(ROWS), lr, Seed(0))
    assert model[0].w.item() == pytest.approx(2.0 * 0.9 * 0.8)
    assert model[1].w.item() == pytest.approx(2.0 * 0.95 * 0.9)


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("parts", [1, 3])
def test_a_loss_that_is_no_number_leaves_the_weights(value: float, parts: int) -> None:
    model = OneWeight()

    def broken(logits: Tensor, target: Tensor, emphasis: LossWeighting) -> tuple[Tensor, int]:
        return logits.sum() * value, len(target)

    loss = small_step(model, loss=broken, num_microbatches=parts)(batch_of(ROWS), 0.1, Seed(0))
    assert not math.isfinite(float(loss)) and model.w.item() == 2.0


def test_a_batch_without_answers_costs_nothing() -> None:
    def nothing(logits: Tensor, target: Tensor, emphasis: LossWeighting) -> tuple[Tensor, int]:
        return logits.sum() * 0.0, 0

    model = OneWeight()
    assert float(small_step(model, loss=nothing, num_targets=lambda target: 0)(batch_of(ROWS), 0.1, Seed(0))) == 0.0
    assert model.w.item() == 2.0
