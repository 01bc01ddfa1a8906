"""The loss around a network's weights: gradient norms of its layers, and a plane through its landscape.

In: a network, its task's head and labelled batches. Out: numbers by layer, and a grid of losses.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from danlu.core.seeds import Seed
from danlu.data.loader import Tensors
from danlu.tasks.base import Head
from danlu.tasks.loss_weighting import LossWeighting

Batch = tuple[Tensors, Tensor]
STEPS = 9  # of the grid in each direction
REACH = 1.0  # of the grid, in norms of each filter


def gradient_norms(network: nn.Module, head: Head, batches: Sequence[Batch]) -> dict[str, float]:
    """Return the norm of the mean loss's gradient by parameter, 0 where it reaches none."""
    weights = [(name, values) for name, values in network.named_parameters() if values.is_floating_point()]
    required = [values.requires_grad for _, values in weights]
    totals = {name: torch.zeros_like(values, dtype=torch.float32) for name, values in weights}
    count = 0
    try:
        for _, values in weights:
            values.requires_grad_(True)
        for inputs, target in batches:
            with torch.enable_grad():
                loss, counted = head.loss(network(**inputs), target, LossWeighting())
                found = torch.autograd.grad(loss, [values for _, values in weights], allow_unused=True)
            count += counted
            for (name, _), gradient in zip(weights, found, strict=True):
                if gradient is not None:
                    totals[name] += gradient.float()
    finally:
        for (_, values), was in zip(weights, required, strict=True):
            values.requires_grad_(was)
    return {name: float((total / max(1, count)).norm()) for name, total in totals.items()}


def loss_plane(network: nn.Module, head: Head, batches: Sequence[Batch], seed: Seed) -> tuple[np.ndarray, np.ndarray]:
    """Compute the loss on a plane through the weights, along two filter-normalized random directions.

    Li et al. 2018, https://arxiv.org/abs/1712.09913. Vectors, as biases and norms, stay where they are.

    Returns:
        the places of the grid, [steps], and the mean loss, [steps, steps]; the middle is the network itself.
    """
    weights = [values for values in network.parameters() if values.ndim > 1 and values.is_floating_point()]
    generator = torch.Generator().manual_seed(seed.value)
    directions = [[_direction(values, generator) for values in weights] for _ in range(2)]
    places = np.linspace(-REACH, REACH, STEPS)
    before = [values.detach().clone() for values in weights]
    losses = np.zeros((STEPS, STEPS))
    try:
        with torch.no_grad():
            for row, b in enumerate(places):
                for column, a in enumerate(places):
                    for values, start, one, two in zip(weights, before, *directions, strict=True):
                        values.copy_(start + float(a) * one + float(b) * two)
                    losses[row, column] = mean_loss(network, head, batches)
    finally:
        with torch.no_grad():
            for values, start in zip(weights, before, strict=True):
                values.copy_(start)
    return places, losses


def mean_loss(network: Callable[..., Tensor], head: Head, batches: Sequence[Batch]) -> float:
    """Return the mean loss of labelled batches; infinity where it is not finite."""
    total, count = 0.0, 0
    for inputs, target in batches:
        loss, counted = head.loss(network(**inputs), target, LossWeighting())
        total, count = total + float(loss), count + counted
    found = total / max(1, count)
    return found if np.isfinite(found) else float("inf")


def _direction(values: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.randn(values.shape, generator=generator).to(values)
    sizes, own = drawn.flatten(1).norm(dim=1), values.detach().flatten(1).norm(dim=1)
    scaled: Tensor = drawn * (own / sizes.clamp_min(1e-12)).view(-1, *[1] * (values.ndim - 1))
    return scaled
