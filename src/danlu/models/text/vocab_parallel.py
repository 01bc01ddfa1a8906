"""Vocab-parallel cross-entropy: the vocabulary is sharded over processes, none of which holds all logits.

Under tensor parallelism a language model returns `VocabParallelLogits`, its shard of the vocabulary; the processes
exchange a few numbers per token (Shoeybi et al. 2019, Megatron-LM, https://arxiv.org/abs/1909.08053).
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class VocabParallelLogits(NamedTuple):
    """Hold the logits of one shard of the vocabulary.

    Attributes:
        local: [batch, length, part].
        start: first token id of the shard.
        vocabulary: size of the whole vocabulary.
        group: processes that hold the shards, in rank order.
    """

    local: Tensor
    start: int
    vocabulary: int
    group: "ProcessGroup"

    def cross_entropy(self, target: Tensor, ignore_index: int, smoothing: float) -> Tensor:
        """Compute the summed cross-entropy, as `vocab_parallel_cross_entropy`."""
        return vocab_parallel_cross_entropy(self, target, ignore_index, smoothing)

    def score_tokens(self, target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
        """Return each token's loss and whether its argmax is correct, as `vocab_parallel_predict`."""
        return vocab_parallel_predict(self, target, ignore_index)


def vocab_parallel_cross_entropy(
    logits: VocabParallelLogits, target: Tensor, ignore_index: int, smoothing: float
) -> Tensor:
    """Compute the summed cross-entropy; equals functional.cross_entropy of whole logits up to rounding.

    The gradient of each process's logits is complete: the backward pass needs no reduction.

    Args:
        logits: of every process of the group, for the same tokens.
        target: [batch, length], the same on all processes.
        ignore_index: target of tokens that do not count.
        smoothing: label smoothing, in [0, 1).
    """
    loss: Tensor = _VocabParallelCrossEntropy.apply(  # type: ignore[no-untyped-call]
        logits.local.flatten(0, -2), target.flatten(), logits, ignore_index, smoothing
    )
    return loss


@torch.no_grad()
def vocab_parallel_predict(logits: VocabParallelLogits, target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Return each token's loss in nats and whether its argmax is correct, [batch, length] each."""
    local, wanted = logits.local.flatten(0, -2).float(), target.flatten()
    counted = wanted != ignore_index
    largest, likeliest = local.max(dim=1)
    top = _all_reduce_max(largest, logits)
    # Ties go to the first token id, like argmax.
    first = torch.where(largest == top, likeliest + logits.start, logits.vocabulary)
    _all_reduce(first, "min", logits)
    sums = torch.stack([(local - top[:, None]).exp().sum(dim=1), _gather_target(local - top[:, None], wanted, logits)])
    _all_reduce(sums, "sum", logits)
    losses = torch.where(counted, sums[0].log() - sums[1], 0.0)
    return losses.view_as(target), ((first == wanted) & counted).view_as(target)


class _VocabParallelCrossEntropy(torch.autograd.Function):
    """Compute the gradient of the logits in the forward pass, in place of the probabilities."""

    @staticmethod
    def forward(
        ctx: Any, local: Tensor, target: Tensor, logits: VocabParallelLogits, ignored: int, smoothing: float
    ) -> Tensor:
        """Compute the summed loss in fp32 from local [tokens, part] and target [tokens].

        With soft labels q = (1 - s) [c = y] + s / C, the loss is logsumexp(x) - q . x and its gradient softmax(x) - q.
        """
        counted = target != ignored
        shifted = local.float()
        shifted = shifted - _all_reduce_max(shifted.max(dim=1).values, logits)[:, None]
        expected = (1.0 - smoothing) * _gather_target(shifted, target, logits)
        if smoothing > 0.0:
            expected += smoothing / logits.vocabulary * shifted.sum(dim=1)
        slope = shifted.exp_()
        sums = torch.stack([slope.sum(dim=1), expected])
        _all_reduce(sums, "sum", logits)
        total = ((sums[0].log() - sums[1]) * counted).sum()
        slope /= sums[0][:, None]
        if smoothing > 0.0:
            slope -= smoothing / logits.vocabulary
        place, inside = _local_index(target, local.shape[1], logits)
        slope.scatter_add_(1, place[:, None], ((smoothing - 1.0) * inside)[:, None])
        slope *= counted[:, None]
        ctx.save_for_backward(slope.to(local.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> Any:
        """Scale the saved gradient by the loss's gradient, a scalar equal on all processes."""
        (slope,) = ctx.saved_tensors
        return slope * scale.to(slope.dtype), None, None, None, None


def _local_index(target: Tensor, part: int, logits: VocabParallelLogits) -> tuple[Tensor, Tensor]:
    """Return each target's index in this shard and whether it is inside.

    [tokens] each; the index is 0 outside the shard, the mask is fp32.
    """
    place = target - logits.start
    inside = (place >= 0) & (place < part)
    return place.where(inside, 0), inside.float()


def _gather_target(values: Tensor, target: Tensor, logits: VocabParallelLogits) -> Tensor:
    """Gather the targets' values from [tokens, part]; 0 for targets of other shards."""
    place, inside = _local_index(target, values.shape[1], logits)
    return values.gather(1, place[:, None])[:, 0] * inside


def _all_reduce_max(values: Tensor, logits: VocabParallelLogits) -> Tensor:
    """Return the maximum over all processes, [tokens]."""
    largest = values.clone()
    _all_reduce(largest, "max", logits)
    return largest


def _all_reduce(values: Tensor, how: str, logits: VocabParallelLogits) -> None:
    from torch import distributed

    operations = {"sum": distributed.ReduceOp.SUM, "max": distributed.ReduceOp.MAX, "min": distributed.ReduceOp.MIN}
    distributed.all_reduce(values, operations[how], group=logits.group)
