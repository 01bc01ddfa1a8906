"""Gradients of the loss, and statistics of batch norms, over training rows."""

from typing import Any

import torch
from torch import Tensor, nn

from danlu.compression.base import Material
from danlu.compression.rows import drawn_training_rows, iter_batches
from danlu.core.seeds import Seed
from danlu.models.structure import BatchNorm
from danlu.tasks.loss_weighting import LossWeighting


def mean_gradients(network: nn.Module, material: Material, rows: int, seed: Seed) -> dict[str, Tensor]:
    """Return the gradient of the mean loss over training rows, of each weight by name.

    Args:
        network: in evaluation mode; it keeps no gradients.
        rows: to draw.
        seed: that they are drawn by.
    """
    add_gradients(network, material, rows, seed)
    found = {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad
        for name, weight in network.named_parameters()
    }
    network.zero_grad(set_to_none=True)
    return found


def add_gradients(network: nn.Module, material: Material, rows: int, seed: Seed) -> None:
    """Leave in each weight the gradient of the mean loss over training rows."""
    predictor, size = material.predictor, material.bundle.manifest.batch_size
    examples = drawn_training_rows(material, rows, seed)
    network.zero_grad(set_to_none=True)
    for weight in network.parameters():
        weight.requires_grad_(weight.is_floating_point())
    count = 0
    with torch.enable_grad():
        for inputs, target in iter_batches(examples, size):
            assert target is not None, "training rows have targets"
            total, counted = predictor.head.loss(network(**inputs), target, LossWeighting())
            total.backward()  # type: ignore[no-untyped-call]
            count += int(counted)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.grad is not None:
                weight.grad /= max(1, count)


@torch.no_grad()
def renew_batch_norms(network: nn.Module, material: Material, rows: int, seed: Seed) -> None:
    """Take the statistics of batch norms anew from training rows, in place.

    Each is the mean over batches of equal weight.
    """
    norms: list[Any] = [
        layer for layer in network.modules() if isinstance(layer, BatchNorm) and layer.track_running_stats
    ]
    if not norms:
        return
    examples, momenta = drawn_training_rows(material, rows, seed, fewest=2), [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
        norm.train()
    size = max(2, min(material.bundle.manifest.batch_size, len(examples)))
    for inputs, _ in iter_batches(examples, size):
        if len(next(iter(inputs.values()))) > 1:  # batch norm has no statistics of one row
            network(**inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
