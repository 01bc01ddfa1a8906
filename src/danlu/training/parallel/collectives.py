"""What passes between the processes of a group within the forward pass, and what in the backward pass answers it.

Each function is the transpose of another: whole and equal tensors on one side of it, parts or summands on the other
(Shoeybi et al. 2019; Korthikanti et al. 2022, sequence parallelism). Parts are along dimension 1, tokens; where they do
not divide, the last part is filled with zeros, which is cut off again.
"""

from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup
from torch.nn import functional

# Their names since torch 2.13, and before.
all_gather_single = getattr(distributed, "all_gather_single", None) or distributed.all_gather_into_tensor
reduce_scatter_single = getattr(distributed, "reduce_scatter_single", None) or distributed.reduce_scatter_tensor


def equal_in(values: Tensor, group: ProcessGroup) -> Tensor:
    """Equal tensors go into work that is split: forward nothing, backward the gradients of all are summed."""
    return _SumGradients.apply(values, group, 1.0)  # type: ignore[no-any-return, no-untyped-call]


def mean_gradient(values: Tensor, group: ProcessGroup) -> Tensor:
    """Equal tensors stay so: backward the mean of the gradients, which are equal but for rounding."""
    return _SumGradients.apply(values, group, 1.0 / group.size())  # type: ignore[no-any-return, no-untyped-call]


def sum_out(values: Tensor, group: ProcessGroup) -> Tensor:
    """Summands come out of work that is split: forward they are summed, backward nothing."""
    return _Sum.apply(values, group)  # type: ignore[no-any-return, no-untyped-call]


def own_part(values: Tensor, group: ProcessGroup) -> Tensor:
    """Of equal tensors [batch, length, ...] this process's tokens; backward the gradients of all are put together."""
    return _OwnPart.apply(values, group)  # type: ignore[no-any-return, no-untyped-call]


def whole_equal(part: Tensor, length: int, group: ProcessGroup) -> Tensor:
    """The parts put together, for work that all do alike: backward each keeps its own part of the gradient."""
    return _WholeEqual.apply(part, length, group)  # type: ignore[no-any-return, no-untyped-call]


def whole_in(part: Tensor, length: int, group: ProcessGroup) -> Tensor:
    """The parts put together, for work that is split: backward the gradients are summed, each keeps its own part."""
    return _WholeIn.apply(part, length, group)  # type: ignore[no-any-return, no-untyped-call]


def part_out(values: Tensor, group: ProcessGroup) -> Tensor:
    """Summands come out of work that is split: of their sum this process's tokens; backward all is put together."""
    return _PartOut.apply(values, group)  # type: ignore[no-any-return, no-untyped-call]


def part_length(length: int, group: ProcessGroup) -> int:
    """Tokens of a part, filled up."""
    return -(-length // group.size())


def _filled(values: Tensor, group: ProcessGroup) -> Tensor:
    """[batch, length, ...] with zeros behind, so that it divides."""
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
    """A new tensor: what autograd hands over may be in use elsewhere."""
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
