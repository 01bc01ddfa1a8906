"""DTensor helpers that do not import `torch.distributed.tensor`, which takes about a second."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed.tensor import DTensor


def is_dtensor(value: "Tensor") -> "TypeGuard[DTensor]":
    """Return whether a tensor is a DTensor."""
    return hasattr(value, "device_mesh")


def to_local(value: "Tensor") -> "Tensor":
    """Return the local shard of a tensor, sharing its memory; a plain tensor itself."""
    return value.to_local() if is_dtensor(value) else value


def dtensor_like(local: "Tensor", like: "Tensor") -> "Tensor":
    """Wrap `local` as a DTensor laid out like `like`; plain stays plain."""
    if not is_dtensor(like):
        return local
    from torch.distributed.tensor import DTensor

    mesh, placements = like.device_mesh, like.placements
    return DTensor.from_local(local, mesh, placements, run_check=False, shape=like.shape, stride=like.stride())


@dataclass(frozen=True)
class ShardSpec:
    """Locate a local shard in its global tensor.

    Attributes:
        global_shape: the shape of the whole tensor.
        offset: where the shard begins in each dimension.
        shape: the shape of the shard.
        is_first_replica: whether this process is the first in the tensor's mesh that holds this shard.
    """

    global_shape: tuple[int, ...]
    offset: tuple[int, ...]
    shape: tuple[int, ...]
    is_first_replica: bool


def shard_of(value: "Tensor") -> ShardSpec:
    """Return which shard of a tensor this process holds."""
    shape = tuple(value.shape)
    if not is_dtensor(value):
        return ShardSpec(shape, (0,) * len(shape), shape, True)
    from danlu.core.torch_compat import local_shape_and_offset

    size, offset = local_shape_and_offset(value)
    here = value.device_mesh.get_coordinate() or ()
    # A tensor sharded twice along one dimension has a placement whose is_shard() is False, so ask is_replicate().
    whole = [placement.is_replicate() for placement in value.placements]
    first = all(place == 0 or not held for place, held in zip(here, whole, strict=True))
    return ShardSpec(shape, offset, size, first)
