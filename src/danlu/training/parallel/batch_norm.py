"""Batch norms whose statistics are those of the whole batch, whichever process has which samples of it.

torch's SyncBatchNorm works on cards alone; this is the same mathematics wherever processes can speak.
"""

from typing import Any

import torch
from torch import Tensor, nn

from danlu.training.parallel.group import Together

BatchNorm = nn.modules.batchnorm._BatchNorm


def synchronize(model: nn.Module, together: Together) -> None:
    """Have a model's batch norms take their statistics over all processes with other samples; in place."""
    group = together.team.of_samples
    if group is None:
        return
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.forward = Synchronized(module, group)  # type: ignore[assignment]


class Synchronized:
    """Stands in for a batch norm's `forward`."""

    def __init__(self, norm: BatchNorm, group: Any) -> None:
        self.norm, self.group = norm, group

    def __call__(self, values: Tensor) -> Tensor:
        """[batch, channels, ...] -> the same, of mean 0 and variance 1 over the batches of all processes."""
        from torch.distributed.nn.functional import all_reduce  # with gradients

        norm = self.norm
        if not (norm.training or norm.running_mean is None):
            plain: Tensor = type(norm).forward(norm, values)
            return plain
        others = [dimension for dimension in range(values.dim()) if dimension != 1]
        wide = values.float()
        count = wide.new_tensor([float(values.numel() // values.shape[1])])
        # One round for both moments: sums of fp32 are as good as torch's own for values near their mean.
        moments = torch.cat([wide.sum(others), wide.square().sum(others), count])
        summed: Tensor = all_reduce(moments, group=self.group)  # type: ignore[no-untyped-call]
        mean, square, total = summed[: values.shape[1]], summed[values.shape[1] : -1], summed[-1]
        mean, square = mean / total, square / total
        variance = square - mean.square()
        self._remember(mean.detach(), (variance * total / (total - 1)).detach())
        shape = [1, -1] + [1] * (values.dim() - 2)
        scale = (
            torch.rsqrt(variance + norm.eps) if norm.weight is None else norm.weight * torch.rsqrt(variance + norm.eps)
        )
        offset = -mean * scale if norm.bias is None else norm.bias - mean * scale
        normed: Tensor = (wide * scale.view(shape) + offset.view(shape)).to(values.dtype)
        return normed

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """The running statistics, as torch's batch norms keep them."""
        norm = self.norm
        if norm.running_mean is None or norm.running_var is None or not norm.track_running_stats:
            return
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
        norm.running_var.lerp_(variance.to(norm.running_var.dtype), share)
