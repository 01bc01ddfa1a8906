"""Averages of weights: torch's own values, the model's bits back afterwards, and the same after a pause."""

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from danlu.training.averaging import EMA, SWA, WeightAverage, eval_weights
from danlu.training.optimizers.options import SGD, ScheduleFreeAdamW
from danlu.training.param_groups import parameter_groups

STEPS = 12


class Walk:
    """A model with a batch norm, taken from step to step by noise."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        torch.manual_seed(3)
        self.model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)).to(dtype)
        self.optimizer = SGD().build(parameter_groups(self.model, 0.0), 0.05)

    def step(self, number: int) -> None:
        torch.manual_seed(number)
        self.optimizer.zero_grad()
        inputs = torch.randn(8, 4, dtype=self.model[0].weight.dtype)
        self.model(inputs).square().mean().backward()
        self.optimizer.step()


def values(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())


def test_swa_is_the_mean_from_its_start_on() -> None:
    walk = Walk()
    average = SWA(start=0.5).build(walk.model)
    reference = AveragedModel(walk.model, use_buffers=True)
    for step in range(1, STEPS + 1):
        walk.step(step)
        average.update(step, STEPS)
        if step > STEPS / 2:
            reference.update_parameters(walk.model)
    with average.swapped_in():
        for name, value in reference.module.state_dict().items():
            if value.is_floating_point():
                torch.testing.assert_close(walk.model.state_dict()[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_ema_follows_its_formula_with_a_decay_that_begins_low(decay: float) -> None:
    walk = Walk()
    average = EMA(decay=decay).build(walk.model)
    wanted = values(walk.model)
    for step in range(1, STEPS + 1):
        walk.step(step)
        average.update(step, STEPS)
        used = min(decay, step / (9 + step))
        for name, value in values(walk.model).items():
            wanted[name] = used * wanted[name] + (1 - used) * value if value.is_floating_point() else value
    with average.swapped_in():
        for name, value in values(walk.model).items():
            torch.testing.assert_close(value, wanted[name], rtol=1e-5, atol=1e-6)


def test_ema_after_its_beginning_is_torchs_own() -> None:
    walk = Walk()
    average = EMA(decay=0.1).build(walk.model)  # the ramp begins at 0.1, so there is none
    reference = AveragedModel(walk.model, multi_avg_fn=get_ema_multi_avg_fn(0.1), use_buffers=True)
    reference.update_parameters(walk.model)  # torch's takes the first weights whole
    for step in range(1, STEPS + 1):
        walk.step(step)
        average.update(step, STEPS)
        reference.update_parameters(walk.model)
    with average.swapped_in():
        torch.testing.assert_close(walk.model[2].weight, reference.module[2].weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [EMA(), SWA(start=0.2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_models_own_bits_come_back_even_after_an_error(options: WeightAverage, dtype: torch.dtype) -> None:
    walk = Walk(dtype)
    average = options.build(walk.model)
    for step in range(1, STEPS + 1):
        walk.step(step)
        average.update(step, STEPS)
    before = values(walk.model)
    seen: list[torch.Tensor] = []

    def judge() -> None:
        with average.swapped_in():
            seen.append(walk.model[0].weight.detach().clone())
            raise KeyError

    with pytest.raises(KeyError):
        judge()
    assert seen[0].isfinite().all()
    assert not torch.equal(seen[0], before["0.weight"])
    assert_same(values(walk.model), before)


def test_averages_of_bf16_weights_keep_small_changes() -> None:
    model = nn.Linear(1, 1, bias=False).bfloat16()
    nn.init.constant_(model.weight, 1.0)
    average = EMA(decay=0.999).build(model)
    average.num_updates = 10**6  # past the ramp
    nn.init.constant_(model.weight, 2.0)
    for step in range(200):
        average.update(step, 200)
    assert float(average.state_dict()["averages"]["weight"]) == pytest.approx(2 - 0.999**200, abs=1e-4)


def test_nothing_is_put_in_before_the_average_begins() -> None:
    walk = Walk()
    average = SWA(start=0.9).build(walk.model)
    walk.step(1)
    average.update(1, STEPS)
    before = values(walk.model)
    with average.swapped_in():
        assert_same(values(walk.model), before)


@pytest.mark.parametrize("options", [EMA(decay=0.9), SWA(start=0.0)])
def test_an_average_goes_on_from_its_state_bit_for_bit(options: WeightAverage) -> None:
    walk = Walk()
    average = options.build(walk.model)
    for step in range(1, 6):
        walk.step(step)
        average.update(step, STEPS)
    state = average.state_dict()
    state["averages"] = {name: value.clone() for name, value in state["averages"].items()}
    resumed = options.build(walk.model)
    resumed.load_state_dict(state)
    for step in range(6, STEPS + 1):
        walk.step(step)
        average.update(step, STEPS)
        resumed.update(step, STEPS)
    with average.swapped_in():
        wanted = values(walk.model)
    with resumed.swapped_in():
        assert_same(values(walk.model), wanted)


def test_tied_weights_are_averaged_once() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    average = EMA().build(model)
    assert list(average.state_dict()["averages"]) == ["0.weight", "0.bias", "1.bias"]


def test_what_is_judged_is_the_average_else_the_schedule_free_weights_else_the_model() -> None:
    walk = Walk()
    average = SWA(start=0.0).build(walk.model)
    for step in range(1, 5):
        walk.step(step)
        average.update(step, STEPS)
    own = values(walk.model)
    with eval_weights(walk.model, walk.optimizer, None):
        assert_same(values(walk.model), own)
    with eval_weights(walk.model, walk.optimizer, average):
        torch.testing.assert_close(walk.model[0].weight.detach(), average.state_dict()["averages"]["0.weight"])
    assert_same(values(walk.model), own)
    free: Any = ScheduleFreeAdamW().build(parameter_groups(walk.model, 0.0), 0.05)
    walk.optimizer = free
    for step in range(1, 5):
        walk.step(step)
    own = values(walk.model)
    bases = [free.state[value]["z"].clone() for value in walk.model.parameters()]
    with eval_weights(walk.model, free, None):
        judged = [value.detach().clone() for value in walk.model.parameters()]
    assert_same(values(walk.model), own)
    for value, base, found in zip(walk.model.parameters(), bases, judged, strict=True):
        torch.testing.assert_close(found, (value.detach() - 0.1 * base) / 0.9)
    assert math.isfinite(sum(float(value.sum()) for value in judged))
