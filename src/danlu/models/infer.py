"""A model's answers to prepared samples, in order, without gradients."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from danlu.data.balance.emphasis import Emphasis
from danlu.data.examples import Examples
from danlu.models.heads import Head


def answers(
    model: nn.Module,
    head: Head,
    examples: Examples,
    batch_size: int,
    device: torch.device,
    advance: Callable[[int], None] | None = None,
) -> np.ndarray:
    """What the model says of every sample.

    Args:
        model: on `device`; left in the mode (training or not) it was in.
        batch_size: samples at a time; decides memory and, in the last bits, rounding.
        advance: called with the number of samples after each batch, for a progress bar.

    Returns:
        [samples, ...] float32, as the head's `answer` gives them.
    """
    was_training = model.training
    model.eval()
    found: list[np.ndarray] = []
    with torch.inference_mode():
        for rows, inputs, target in examples.in_order(batch_size, device):
            found.append(head.answer(model(**inputs), target).float().cpu().numpy())
            if advance is not None:
                advance(len(rows))
    model.train(was_training)
    return np.concatenate(found)


def mean_loss(model: nn.Module, head: Head, examples: Examples, batch_size: int, device: torch.device) -> float:
    """The loss over all samples, each counted once whatever the batch size."""
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    with torch.inference_mode():
        for _, inputs, target in examples.in_order(batch_size, device):
            assert target is not None
            loss, counted = head.loss(model(**inputs), target, Emphasis())
            total, count = total + float(loss), count + counted
    model.train(was_training)
    return total / count
