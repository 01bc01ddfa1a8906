"""What a task makes of a model's logits: the loss to train on, and the answer to keep. One head a task."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from danlu.data.balance.emphasis import Emphasis
from danlu.data.texts import IGNORED


@dataclass(frozen=True)
class Head:
    """A task's way from logits to numbers.

    Attributes:
        loss: (logits, target, emphasis) -> the summed loss, and how many answers it is summed over.
        answer: (logits, target) -> [batch, ...], what metrics and `Target.decode` take.
    """

    loss: Callable[[Tensor, Tensor, Emphasis], tuple[Tensor, int]]
    answer: Callable[[Tensor, Tensor | None], Tensor]


def class_loss(logits: Tensor, target: Tensor, emphasis: Emphasis) -> tuple[Tensor, int]:
    """Cross-entropy of [batch, classes] against [batch]."""
    return functional.cross_entropy(logits, target, reduction="sum", label_smoothing=emphasis.smoothing), len(target)


def class_answer(logits: Tensor, target: Tensor | None) -> Tensor:
    """Probabilities, [batch, classes]."""
    return torch.softmax(logits.float(), dim=1)


def quantity_loss(logits: Tensor, target: Tensor, emphasis: Emphasis) -> tuple[Tensor, int]:
    """Squared error of [batch, 1] against [batch]; labels of numbers are not smoothed."""
    return functional.mse_loss(logits[:, 0], target, reduction="sum"), len(target)


def quantity_answer(logits: Tensor, target: Tensor | None) -> Tensor:
    """Standardised predictions, [batch, 1]."""
    return logits.float()


def token_loss(logits: Tensor, target: Tensor, emphasis: Emphasis) -> tuple[Tensor, int]:
    """Cross-entropy of [batch, length, vocabulary] against [batch, length], padding left out."""
    loss = functional.cross_entropy(
        logits.flatten(0, 1),
        target.flatten(),
        reduction="sum",
        ignore_index=IGNORED,
        label_smoothing=emphasis.smoothing,
    )
    return loss, int((target != IGNORED).sum())


def token_answer(logits: Tensor, target: Tensor | None) -> Tensor:
    """Summed loss in nats, number of tokens, and number predicted rightly of each block, [batch, 3]."""
    assert target is not None, "a language model is judged by the text that follows"
    counted = target != IGNORED
    losses = functional.cross_entropy(logits.float().transpose(1, 2), target, reduction="none", ignore_index=IGNORED)
    right = (logits.argmax(dim=2) == target) & counted
    return torch.stack([losses.sum(dim=1), counted.sum(dim=1), right.sum(dim=1)], dim=1)


HEADS: dict[str, Head] = {
    "classification": Head(class_loss, class_answer),
    "regression": Head(quantity_loss, quantity_answer),
    "language-modelling": Head(token_loss, token_answer),
}
