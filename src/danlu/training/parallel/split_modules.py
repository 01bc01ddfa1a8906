"""Modules that compute on their process's part of a weight, or on all of a weight that every process holds.

A module becomes one of these by its class alone: names of weights stay, and so do its hooks. Weights are DTensors, by
which they are sharded further, saved and put together again; what is computed are plain tensors, so that a model's own
code of views and masks sees nothing unusual and no operation is dispatched twice.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.nn import functional

from danlu.training.parallel import collectives
from danlu.training.parallel.streams import Streams


@dataclass(eq=False)
class TensorGroup:
    """The processes that share matrices, and what the split modules of one model share.

    Attributes:
        mesh: of one dimension.
        sequence: between the matrices of a block each process has its part of the tokens.
        drops: whether the model drops anything in training.
        length: tokens of the sequences that are within the blocks now.
    """

    mesh: DeviceMesh
    sequence: bool
    drops: bool
    length: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.processes: ProcessGroup = self.mesh.get_group()
        self.rank, self.ways = self.mesh.get_local_rank(), self.mesh.size()
        self.streams = Streams(self.mesh.device_type, self.rank)

    def __deepcopy__(self, memo: object) -> "TensorGroup":
        """A copy of a model speaks to the same processes."""
        return self

    def enter_blocks(self, hidden: Tensor, training: bool) -> Tensor:
        """Equal tokens [batch, length, width] -> this process's."""
        self.length = hidden.shape[1]
        if self.drops and training:
            self.streams.part()
        return collectives.own_part(hidden, self.processes)

    def leave_blocks(self, hidden: Tensor) -> Tensor:
        """This process's tokens -> all of them, equal everywhere."""
        self.streams.join()
        return collectives.whole_equal(hidden, self.length, self.processes)

    def enter_matrices(self, hidden: Tensor, training: bool) -> Tensor:
        """What lies between the matrices -> what the first of a group are multiplied with: all tokens."""
        if self.sequence:
            return collectives.whole_in(hidden, self.length, self.processes)
        if self.drops and training:
            self.streams.part()
        return collectives.equal_in(hidden, self.processes)

    def leave_matrices(self, summands: Tensor) -> Tensor:
        """The products of the last matrix of a group -> what lies between them."""
        if self.sequence:
            return collectives.part_out(summands, self.processes)
        self.streams.join()
        return collectives.sum_out(summands, self.processes)


def local_part(weight: Tensor | None) -> Tensor | None:
    """This process's part of a weight; its gradient is that of the part."""
    return weight.to_local() if isinstance(weight, DTensor) else weight


class ColumnLinear(nn.Linear):
    """A linear layer of which this process computes some outputs: [batch, length, inputs] -> [..., outputs / ways]."""

    def forward(self, input: Tensor) -> Tensor:
        """Multiply with this process's rows of the weight."""
        weight = local_part(self.weight)
        assert weight is not None
        return functional.linear(input, weight, local_part(self.bias))


class RowLinear(nn.Linear):
    """A linear layer that this process has some inputs of: [batch, length, inputs / ways] -> [..., outputs]."""

    tensor_group: TensorGroup

    def forward(self, input: Tensor) -> Tensor:
        """Multiply with this process's columns; the products are summed before the bias is added, once."""
        weight = local_part(self.weight)
        assert weight is not None
        found = self.tensor_group.leave_matrices(functional.linear(input, weight))
        if self.bias is None:
            return found
        bias = local_part(self.bias)
        assert bias is not None
        if self.tensor_group.sequence:  # each has seen some tokens of it
            bias = collectives.equal_in(bias, self.tensor_group.processes)
        return found + bias.to(found.dtype)


class SplitEmbedding(nn.Embedding):
    """An embedding of which this process holds some words: token ids -> their vectors, equal on all processes."""

    tensor_group: TensorGroup

    def forward(self, input: Tensor) -> Tensor:
        """Words of other processes are zero here, and their vectors come by the sum."""
        weight = local_part(self.weight)
        assert weight is not None
        start = part_start(self.num_embeddings, self.tensor_group)
        place = input - start
        inside = (place >= 0) & (place < len(weight))
        padding = None if self.padding_idx is None else self.padding_idx - start
        if padding is not None and not 0 <= padding < len(weight):
            padding = None
        found = functional.embedding(place.where(inside, 0), weight, padding)
        return collectives.sum_out(found * inside[..., None].to(found.dtype), self.tensor_group.processes)


def part_start(size: int, group: TensorGroup) -> int:
    """Where this process's part of so many rows begins, as DTensor cuts them."""
    return min(size, -(-size // group.ways) * group.rank)


class Whole(nn.Module):
    """Mixed into a module whose weights all processes hold: it computes with plain tensors.

    Attributes:
        split_work: each process has other tokens, or other heads, so that the gradients are summed; else equal ones.
        keep_equal: the mean of equal gradients is taken, as rounding may differ: on cards an embedding adds up in any
            order.
    """

    tensor_group: TensorGroup
    split_work: bool
    keep_equal: bool

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the module would, with its weights for DTensors."""
        own = dict(self._parameters)
        for name, weight in own.items():
            if weight is not None:
                self._parameters[name] = self._plain(weight)  # type: ignore[assignment]
        try:
            return super().forward(*args, **kwargs)
        finally:
            self._parameters.update(own)

    def _plain(self, weight: Tensor) -> Tensor:
        plain = local_part(weight)
        assert plain is not None
        if not plain.requires_grad or not torch.is_grad_enabled():
            return plain
        if self.split_work:
            return collectives.equal_in(plain, self.tensor_group.processes)
        return collectives.mean_gradient(plain, self.tensor_group.processes) if self.keep_equal else plain


def become(module: nn.Module, kind: type[nn.Module]) -> None:
    """Give a module the behaviour of `kind`, in place."""
    own = type(module)
    if kind in (ColumnLinear, RowLinear, SplitEmbedding) and own in (nn.Linear, nn.Embedding):
        module.__class__ = kind
        return
    # A class of the model's own keeps what it does around nn.Embedding's forward; one computed whole is what we wrap.
    order = (kind, own) if kind is Whole else (own, kind)
    module.__class__ = type(f"{kind.__name__}{own.__name__}", order, {})
