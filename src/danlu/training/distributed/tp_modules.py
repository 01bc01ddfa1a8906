"""Modules of tensor parallelism, which compute with a local shard of their weights, and the group's random numbers.

A module becomes one of these by changing its class: names of weights and hooks stay. Weights are DTensors, so they can
be sharded further, saved and put together again; computation uses plain tensors, so that a model's own views and masks
work unchanged and no operation is dispatched twice.
"""

import zlib
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.nn import functional

from danlu.training.distributed import collectives


@dataclass(eq=False)
class TensorGroup:
    """Hold the group of ranks that share matrices, and the state of its modules.

    Attributes:
        mesh: one-dimensional.
        sequence_parallel: between the matrices of a block each rank holds its part of the tokens.
        has_dropout: whether the model uses dropout.
        sequence_length: tokens of the sequences that are in the blocks now.
    """

    mesh: DeviceMesh
    sequence_parallel: bool
    has_dropout: bool
    sequence_length: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.group: ProcessGroup = self.mesh.get_group()
        self.rank, self.size = self.mesh.get_local_rank(), self.mesh.size()
        self.rng_tracker = RngTracker(self.mesh.device_type, self.rank)

    def __deepcopy__(self, memo: object) -> "TensorGroup":
        """Return self, since a copy of a model uses the same group."""
        return self

    def enter_blocks(self, hidden: Tensor, training: bool) -> Tensor:
        """Split equal tokens [batch, length, width]: return this rank's."""
        self.sequence_length = hidden.shape[1]
        if self.has_dropout and training:
            self.rng_tracker.fork()
        return collectives.scatter_to_sp(hidden, self.group)

    def leave_blocks(self, hidden: Tensor) -> Tensor:
        """Gather the tokens of all ranks, equal everywhere."""
        self.rng_tracker.restore()
        return collectives.gather_from_sp(hidden, self.sequence_length, self.group)

    def enter_linears(self, hidden: Tensor, training: bool) -> Tensor:
        """Gather the input of a group's column-parallel layers: all tokens."""
        if self.sequence_parallel:
            return collectives.gather_sp_to_tp(hidden, self.sequence_length, self.group)
        if self.has_dropout and training:
            self.rng_tracker.fork()
        return collectives.copy_to_tp(hidden, self.group)

    def leave_linears(self, summands: Tensor) -> Tensor:
        """Sum the partial outputs of a group's row-parallel layer."""
        if self.sequence_parallel:
            return collectives.reduce_scatter_to_sp(summands, self.group)
        self.rng_tracker.restore()
        return collectives.reduce_from_tp(summands, self.group)


def local_shard(weight: Tensor | None) -> Tensor | None:
    """Return the local shard of a weight; its gradient is the shard's."""
    return weight.to_local() if isinstance(weight, DTensor) else weight


class ColumnParallelLinear(nn.Linear):
    """Compute some outputs of a linear layer: [batch, length, inputs] -> [..., outputs / ways]."""

    def forward(self, input: Tensor) -> Tensor:
        """Multiply with this rank's rows of the weight."""
        weight = local_shard(self.weight)
        assert weight is not None
        return functional.linear(input, weight, local_shard(self.bias))


class RowParallelLinear(nn.Linear):
    """Compute a linear layer from some inputs: [batch, length, inputs / ways] -> [..., outputs]."""

    tensor_group: TensorGroup

    def forward(self, input: Tensor) -> Tensor:
        """Multiply with this rank's columns; sum before adding the bias once."""
        weight = local_shard(self.weight)
        assert weight is not None
        found = self.tensor_group.leave_linears(functional.linear(input, weight))
        if self.bias is None:
            return found
        bias = local_shard(self.bias)
        assert bias is not None
        if self.tensor_group.sequence_parallel:  # each rank has seen some tokens
            bias = collectives.copy_to_tp(bias, self.tensor_group.group)
        return found + bias.to(found.dtype)


