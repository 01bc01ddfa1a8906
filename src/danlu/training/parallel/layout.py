"""How many ways the work is split in each direction, and the mesh of processes that follows from it."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from danlu.core.errors import ArgumentError
from danlu.recipe.sections import Parallel

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

# From the outside in: neighbours in rank, which are nearest to one another, speak most.
DIRECTIONS = ("pipeline", "data", "shard", "context", "tensor")


@dataclass(frozen=True)
class Layout:
    """Ways in each direction; their product is the number of processes.

    Attributes:
        data: copies of the model that take different samples.
        shard: processes that take different samples and share one copy of weights, gradients and optimizer state.
        tensor: processes that each hold a part of every matrix.
        pipeline: stages of layers.
        context: processes that each take a part of every sequence.
    """

    data: int = 1
    shard: int = 1
    tensor: int = 1
    pipeline: int = 1
    context: int = 1

    @property
    def size(self) -> int:
        """Processes in all."""
        return math.prod(getattr(self, direction) for direction in DIRECTIONS)

    @property
    def sample_ways(self) -> int:
        """How many ways the samples of a batch are split."""
        return self.data * self.shard

    @property
    def gradient_ways(self) -> int:
        """How many processes' gradients are summed for each weight: of other samples, or of other tokens."""
        return self.data * self.shard * self.context

    def mesh(self, device_type: str) -> "DeviceMesh":
        """The processes, with a dimension of that name for each direction, [pipeline, data, shard, context, tensor]."""
        from torch.distributed.device_mesh import init_device_mesh

        sizes = tuple(getattr(self, direction) for direction in DIRECTIONS)
        return init_device_mesh(device_type, sizes, mesh_dim_names=DIRECTIONS)


def choose_layout(asked: Parallel, processes: int) -> Layout:
    """The layout of a recipe for so many processes; `data: auto` takes what the other directions leave.

    Raises:
        ArgumentError: the processes do not divide so.
    """
    others = asked.shard * asked.tensor * asked.pipeline * asked.context
    data = processes // others if asked.data == "auto" else asked.data
    layout = Layout(max(1, data), asked.shard, asked.tensor, asked.pipeline, asked.context)
    if layout.size != processes:
        ways = " x ".join(f"{name} {getattr(layout, name)}" for name in DIRECTIONS if getattr(layout, name) > 1)
        raise ArgumentError(
            f"training.parallel: {ways or 'one way'} takes {layout.size} processes, and there are {processes}; start "
            f"`danlu train --processes {layout.size}`, or change the ways"
        )
    return layout


def nearest_layout(asked: Parallel, processes: int) -> Layout:
    """As `choose_layout`, for a run that goes on, perhaps with more processes or fewer: ways of samples adapt to them.

    Raises:
        ArgumentError: the processes are no multiple of the ways that cannot adapt.
    """
    fixed = asked.tensor * asked.pipeline * asked.context
    if processes == 1:
        return Layout()
    if (asked.data != "auto" and asked.data * asked.shard * fixed == processes) or processes % fixed:
        return choose_layout(asked, processes)
    samples = processes // fixed
    shard = asked.shard if samples % asked.shard == 0 else samples
    return Layout(samples // shard, shard, asked.tensor, asked.pipeline, asked.context)
