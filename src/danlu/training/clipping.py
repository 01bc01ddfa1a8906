"""Gradient clipping; sharded gradients are clipped as if they were whole."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from danlu.core.pieces import to_local, is_dtensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

# The sum of squares of this process's gradients -> the sum over all processes that hold other weights.
SquareSumReducer = Callable[[Tensor], Tensor]


def clip_grad_norm(parameters: Iterable[nn.Parameter], max_norm: float, reduce: SquareSumReducer | None = None) -> Tensor:
    """Scale all gradients so that their joint norm is at most `max_norm`.

    Pascanu et al. 2013, https://arxiv.org/abs/1211.5063.

    Args:
        reduce: adds the sums of squares of processes that hold other weights, as the stages of a pipeline do.

    Returns:
        the norm before, a scalar on the device. A norm that is not finite makes every gradient so too.
    """
    whole = [parameter.grad for parameter in parameters if parameter.grad is not None]
    gradients = [to_local(gradient) for gradient in whole]
    if reduce is None and not any(is_dtensor(gradient) for gradient in whole):
        norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    else:
        squares = grad_square_sum(whole)
        norm = (squares if reduce is None else reduce(squares)).sqrt().float()
    # On the host reading the norm is free; elsewhere it would wait for the device.
    if norm.device.type != "cpu":
        torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1.0))
    elif not norm.item() <= max_norm:
        torch._foreach_mul_(gradients, max_norm / (norm.item() + 1e-6))
    return norm


def grad_square_sum(gradients: list[Tensor]) -> Tensor:
    """Return the sum of squares of all entries in fp64, summed over shards."""
    total = _squares([gradient for gradient in gradients if not is_dtensor(gradient)], gradients[0].device)
    alike: dict[tuple[object, ...], list[DTensor]] = {}
    for gradient in gradients:
        if is_dtensor(gradient):
            alike.setdefault((gradient.device_mesh, gradient.placements), []).append(gradient)
    for group in alike.values():
        squares = _squares([to_local(gradient) for gradient in group], total.device)
        for dimension, placement in enumerate(group[0].placements):
            assert not placement.is_partial(), "gradients are complete once the backward pass has ended"
            if not placement.is_replicate():
                torch.distributed.all_reduce(squares, group=group[0].device_mesh.get_group(dimension))
        total = total + squares
    return total


def _squares(tensors: list[Tensor], device: torch.device) -> Tensor:
    if not tensors:
        return torch.zeros((), dtype=torch.float64, device=device)
    return torch.stack(torch._foreach_norm(tensors)).double().square().sum()


def clip_grad_value(parameters: Iterable[nn.Parameter], max_value: float) -> None:
    """Clip every entry of every gradient to [-max_value, max_value]."""
    nn.utils.clip_grad_value_(parameters, max_value, foreach=True)
