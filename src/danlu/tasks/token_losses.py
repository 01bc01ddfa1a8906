"""Losses of one target per token, from whole logits or from any that compute their own cross-entropy."""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from danlu.tasks.loss_weighting import LossWeighting

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100  # torch's default for targets that do not count


@runtime_checkable
class TokenLogits(Protocol):
    """Compute losses without whole logits: in chunks, or with a vocabulary that is sharded."""

    def cross_entropy(self, target: "Tensor", ignore_index: int, smoothing: float) -> "Tensor":
        """Compute the summed cross-entropy against targets, [batch, length]."""

    def score_tokens(self, target: "Tensor", ignore_index: int) -> "tuple[Tensor, Tensor]":
        """Return each token's loss in nats and whether its argmax is correct, [batch, length] each."""


def token_loss(logits: "Tensor | TokenLogits", target: "Tensor", emphasis: LossWeighting) -> "tuple[Tensor, int]":
    """Compute cross-entropy of [batch, length, vocabulary] against [batch, length], ignoring padding."""
    from torch.nn import functional

    if isinstance(logits, TokenLogits):
        return logits.cross_entropy(target, IGNORED, emphasis.smoothing), num_tokens(target)
    loss = functional.cross_entropy(
        logits.flatten(0, 1).float(),
        target.flatten(),
        reduction="sum",
        ignore_index=IGNORED,
        label_smoothing=emphasis.smoothing,
    )
    return loss, num_tokens(target)


def num_tokens(target: "Tensor") -> int:
    """Count the target tokens, without padding."""
    return int((target != IGNORED).sum())


def token_predict(logits: "Tensor | TokenLogits", target: "Tensor | None") -> "Tensor":
    """Return summed loss (nats), number of tokens and correct predictions per block, [batch, 3]."""
    import torch
    from torch.nn import functional

    assert target is not None, "a language model is evaluated on the tokens that follow"
    counted = target != IGNORED
    if isinstance(logits, TokenLogits):
        losses, right = logits.score_tokens(target, IGNORED)
    else:
        losses = functional.cross_entropy(
            logits.float().transpose(1, 2), target, reduction="none", ignore_index=IGNORED
        )
        right = logits.argmax(dim=2) == target
    return torch.stack([losses.sum(dim=1), counted.sum(dim=1), (right & counted).sum(dim=1)], dim=1)
