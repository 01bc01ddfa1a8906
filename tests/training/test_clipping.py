"""Gradients held within bounds, by hand: a 3-4-5 triangle over two weights."""

import math

import pytest
import torch
from torch import nn

from danlu.training.regularization import clip_grad_norm, clip_grad_value, grad_square_sum


def weights(*gradients: list[float] | None) -> list[nn.Parameter]:
    found = []
    for values in gradients:
        weight = nn.Parameter(torch.zeros(1 if values is None else len(values)))
        weight.grad = None if values is None else torch.tensor(values)
        found.append(weight)
    return found


def gradients(some: list[nn.Parameter]) -> list[list[float]]:
    return [weight.grad.tolist() for weight in some if weight.grad is not None]


def test_a_norm_above_the_limit_is_scaled_down_to_it_over_all_weights() -> None:
    some = weights([3.0], [4.0, 0.0])
    assert float(clip_grad_norm(some, 1.0)) == pytest.approx(5.0)
    assert gradients(some)[0] == pytest.approx([0.6])
    assert gradients(some)[1] == pytest.approx([0.8, 0.0])


@pytest.mark.parametrize("most", [5.0, 5.1, 100.0])
def test_a_norm_within_the_limit_keeps_its_bits(most: float) -> None:
    some = weights([3.0], [4.0])
    assert float(clip_grad_norm(some, most)) == pytest.approx(5.0)
    assert gradients(some) == [[3.0], [4.0]]


def test_weights_without_a_gradient_are_left_out() -> None:
    some = weights([3.0], None, [4.0])
    assert float(clip_grad_norm(some, 2.5)) == pytest.approx(5.0)
    assert gradients(some)[0] == pytest.approx([1.5]) and some[1].grad is None


def test_other_processes_squares_count() -> None:
    some = weights([3.0])
    norm = clip_grad_norm(some, 1.0, reduce=lambda squares: squares + 16.0)
    assert float(norm) == pytest.approx(5.0)
    assert gradients(some)[0] == pytest.approx([0.6])


def test_a_norm_that_is_not_finite_makes_every_gradient_so() -> None:
    some = weights([math.inf], [1.0])
    assert not math.isfinite(float(clip_grad_norm(some, 1.0)))
    some = weights([math.nan], [1.0])
    assert math.isnan(float(clip_grad_norm(some, 1.0)))
    assert all(math.isnan(value) for entries in gradients(some) for value in entries)


def test_sum_of_squares_is_of_all_entries_in_fp64() -> None:
    found = grad_square_sum([torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])])
    assert found.dtype == torch.float64 and float(found) == pytest.approx(14.0)


def test_clip_by_value_cuts_each_entry() -> None:
    some = weights([3.0, -3.0, 0.5, -0.5])
    clip_grad_value(some, 1.0)
    assert gradients(some) == [[1.0, -1.0, 0.5, -0.5]]
