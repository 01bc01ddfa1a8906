"""Batch norms with statistics of the global batch, whichever process has which samples.

torch's SyncBatchNorm works on GPUs only; this is the same mathematics on any backend.
"""

from typing import Any

import torch
from torch import Tensor, nn

from danlu.core.torch_compat import BatchNorm
from danlu.training.distributed.parallel_context import ParallelContext


def apply_sync_batch_norm(model: nn.Module, parallel: ParallelContext) -> None:
    """Make a model's batch norms use statistics over all data-parallel ranks, in place."""
    group = parallel.groups.dp_group
    if group is None:
        return
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.forward = SyncBatchNormForward(module, group)  # type: ignore[assignment]


class SumOverRanks(torch.autograd.Function):
    """Sum a tensor over the ranks of a group, and its gradients too."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, group: Any) -> Tensor:
        """Return the sum of the ranks' values."""
        ctx.group = group
        summed = values.clone()
        torch.distributed.all_reduce(summed, group=group)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Return the sum of the ranks' gradients: each rank's values are in every rank's sum."""
        (summed,) = (gradient.clone() for gradient in gradients)
        torch.distributed.all_reduce(summed, group=ctx.group)
        return summed, None


class SyncBatchNormForward:
    """Replace a batch norm's `forward` with a synchronized one."""

    def __init__(self, norm: BatchNorm, group: Any) -> None:
        self.norm, self.group = norm, group

    def __call__(self, values: Tensor) -> Tensor:
        """Normalize [batch, channels, ...] to mean 0 and variance 1 over all ranks."""
        norm = self.norm
        if not (norm.training or norm.running_mean is None):
            plain: Tensor = type(norm).forward(norm, values)
            return plain
        others = [dimension for dimension in range(values.dim()) if dimension != 1]
        wide = values.float()
        count = wide.new_tensor([float(values.numel() // values.shape[1])])
        # One all-reduce for both moments: fp32 sums are as exact as torch's own for values near their mean.
        moments = torch.cat([wide.sum(others), wide.square().sum(others), count])
        summed: Tensor = SumOverRanks.apply(moments, self.group)  # type: ignore[no-untyped-call]
        mean, square, total = summed[: values.shape[1]], summed[values.shape[1] : -1], summed[-1]
        mean, square = mean / total, square / total
        variance = square - mean.square()
        self._update_running_stats(mean.detach(), (variance * total / (total - 1)).detach())
        shape = [1, -1] + [1] * (values.dim() - 2)
        scale = (
            torch.rsqrt(variance + norm.eps) if norm.weight is None else norm.weight * torch.rsqrt(variance + norm.eps)
        )
        offset = -mean * scale if norm.bias is None else norm.bias - mean * scale
        normed: Tensor = (wide * scale.view(shape) + offset.view(shape)).to(values.dtype)
        return normed

    @torch.no_grad()
    def _update_running_stats(self, mean: Tensor, variance: Tensor) -> None:
        """Update the running statistics as torch's batch norms do."""
        norm = self.norm
        if norm.running_mean is None or norm.running_var is None or not norm.track_running_stats:
            return
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
        norm.running_var.lerp_(variance.to(norm.running_var.dtype), share)
