"""The parallel layout: the size of each dimension, and the device mesh that follows from it."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from danlu.errors import ArgumentError
from danlu.recipe.sections.training import Parallel

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

# From the outside in: neighbouring ranks, which have the fastest links, communicate most.
MESH_DIMS = ("pipeline", "data", "shard", "context", "tensor")


@dataclass(frozen=True)
class Layout:
    """Give the size of each parallel dimension; their product is the number of processes.

    Attributes:
        data: replicas of the model that take different samples.
        shard: processes that take different samples and share one copy of weights, gradients and optimizer state.
        tensor: processes that each hold a shard of every matrix.
        pipeline: stages that hold different layers.
        context: processes that each hold some tokens of every sequence.
    """

    data: int = 1
    shard: int = 1
    tensor: int = 1
    pipeline: int = 1
    context: int = 1

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return math.prod(getattr(self, direction) for direction in MESH_DIMS)

    @property
    def dp_size(self) -> int:
        """Number of parts that a batch's samples are split into."""
        return self.data * self.shard

    @property
    def dp_cp_size(self) -> int:
        """Number of ranks whose gradients are summed: other samples or other tokens."""
        return self.data * self.shard * self.context

    def mesh(self, device_type: str) -> "DeviceMesh":
        """Build the device mesh [pipeline, data, shard, context, tensor], dimensions named."""
        from torch.distributed.device_mesh import init_device_mesh

        sizes = tuple(getattr(self, direction) for direction in MESH_DIMS)
        return init_device_mesh(device_type, sizes, mesh_dim_names=MESH_DIMS)


def choose_layout(asked: Parallel, processes: int) -> Layout:
    """Resolve a recipe's layout; `data: auto` takes the processes that the others leave.

    Raises:
        ArgumentError: the layout does not match the number of processes.
    """
    others = asked.shard * asked.tensor * asked.pipeline * asked.context
    data = processes // others if asked.data == "auto" else asked.data
    layout = Layout(max(1, data), asked.shard, asked.tensor, asked.pipeline, asked.context)
    if layout.world_size != processes:
        ways = " x ".join(f"{name} {getattr(layout, name)}" for name in MESH_DIMS if getattr(layout, name) > 1)
        raise ArgumentError(
            f"training.parallel: {ways or 'one way'} takes {layout.world_size} processes, and there are {processes}; "
            f"start `danlu train --processes {layout.world_size}`, or change the ways",
            code="DL601",
        )
    return layout


def nearest_layout(asked: Parallel, processes: int) -> Layout:
    """Choose a layout for a resumed run, adapting sample dimensions to the processes.

    As `choose_layout`, but the run may go on with more processes or fewer.

    Raises:
        ArgumentError: the processes are no multiple of tensor x pipeline x context, which cannot adapt.
    """
    fixed = asked.tensor * asked.pipeline * asked.context
    if processes == 1:
        return Layout()
    if (asked.data != "auto" and asked.data * asked.shard * fixed == processes) or processes % fixed:
        return choose_layout(asked, processes)
    samples = processes // fixed
    shard = asked.shard if samples % asked.shard == 0 else samples
    return Layout(samples // shard, shard, asked.tensor, asked.pipeline, asked.context)
