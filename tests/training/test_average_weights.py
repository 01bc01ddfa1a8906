"""How far an average of the weights moves in each step, by hand."""

import pytest
import torch
from torch import nn

from danlu.training.averaging import EMA, SWA


@pytest.mark.parametrize(
    ("decay", "taken", "share"),
    [(0.999, 0, 0.9), (0.999, 1, 9 / 11), (0.999, 8, 0.5), (0.5, 0, 0.9), (0.5, 8, 0.5), (0.5, 100, 0.5)],
)
def test_ema_forgets_the_first_weights_soon(decay: float, taken: int, share: float) -> None:
    assert EMA(decay=decay).lerp_weight(taken, taken + 1, 100) == pytest.approx(share)


def test_emas_decay_is_reached_in_the_end() -> None:
    assert EMA(decay=0.99).lerp_weight(10_000, 10_001, 20_000) == pytest.approx(0.01)
    assert EMA().decay == 0.999


def test_swa_is_a_plain_mean_behind_its_start() -> None:
    average = SWA(start=0.75)
    assert [average.lerp_weight(0, step, 8) for step in (1, 5, 6)] == [None, None, None]
    assert [average.lerp_weight(taken, 7 + taken, 8) for taken in (0, 1)] == [1.0, 0.5]
    assert SWA(start=0.7).lerp_weight(0, 7, 9) is None  # 6.3 steps are 7
    assert SWA(start=0.7).lerp_weight(0, 8, 9) == 1.0
    assert SWA(start=0.0).lerp_weight(0, 1, 9) == 1.0
    assert SWA().start == 0.75


@pytest.mark.parametrize(("average", "expected"), [(SWA(start=0.5), 3.5), (SWA(start=0.0), 2.5)])
def test_the_mean_of_weights_1_to_4(average: SWA, expected: float) -> None:
    model = nn.Linear(1, 1, bias=False)
    running = average.build(model)
    for step in range(1, 5):
        with torch.no_grad():
            model.weight.fill_(float(step))
        running.update(step, 4)
    with running.swapped_in():
        assert model.weight.item() == pytest.approx(expected)
    assert model.weight.item() == 4.0


def test_ema_of_weights_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    running = EMA(decay=0.15).build(model)
    for step, value in ((1, 10.0), (2, 20.0)):
        with torch.no_grad():
            model.weight.fill_(value)
        running.update(step, 2)
    # Decays are min(0.15, 1/10) and min(0.15, 2/11): 0.1 * 0 + 0.9 * 10 = 9, then 0.15 * 9 + 0.85 * 20.
    with running.swapped_in():
        assert model.weight.item() == pytest.approx(18.35)


def test_an_average_that_has_taken_nothing_changes_nothing() -> None:
    model = nn.Linear(1, 1, bias=False)
    running = SWA(start=0.5).build(model)
    own = model.weight.item()
    with torch.no_grad():
        model.weight.add_(1.0)
    running.update(1, 4)
    with running.swapped_in():
        assert model.weight.item() == pytest.approx(own + 1.0)
