"""Gradients held within bounds."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def clip_by_norm(parameters: Iterable[nn.Parameter], most: float) -> Tensor:
    """Scale all gradients so that their joint norm is at most `most` (Pascanu et al. 2013).

    Returns:
        the norm before, a scalar on the device. A norm that is not finite makes every gradient so too.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    # On the host the norm can be looked at for nothing; elsewhere that would wait for the device.
    if norm.device.type != "cpu":
        torch._foreach_mul_(gradients, (most / (norm + 1e-6)).clamp(max=1.0))
    elif not norm.item() <= most:
        torch._foreach_mul_(gradients, most / (norm.item() + 1e-6))
    return norm


def clip_by_value(parameters: Iterable[nn.Parameter], most: float) -> None:
    """Cut every entry of every gradient to [-most, most]."""
    nn.utils.clip_grad_value_(parameters, most, foreach=True)
