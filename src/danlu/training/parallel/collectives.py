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


def equal_in(values: Tensor, group: ProcessGroup) -> Tensor:
    """Pass equal tensors into split work: forward identity, backward all-reduce."""
    return _SumGradients.apply(values, group, 1.0)  # type: ignore[no-any-return, no-untyped-call]


def mean_gradient(values: Tensor, group: ProcessGroup) -> Tensor:
    """Keep equal tensors equal: forward identity, backward mean of gradients that differ by rounding only."""
    return _SumGradients.apply(values, group, 1.0 / group.size())  # type: ignore[no-any-return, no-untyped-call]


def sum_out(values: Tensor, group: ProcessGroup) -> Tensor:
    """Sum partial results of split work: forward all-reduce, backward identity."""
    return _Sum.apply(values, group)  # type: ignore[no-any-return, no-untyped-call]


def own_part(values: Tensor, group: ProcessGroup) -> Tensor:
    """Keep this rank's tokens of equal tensors [batch, length, ...]; backward all-gathers."""
    return _OwnPart.apply(values, group)  # type: ignore[no-any-return, no-untyped-call]


def whole_equal(part: Tensor, length: int, group: ProcessGroup) -> Tensor:
    """All-gather the parts for work that all ranks repeat; backward keeps the local part."""
    return _WholeEqual.apply(part, length, group)  # type: ignore[no-any-return, no-untyped-call]


def whole_in(part: Tensor, length: int, group: ProcessGroup) -> Tensor:
    """All-gather the parts for split work; backward reduce-scatters."""
    return _WholeIn.apply(part, length, group)  # type: ignore[no-any-return, no-untyped-call]


def part_out(values: Tensor, group: ProcessGroup) -> Tensor:
    """Reduce-scatter partial results of split work along tokens; backward all-gathers."""
    return _PartOut.apply(values, group)  # type: ignore[no-any-return, no-untyped-call]


def part_length(length: int, group: ProcessGroup) -> int:
    """Return the padded number of tokens per part."""
    return -(-length // group.size())


def _filled(values: Tensor, group: ProcessGroup) -> Tensor:
    """Pad [batch, length, ...] with zeros to a multiple of the group's size."""
    missing = part_length(values.shape[1], group) * group.size() - values.shape[1]
    return functional.pad(values, [0, 0] * (values.ndim - 2) + [0, missing]) if missing else values


def _slice(values: Tensor, group: ProcessGroup) -> Tensor:
    return _filled(values, group).chunk(group.size(), dim=1)[group.rank()].contiguous()


def _gather(part: Tensor, length: int, group: ProcessGroup) -> Tensor:
    found = part.new_empty(group.size() * part.shape[0], *part.shape[1:])
    all_gather_single(found, part.contiguous(), group=group)
    return torch.cat(found.chunk(group.size()), dim=1)[:, :length]


def _scatter_sum(values: Tensor, group: ProcessGroup) -> Tensor:
    parts = torch.cat(_filled(values, group).chunk(group.size(), dim=1))
    mine = values.new_empty(values.shape[0], part_length(values.shape[1], group), *values.shape[2:])
    reduce_scatter_single(mine, parts, group=group)
    return mine


def _summed(values: Tensor, group: ProcessGroup) -> Tensor:
    """All-reduce a copy, since autograd's tensors may be in use elsewhere."""
    total = values.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total, group=group)
    return total


class _SumGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, group: ProcessGroup, scale: float) -> Tensor:
        ctx.group, ctx.scale = group, scale
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        total = _summed(gradient, ctx.group)
        return total if ctx.scale == 1.0 else total.mul_(ctx.scale), None, None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, group: ProcessGroup) -> Tensor:
        return _summed(values, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient, None


class _OwnPart(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group, ctx.length = group, values.shape[1]
        return _slice(values, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _gather(gradient, ctx.length, ctx.group), None


class _WholeEqual(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, length: int, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return _gather(part, length, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _slice(gradient, ctx.group), None, None


class _WholeIn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, length: int, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return _gather(part, length, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _scatter_sum(gradient, ctx.group), None, None


class _PartOut(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group, ctx.length = group, values.shape[1]
        return _scatter_sum(values, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _gather(gradient, ctx.length, ctx.group), None
