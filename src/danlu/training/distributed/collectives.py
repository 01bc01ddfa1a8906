"""Collectives inside the forward pass, each with the matching collective in its backward pass.

Names follow Megatron's mappings: `tp` tensors are equal on all ranks or partial sums, `sp` tensors are split along
dimension 1 (tokens); see Shoeybi et al. 2019 (https://arxiv.org/abs/1909.08053) and, for sequence parallelism,
Korthikanti et al. 2022 (https://arxiv.org/abs/2205.05198). If the length does not divide, the last part is padded with
zeros, which are cut off again.
"""

from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup
from torch.nn import functional

# The names since torch 2.13, else the older ones.
all_gather_single = getattr(distributed, "all_gather_single", None) or distributed.all_gather_into_tensor
reduce_scatter_single = getattr(distributed, "reduce_scatter_single", None) or distributed.reduce_scatter_tensor


def copy_to_tp(values: Tensor, group: ProcessGroup) -> Tensor:
    """Pass equal tensors into split work: forward identity, backward all-reduce."""
    return _CopyToTP.apply(values, group, 1.0)  # type: ignore[no-any-return, no-untyped-call]


def average_gradient(values: Tensor, group: ProcessGroup) -> Tensor:
    """Keep equal tensors equal: forward identity, backward mean of gradients that differ by rounding only."""
    return _CopyToTP.apply(values, group, 1.0 / group.size())  # type: ignore[no-any-return, no-untyped-call]


def reduce_from_tp(values: Tensor, group: ProcessGroup) -> Tensor:
    """Sum partial results of split work: forward all-reduce, backward identity."""
    return _ReduceFromTP.apply(values, group)  # type: ignore[no-any-return, no-untyped-call]


def scatter_to_sp(values: Tensor, group: ProcessGroup) -> Tensor:
    """Keep this rank's tokens of equal tensors [batch, length, ...]; backward all-gathers."""
    return _ScatterToSP.apply(values, group)  # type: ignore[no-any-return, no-untyped-call]


def gather_from_sp(part: Tensor, length: int, group: ProcessGroup) -> Tensor:
    """All-gather the parts for work that all ranks repeat; backward keeps the local part."""
    return _GatherFromSP.apply(part, length, group)  # type: ignore[no-any-return, no-untyped-call]


def gather_sp_to_tp(part: Tensor, length: int, group: ProcessGroup) -> Tensor:
    """All-gather the parts for split work; backward reduce-scatters."""
    return _GatherSPToTP.apply(part, length, group)  # type: ignore[no-any-return, no-untyped-call]


def reduce_scatter_to_sp(values: Tensor, group: ProcessGroup) -> Tensor:
    """Reduce-scatter partial results of split work along tokens; backward all-gathers."""
    return _ReduceScatterToSP.apply(values, group)  # type: ignore[no-any-return, no-untyped-call]


def shard_length(length: int, group: ProcessGroup) -> int:
    """Return the padded number of tokens per part."""
    return -(-length // group.size())


def _pad(values: Tensor, group: ProcessGroup) -> Tensor:
    """Pad [batch, length, ...] with zeros to a multiple of the group's size."""
    missing = shard_length(values.shape[1], group) * group.size() - values.shape[1]
    return functional.pad(values, [0, 0] * (values.ndim - 2) + [0, missing]) if missing else values


def _local_chunk(values: Tensor, group: ProcessGroup) -> Tensor:
    return _pad(values, group).chunk(group.size(), dim=1)[group.rank()].contiguous()


def _all_gather(part: Tensor, length: int, group: ProcessGroup) -> Tensor:
    found = part.new_empty(group.size() * part.shape[0], *part.shape[1:])
    all_gather_single(found, part.contiguous(), group=group)
    return torch.cat(found.chunk(group.size()), dim=1)[:, :length]


def _reduce_scatter(values: Tensor, group: ProcessGroup) -> Tensor:
    parts = torch.cat(_pad(values, group).chunk(group.size(), dim=1))
    mine = values.new_empty(values.shape[0], shard_length(values.shape[1], group), *values.shape[2:])
    reduce_scatter_single(mine, parts, group=group)
    return mine


def _all_reduce(values: Tensor, group: ProcessGroup) -> Tensor:
    """All-reduce a copy, since autograd's tensors may be in use elsewhere."""
    total = values.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total, group=group)
    return total


class _CopyToTP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, group: ProcessGroup, scale: float) -> Tensor:
        ctx.group, ctx.scale = group, scale
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        total = _all_reduce(gradient, ctx.group)
        return total if ctx.scale == 1.0 else total.mul_(ctx.scale), None, None


class _ReduceFromTP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, group: ProcessGroup) -> Tensor:
        return _all_reduce(values, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient, None


class _ScatterToSP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group, ctx.length = group, values.shape[1]
        return _local_chunk(values, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _all_gather(gradient, ctx.length, ctx.group), None


class _GatherFromSP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, length: int, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return _all_gather(part, length, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _local_chunk(gradient, ctx.group), None, None


class _GatherSPToTP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, length: int, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return _all_gather(part, length, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _reduce_scatter(gradient, ctx.group), None, None


class _ReduceScatterToSP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group, ctx.length = group, values.shape[1]
        return _reduce_scatter(values, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _all_gather(gradient, ctx.length, ctx.group), None
