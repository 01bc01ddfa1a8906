"""Tensors of which each process holds a piece (torch's DTensor), told without importing what makes them: a second."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed.tensor import DTensor


def is_split(value: "Tensor") -> "TypeGuard[DTensor]":
    """Whether processes hold a tensor together."""
    return hasattr(value, "device_mesh")


def held(value: "Tensor") -> "Tensor":
    """What this process holds of a tensor, sharing its memory."""
    return value.to_local() if is_split(value) else value


def piece_like(local: "Tensor", like: "Tensor") -> "Tensor":
    """A tensor of which this process holds `local`, and others what they hold of `like`; of a plain one, itself."""
    if not is_split(like):
        return local
    from torch.distributed.tensor import DTensor

    mesh, placements = like.device_mesh, like.placements
    return DTensor.from_local(local, mesh, placements, run_check=False, shape=like.shape, stride=like.stride())


@dataclass(frozen=True)
class Piece:
    """Where what a process holds of a tensor belongs in the whole.

    Attributes:
        whole: the shape of the whole.
        offset: where the piece begins in each dimension.
        shape: of the piece.
        first: whether this process is the first of those in the tensor's mesh that hold the same piece.
    """

    whole: tuple[int, ...]
    offset: tuple[int, ...]
    shape: tuple[int, ...]
    first: bool


def piece_of(value: "Tensor") -> Piece:
    """The piece of a tensor that this process holds."""
    shape = tuple(value.shape)
    if not is_split(value):
        return Piece(shape, (0,) * len(shape), shape, True)
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    size, offset = compute_local_shape_and_global_offset(value.shape, value.device_mesh, value.placements)
    here = value.device_mesh.get_coordinate() or ()
    # A tensor split twice along one dimension has a placement that does not say of itself that it is a shard.
    whole = [placement.is_replicate() for placement in value.placements]
    first = all(place == 0 or not held for place, held in zip(here, whole, strict=True))
    return Piece(shape, tuple(offset), tuple(size), first)