class VocabParallelEmbedding(nn.Embedding):
    """Hold part of a vocabulary: token ids -> their vectors, equal on all ranks."""

    tensor_group: TensorGroup

    def forward(self, input: Tensor) -> Tensor:
        """Look up local tokens, 0 for others', and sum over the ranks."""
        weight = local_shard(self.weight)
        assert weight is not None
        start = shard_offset(self.num_embeddings, self.tensor_group)
        place = input - start
        inside = (place >= 0) & (place < len(weight))
        padding = None if self.padding_idx is None else self.padding_idx - start
        if padding is not None and not 0 <= padding < len(weight):
            padding = None
        found = functional.embedding(place.where(inside, 0), weight, padding)
        return collectives.reduce_from_tp(found * inside[..., None].to(found.dtype), self.tensor_group.group)


def shard_offset(size: int, group: TensorGroup) -> int:
    """Return where this rank's shard of `size` rows begins, as DTensor splits them."""
    return min(size, -(-size // group.size) * group.rank)


class ReplicatedCompute(nn.Module):
    """Compute with plain tensors in a module whose weights are replicated on all ranks.

    Attributes:
        sum_gradients: ranks see different tokens or heads, so that gradients are summed; else they are equal.
        average_gradients: average equal gradients, as rounding may differ: on GPUs an embedding sums in any order.
    """

    tensor_group: TensorGroup
    sum_gradients: bool
    average_gradients: bool

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module with plain tensors in place of its DTensor weights."""
        own = dict(self._parameters)
        for name, weight in own.items():
            if weight is not None:
                self._parameters[name] = self._to_plain(weight)  # type: ignore[assignment]
        try:
            return super().forward(*args, **kwargs)
        finally:
            self._parameters.update(own)

    def _to_plain(self, weight: Tensor) -> Tensor:
        plain = local_shard(weight)
        assert plain is not None
        if not plain.requires_grad or not torch.is_grad_enabled():
            return plain
        if self.sum_gradients:
            return collectives.copy_to_tp(plain, self.tensor_group.group)
        return collectives.average_gradient(plain, self.tensor_group.group) if self.average_gradients else plain


def swap_module_class(module: nn.Module, kind: type[nn.Module]) -> None:
    """Give a module the behaviour of `kind`, in place.

    The class is changed rather than the module replaced or wrapped: its weights keep their names (checkpoints), its
    hooks stay, and parents, adapters and tied layers that refer to the module still do.
    """
    own = type(module)
    if kind in (ColumnParallelLinear, RowParallelLinear, VocabParallelEmbedding) and own in (nn.Linear, nn.Embedding):
        module.__class__ = kind
        return
    # A model's own subclass keeps its code around nn.Embedding's forward; `ReplicatedCompute` wraps that code instead.
    order = (kind, own) if kind is ReplicatedCompute else (own, kind)
    module.__class__ = type(f"{kind.__name__}{own.__name__}", order, {})


class RngTracker:
    """Switch a device's random state between the common and this rank's own.

    All ranks of a group begin a step with the same seed. Where work is split, each continues with a state of its own,
    derived from the common one, and afterwards with the common one again (Shoeybi et al. 2019,
    https://arxiv.org/abs/1909.08053). The state follows from the seed alone, so a repeated step or a recomputed block
    has the same masks again.

    Args:
        device_type: e.g. cuda.
        rank: of this process in its group.
    """

    def __init__(self, device_type: str, rank: int) -> None:
        self.device_type, self.rank = device_type, rank
        self._common_state: Tensor | None = None

    def fork(self) -> None:
        """Switch to this rank's own state."""
        torch.rand(1, device=self.device_type)  # advance the common state, so that the next fork differs
        self._common_state = self._state()
        seed = zlib.crc32(self._common_state.numpy().tobytes(), self.rank + 1)
        if self.device_type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.get_device_module(self.device_type).manual_seed(seed)

    def restore(self) -> None:
        """Switch back to the common state where it was left."""
        if self._common_state is None:
            return
        if self.device_type == "cpu":
            torch.set_rng_state(self._common_state)
        else:
            torch.get_device_module(self.device_type).set_rng_state(self._common_state)
        self._common_state = None

    def _state(self) -> Tensor:
        if self.device_type == "cpu":
            return torch.get_rng_state()
        state: Tensor = torch.get_device_module(self.device_type).get_rng_state()
        return state
