"""What holds weights small besides weight decay: L1 and L2 on the gradients, and a largest norm a unit.

Biases and norms (fewer than two dimensions) are left alone. The logged loss is the task's, without these terms.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from danlu.training.optimizers.base import with_gradients


@dataclass(frozen=True)
class Incoming:
    """A weight, and which of its dimensions counts the units that its entries lead into."""

    weight: Tensor
    units: int


@dataclass(frozen=True)
class Penalties:
    """What a recipe asks for, put where an optimizer can use it: around whole steps, or around each weight's own.

    Attributes:
        model: whose weights are held small.
        l1, l2: what the sums of |w| and of half w^2 count.
        max_norm: the largest norm of a unit's incoming weights; None for any.
    """

    model: nn.Module
    l1: float
    l2: float
    max_norm: float | None

    @cached_property
    def _penalized(self) -> list[nn.Parameter]:
        return penalized(self.model)

    @cached_property
    def _incoming(self) -> "dict[int, Incoming]":
        return {id(one.weight): one for one in incoming(self.model)}

    def add_gradients(self) -> None:
        """Add to the gradients of all weights."""
        add_penalties(self._penalized, self.l1, self.l2)

    def add_gradient(self, weight: nn.Parameter) -> None:
        """Add to the gradient of one."""
        if weight.ndim >= 2:
            add_penalties([weight], self.l1, self.l2)

    def bound_weights(self) -> None:
        """Bound the weights of the model."""
        assert self.max_norm is not None
        limit_norms(list(self._incoming.values()), self.max_norm)

    def bound_stepped(self, weight: nn.Parameter, stepped: Tensor) -> None:
        """Bound what was stepped for one weight, before it becomes it."""
        if self.max_norm is not None and id(weight) in self._incoming:
            limit_norms([Incoming(stepped, self._incoming[id(weight)].units)], self.max_norm)


def penalized(model: nn.Module) -> list[nn.Parameter]:
    """The trained weights that L1 and L2 hold small: those of two dimensions or more."""
    return [value for value in model.parameters() if value.requires_grad and value.ndim >= 2]


@torch.no_grad()
def add_penalties(weights: Sequence[nn.Parameter], l1: float, l2: float) -> None:
    """Add the gradient of l1 sum |w| + l2/2 sum w^2; after the backward pass, before gradients are clipped.

    Gradients must be those of the loss itself: with loss scaling, unscale them first. Weights without one, which this
    step did not use, are left out.
    """
    used, gradients = with_gradients(weights)
    if not used:
        return
    if l2:
        torch._foreach_add_(gradients, used, alpha=l2)
    if l1:
        torch._foreach_add_(gradients, [weight.sign() for weight in used], alpha=l1)


def incoming(model: nn.Module) -> list[Incoming]:
    """The trained weights whose units have a largest norm: of linear layers and convolutions."""
    found: dict[int, Incoming] = {}
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if not isinstance(weight, nn.Parameter) or not weight.requires_grad or weight.ndim < 2:
            continue
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            continue
        # transformers' Conv1D (GPT-2) keeps its matrix as [inputs, outputs], and so do transposed convolutions.
        turned = isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
        turned = turned or type(module).__name__ == "Conv1D"
        found.setdefault(id(weight), Incoming(weight, 1 if turned else 0))
    return list(found.values())


@torch.no_grad()
def limit_norms(weights: Sequence[Incoming], largest: float) -> None:
    """Scale each unit's incoming weights down to the norm `largest` where they exceed it; after an optimizer step.

    Srivastava et al. 2014, Dropout. Units within the limit keep their bits.
    """
    for one in weights:
        others = [dimension for dimension in range(one.weight.ndim) if dimension != one.units]
        norms = torch.linalg.vector_norm(one.weight, dim=others, keepdim=True)
        one.weight.mul_(_down_to(norms, largest))


def _down_to(norms: Tensor, largest: float) -> Tensor:
    return torch.where(norms > largest, largest / norms, torch.ones_like(norms))
