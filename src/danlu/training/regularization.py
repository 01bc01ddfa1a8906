"""Regularization of weights and gradients besides weight decay: L1, L2, max-norm, and gradient clipping.

Biases and norms (fewer than two dimensions) are not penalised. The logged loss is the task's, without these terms.
Sharded gradients are clipped as if they were whole.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from danlu.core.distributed.shards import is_dtensor, to_local
from danlu.training.optimizers.base import params_with_grads

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


@dataclass(frozen=True)
class MaxNormWeight:
    """Hold a weight and the dimension that indexes its output units."""

    weight: Tensor
    unit_dim: int


@dataclass(frozen=True)
class WeightRegularizer:
    """Apply L1, L2 and max-norm, around whole steps or around the step of one weight.

    Attributes:
        model: its weights are regularized.
        l1, l2: coefficients of the sums of |w| and of half w^2.
        max_norm: largest norm of a unit's incoming weights; None for no limit.
    """

    model: nn.Module
    l1: float
    l2: float
    max_norm: float | None

    @cached_property
    def _penalized_params(self) -> list[nn.Parameter]:
        return penalized_params(self.model)

    @cached_property
    def _max_norm_weights(self) -> "dict[int, MaxNormWeight]":
        return {id(one.weight): one for one in max_norm_weights(self.model)}

    def add_penalty_grads(self) -> None:
        """Add the penalties' gradients to those of all weights."""
        add_penalties(self._penalized_params, self.l1, self.l2)

    def add_penalty_grad(self, weight: nn.Parameter) -> None:
        """Add the penalties' gradient to that of one weight."""
        if weight.ndim >= 2:
            add_penalties([weight], self.l1, self.l2)

    def apply_max_norm(self) -> None:
        """Apply max-norm to the weights of the model."""
        assert self.max_norm is not None
        renorm_units(list(self._max_norm_weights.values()), self.max_norm)

    def apply_max_norm_to(self, weight: nn.Parameter, stepped: Tensor) -> None:
        """Apply max-norm to a weight's stepped value before it is written back."""
        if self.max_norm is not None and id(weight) in self._max_norm_weights:
            renorm_units([MaxNormWeight(stepped, self._max_norm_weights[id(weight)].unit_dim)], self.max_norm)


def penalized_params(model: nn.Module) -> list[nn.Parameter]:
    """Return the trained weights that L1 and L2 penalise: those with two dimensions or more."""
    return [value for value in model.parameters() if value.requires_grad and value.ndim >= 2]


@torch.no_grad()
def add_penalties(weights: Sequence[nn.Parameter], l1: float, l2: float) -> None:
    """Add the gradient of l1 sum |w| + l2/2 sum w^2, before gradients are clipped.

    Gradients must be those of the loss itself: with loss scaling, unscale them first. Weights without a gradient, which
    this step did not use, are skipped.
    """
    used, gradients = params_with_grads(weights)
    if not used:
        return
    if l2:
        torch._foreach_add_(gradients, used, alpha=l2)
    if l1:
        torch._foreach_add_(gradients, [weight.sign() for weight in used], alpha=l1)


def max_norm_weights(model: nn.Module) -> list[MaxNormWeight]:
    """Return the trained weights of linear layers and convolutions, which max-norm applies to."""
    found: dict[int, MaxNormWeight] = {}
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if not isinstance(weight, nn.Parameter) or not weight.requires_grad or weight.ndim < 2:
            continue
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            continue
        # transformers' Conv1D (GPT-2) keeps its matrix as [inputs, outputs], and so do transposed convolutions.
        turned = isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
        turned = turned or type(module).__name__ == "Conv1D"
        found.setdefault(id(weight), MaxNormWeight(weight, 1 if turned else 0))
    return list(found.values())


@torch.no_grad()
def renorm_units(weights: Sequence[MaxNormWeight], max_norm: float) -> None:
    """Scale each unit's incoming weights down to norm `max_norm` where they exceed it.

    Called after an optimizer step; units within the limit keep their bits. Srivastava et al. 2014, Dropout,
    https://jmlr.org/papers/v15/srivastava14a.html.
    """
    for one in weights:
        others = [dimension for dimension in range(one.weight.ndim) if dimension != one.unit_dim]
        norms = torch.linalg.vector_norm(one.weight, dim=others, keepdim=True)
        one.weight.mul_(_scale_to_norm(norms, max_norm))


def _scale_to_norm(norms: Tensor, largest: float) -> Tensor:
    return torch.where(norms > largest, largest / norms, torch.ones_like(norms))


# The sum of squares of this process's gradients -> the sum over all processes that hold other weights.
SquareSumReducer = Callable[[Tensor], Tensor]


def clip_grad_norm(
    parameters: Iterable[nn.Parameter], max_norm: float, reduce: SquareSumReducer | None = None
) -> Tensor:
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
