"""Gradients held within bounds; of weights that are split among processes, as if they were whole."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from danlu.core.pieces import held, is_split

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

# The sum of squares of some gradients -> that of all processes that hold other weights.
Gather = Callable[[Tensor], Tensor]


def clip_by_norm(parameters: Iterable[nn.Parameter], most: float, gather: Gather | None = None) -> Tensor:
    """Scale all gradients so that their joint norm is at most `most` (Pascanu et al. 2013).

    Args:
        gather: adds what processes have that hold other weights, as the stages of a pipeline do.

    Returns:
        the norm before, a scalar on the device. A norm that is not finite makes every gradient so too.
    """
    whole = [parameter.grad for parameter in parameters if parameter.grad is not None]
    gradients = [held(gradient) for gradient in whole]
    if gather is None and not any(is_split(gradient) for gradient in whole):
        norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    else:
        squares = sum_of_squares(whole)
        norm = (squares if gather is None else gather(squares)).sqrt().float()
    # On the host the norm can be looked at for nothing; elsewhere that would wait for the device.
    if norm.device.type != "cpu":
        torch._foreach_mul_(gradients, (most / (norm + 1e-6)).clamp(max=1.0))
    elif not norm.item() <= most:
        torch._foreach_mul_(gradients, most / (norm.item() + 1e-6))
    return norm


def sum_of_squares(gradients: list[Tensor]) -> Tensor:
    """The sum of the squares of all entries, a scalar in fp64; pieces of split gradients are summed over processes."""
    total = _squares([gradient for gradient in gradients if not is_split(gradient)], gradients[0].device)
    alike: dict[tuple[object, ...], list[DTensor]] = {}
    for gradient in gradients:
        if is_split(gradient):
            alike.setdefault((gradient.device_mesh, gradient.placements), []).append(gradient)
    for group in alike.values():
        squares = _squares([held(gradient) for gradient in group], total.device)
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


def clip_by_value(parameters: Iterable[nn.Parameter], most: float) -> None:
    """Cut every entry of every gradient to [-most, most]."""
    nn.utils.clip_grad_value_(parameters, most, foreach=True)
