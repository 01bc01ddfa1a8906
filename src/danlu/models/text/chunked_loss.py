"""Chunked cross-entropy for large vocabularies: the logits of a whole batch are never in memory.

The language model returns `DeferredLogits` (the inputs and weights of its last layer), and the head computes loss and
predictions from them chunk by chunk. torch's own `linear_cross_entropy` is newer than the oldest supported torch.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

# Logits per batch from which `auto` chunks: 128 MiB in fp32, plus as much for their gradient.
MIN_LOGITS_TO_CHUNK = 1 << 25
LOGITS_PER_CHUNK = 1 << 24  # 64 MiB in fp32: keeps a device busy, small compared with a model of such a vocabulary
MIN_CHUNK_TOKENS = 128  # tokens


class DeferredLogits(NamedTuple):
    """Hold the inputs of logits that are not computed yet: hidden @ weight.T + bias.

    Attributes:
        hidden: [batch, length, width].
        weight: [vocabulary, width].
        bias: [vocabulary], or None.
        chunk: tokens per chunk, whose logits are in memory at once.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    chunk: int

    def cross_entropy(self, target: Tensor, ignore_index: int, smoothing: float) -> Tensor:
        """Compute the summed cross-entropy, as `deferred_cross_entropy`."""
        return deferred_cross_entropy(self, target, ignore_index, smoothing)

    def score_tokens(self, target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
        """Return each token's loss and whether its argmax is correct, as `deferred_predict`."""
        return deferred_predict(self, target, ignore_index)


def choose_chunk_size(asked: int | str, tokens: int, vocabulary: int) -> int | None:
    """Return tokens per chunk, or None to compute whole logits.

    Args:
        asked: `training.memory.loss_chunk`.
        tokens: tokens per batch or microbatch.
        vocabulary: its size.
    """
    if isinstance(asked, int):
        return asked
    if asked == "none" or tokens * vocabulary <= MIN_LOGITS_TO_CHUNK:
        return None
    return max(MIN_CHUNK_TOKENS, LOGITS_PER_CHUNK // vocabulary)


def deferred_cross_entropy(deferred: DeferredLogits, target: Tensor, ignore_index: int, smoothing: float) -> Tensor:
    """Compute the summed cross-entropy; equals functional.cross_entropy of the logits up to rounding.

    Args:
        deferred: the inputs of the logits.
        target: [batch, length].
        ignore_index: target of tokens that do not count.
        smoothing: label smoothing, in [0, 1).
    """
    hidden, weight, bias, chunk = deferred
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    flat = hidden.flatten(0, -2)
    if torch.is_grad_enabled():
        loss: Tensor = _ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
            flat, weight, bias, target.flatten(), chunk, ignore_index, smoothing, dtype
        )
        return loss
    total = flat.new_zeros((), dtype=torch.float32)
    for logits, answers in _chunks(flat, weight, bias, target.flatten(), chunk, dtype):
        total += functional.cross_entropy(
            logits, answers, reduction="sum", ignore_index=ignore_index, label_smoothing=smoothing
        )
    return total


def deferred_predict(deferred: DeferredLogits, target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Return each token's loss in nats and whether its argmax is correct, [batch, length] each."""
    hidden, weight, bias, chunk = deferred
    losses, right = [], []
    for logits, answers in _chunks(hidden.flatten(0, -2), weight, bias, target.flatten(), chunk, hidden.dtype):
        losses.append(functional.cross_entropy(logits, answers, reduction="none", ignore_index=ignore_index))
        right.append(logits.argmax(dim=1) == answers)
    return torch.cat(losses).view_as(target), torch.cat(right).view_as(target)


def _chunks(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, chunk: int, dtype: torch.dtype
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield logits in fp32, [chunk, vocabulary], with their targets; multiply in `dtype`."""
    weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
    for some, answers in zip(torch.split(hidden, chunk), torch.split(target, chunk), strict=True):
        yield functional.linear(some.to(dtype), weight, bias).float(), answers


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Compute loss and gradients in one pass over the chunks; backward does not recompute logits.

    After Hsu et al. 2024, Liger Kernel (https://arxiv.org/abs/2410.10989). The gradients are those of the plain sum and
    are scaled in the backward pass; weight gradients accumulate in fp32 whatever the dtype of the products.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        chunk: int,
        ignored: int,
        smoothing: float,
        dtype: torch.dtype,
    ) -> Tensor:
        """Compute the summed loss in fp32 from hidden [tokens, width] and target [tokens]."""
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        with torch.autocast(hidden.device.type, enabled=False):
            total = hidden.new_zeros((), dtype=torch.float32)
            multiplied = weight.to(dtype)
            for_hidden = torch.empty_like(hidden) if wants_hidden else None
            for_weight = torch.zeros_like(weight, dtype=torch.float32) if wants_weight else None
            for_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and wants_bias else None
            begin = 0
            for logits, answers in _chunks(hidden, multiplied, bias, target, chunk, dtype):
                end = begin + len(answers)
                counted = answers != ignored
                loss, slope = _loss_and_grad(logits, answers.where(counted, 0), counted, smoothing)
                total += loss
                # Ignored tokens are masked here rather than in `slope`, which is far larger.
                rows, slope = counted[:, None].to(dtype), slope.to(dtype)
                if for_hidden is not None:
                    for_hidden[begin:end] = (slope @ multiplied) * rows
                if for_weight is not None:
                    _accumulate_product(for_weight, slope.t(), hidden[begin:end].to(dtype) * rows)
                if for_bias is not None:
                    for_bias += (slope.t() @ rows)[:, 0]
                begin = end
        ctx.save_for_backward(for_hidden, for_weight, for_bias)
        ctx.dtypes = (weight.dtype, None if bias is None else bias.dtype)
        return total

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> Any:
        """Scale the saved gradients by the gradient of the summed loss, a scalar."""
        for_hidden, for_weight, for_bias = ctx.saved_tensors
        weight_dtype, bias_dtype = ctx.dtypes
        return (
            None if for_hidden is None else for_hidden * scale.to(for_hidden.dtype),
            None if for_weight is None else (for_weight * scale).to(weight_dtype),
            None if for_bias is None else (for_bias * scale).to(bias_dtype),
            None,
            None,
            None,
            None,
            None,
        )


def _accumulate_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def _loss_and_grad(logits: Tensor, target: Tensor, counted: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """Return the summed loss of counted tokens, and the gradient for every token's logits.

    With soft labels q = (1 - s) [c = y] + s / C, the loss is logsumexp(x) - q . x and its gradient softmax(x) - q.

    Args:
        logits: [tokens, classes], fp32.
        target: a class for every token, counted or not, [tokens].
        counted: whether a token counts, [tokens].
        smoothing: label smoothing s.
    """
    slope = torch.softmax(logits, dim=1)
    # The largest logit gives log-sum-exp without a second pass of exponentials: log p = x - logsumexp(x).
    largest, likeliest = logits.max(dim=1)
    total = largest - slope.gather(1, likeliest[:, None])[:, 0].log()
    expected = logits.gather(1, target[:, None])[:, 0]
    if smoothing > 0.0:
        expected = torch.lerp(expected, logits.mean(dim=1), smoothing)
        slope.sub_(smoothing / slope.shape[1])
    slope.scatter_add_(1, target[:, None], slope.new_full((len(target), 1), smoothing - 1.0))
    return ((total - expected) * counted).sum(), slope
