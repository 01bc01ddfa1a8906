"""Cross-entropy over a vocabulary that several processes share: no process ever holds the logits of all of it.

A language model under tensor parallelism answers with `SplitLogits`, its own part of the vocabulary, and the head
computes from these what it needs: a few numbers a token go between processes (Shoeybi et al. 2019, Megatron-LM).
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class SplitLogits(NamedTuple):
    """Logits of a part of the vocabulary.

    Attributes:
        local: [batch, length, part].
        start: the first word of the part.
        vocabulary: words in all.
        group: the processes that hold the parts, in the order of their ranks.
    """

    local: Tensor
    start: int
    vocabulary: int
    group: "ProcessGroup"


def split_loss(logits: SplitLogits, target: Tensor, ignored: int, smoothing: float) -> Tensor:
    """The summed cross-entropy, as functional.cross_entropy gives it of whole logits, to rounding.

    The gradient of each process's logits is whole: nothing needs to be summed in the backward pass.

    Args:
        logits: of every process of the group, of the same tokens.
        target: [batch, length], the same on all.
        ignored: the target of tokens that do not count.
        smoothing: label smoothing, in [0, 1).
    """
    loss: Tensor = _SplitLoss.apply(  # type: ignore[no-untyped-call]
        logits.local.flatten(0, -2), target.flatten(), logits, ignored, smoothing
    )
    return loss


@torch.no_grad()
def split_answer(logits: SplitLogits, target: Tensor, ignored: int) -> tuple[Tensor, Tensor]:
    """Of each token its loss in nats and whether the likeliest is the right one, [batch, length] each."""
    local, wanted = logits.local.flatten(0, -2).float(), target.flatten()
    counted = wanted != ignored
    largest, likeliest = local.max(dim=1)
    top = _largest(largest, logits)
    # Of words as likely as one another the first counts, as argmax has it.
    first = torch.where(largest == top, likeliest + logits.start, logits.vocabulary)
    _reduce(first, "min", logits)
    sums = torch.stack([(local - top[:, None]).exp().sum(dim=1), _picked(local - top[:, None], wanted, logits)])
    _reduce(sums, "sum", logits)
    losses = torch.where(counted, sums[0].log() - sums[1], 0.0)
    return losses.view_as(target), ((first == wanted) & counted).view_as(target)


class _SplitLoss(torch.autograd.Function):
    """The gradient by the logits is computed in the forward pass, in the place of the probabilities."""

    @staticmethod
    def forward(ctx: Any, local: Tensor, target: Tensor, logits: SplitLogits, ignored: int, smoothing: float) -> Tensor:
        """local: [tokens, part], target: [tokens] -> the summed loss, fp32.

        With shares q = (1 - s) [c = y] + s / C, the loss is logsumexp(x) - q . x and its gradient softmax(x) - q.
        """
        counted = target != ignored
        shifted = local.float()
        shifted = shifted - _largest(shifted.max(dim=1).values, logits)[:, None]
        expected = (1.0 - smoothing) * _picked(shifted, target, logits)
        if smoothing > 0.0:
            expected += smoothing / logits.vocabulary * shifted.sum(dim=1)
        slope = shifted.exp_()
        sums = torch.stack([slope.sum(dim=1), expected])
        _reduce(sums, "sum", logits)
        total = ((sums[0].log() - sums[1]) * counted).sum()
        slope /= sums[0][:, None]
        if smoothing > 0.0:
            slope -= smoothing / logits.vocabulary
        place, inside = _places(target, local.shape[1], logits)
        slope.scatter_add_(1, place[:, None], ((smoothing - 1.0) * inside)[:, None])
        slope *= counted[:, None]
        ctx.save_for_backward(slope.to(local.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> Any:
        """scale: the gradient of the summed loss, a scalar, the same on all processes."""
        (slope,) = ctx.saved_tensors
        return slope * scale.to(slope.dtype), None, None, None, None


def _places(target: Tensor, part: int, logits: SplitLogits) -> tuple[Tensor, Tensor]:
    """Where the right words stand in this part, 0 where they do not, and whether they do, as fp32; [tokens] each."""
    place = target - logits.start
    inside = (place >= 0) & (place < part)
    return place.where(inside, 0), inside.float()


def _picked(values: Tensor, target: Tensor, logits: SplitLogits) -> Tensor:
    """What [tokens, part] has for the right words, 0 where they are of another part."""
    place, inside = _places(target, values.shape[1], logits)
    return values.gather(1, place[:, None])[:, 0] * inside


def _largest(values: Tensor, logits: SplitLogits) -> Tensor:
    """The largest of every process's, [tokens]."""
    largest = values.clone()
    _reduce(largest, "max", logits)
    return largest


def _reduce(values: Tensor, how: str, logits: SplitLogits) -> None:
    from torch import distributed

    operations = {"sum": distributed.ReduceOp.SUM, "max": distributed.ReduceOp.MAX, "min": distributed.ReduceOp.MIN}
    distributed.all_reduce(values, operations[how], group=logits.group)
