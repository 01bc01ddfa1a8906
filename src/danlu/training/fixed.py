"""Weights that stay as built for a whole run; checkpoints hold only their digest."""

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from danlu.models.parts import TaskModel


def exclude_from_checkpoint(model: nn.Module) -> None:
    """Mark the weights that are frozen now, so that checkpoints leave them out."""
    assert isinstance(model, TaskModel), "models with pretrained weights are wrapped in a TaskModel"
    named = model.named_parameters(remove_duplicate=False)
    model.frozen_params = frozenset(name for name, weight in named if not weight.requires_grad)


def frozen_params_digest(model: nn.Module) -> str | None:
    """Return the SHA-256 of the weights so marked; None without any."""
    fixed: frozenset[str] = getattr(model, "fixed", frozenset())
    if not fixed:
        return None
    digest = hashlib.sha256()
    for name, weight in model.named_parameters():
        if name in fixed:
            for plain in _stored_tensors(weight.detach()):
                flat = plain.cpu().flatten().clone(memory_format=torch.contiguous_format)
                digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _stored_tensors(weight: Any) -> Iterator[Tensor]:
    """Yield the tensors that store a weight: itself, or codes and scales if quantised."""
    if not hasattr(weight, "__tensor_flatten__"):
        yield weight
        return
    for name in weight.__tensor_flatten__()[0]:
        yield getattr(weight, name)
