"""Weights that a whole run leaves as they were when the model was built; checkpoints hold their digest alone."""

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from danlu.models.parts import TaskModel


def leave_fixed(model: nn.Module) -> None:
    """Note in a model which of its weights are frozen by now, so that checkpoints leave them out."""
    assert isinstance(model, TaskModel), "models with pretrained weights are danlu's own wrappers"
    named = model.named_parameters(remove_duplicate=False)
    model.fixed = frozenset(name for name, weight in named if not weight.requires_grad)


def digest_of_fixed(model: nn.Module) -> str | None:
    """SHA-256 of the weights so noted; None where there are none."""
    fixed: frozenset[str] = getattr(model, "fixed", frozenset())
    if not fixed:
        return None
    digest = hashlib.sha256()
    for name, weight in model.named_parameters():
        if name in fixed:
            for plain in _plain(weight.detach()):
                flat = plain.cpu().flatten().clone(memory_format=torch.contiguous_format)
                digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _plain(weight: Any) -> Iterator[Tensor]:
    """The tensors that a weight is kept as: itself, or codes and scales of one in few bits."""
    if not hasattr(weight, "__tensor_flatten__"):
        yield weight
        return
    for name in weight.__tensor_flatten__()[0]:
        yield getattr(weight, name)
