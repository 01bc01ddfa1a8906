"""torch's process groups, one per dimension of the layout, and this process's place in them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from danlu.core.devices import Accelerator
from danlu.core.errors import ArgumentError
from danlu.core.pieces import is_split, piece_of
from danlu.core.team import ALONE, Team
from danlu.core.whereabouts import Whereabouts
from danlu.core.world import World, this_world
from danlu.recipe.sections import Parallel
from danlu.training.parallel.layout import DIRECTIONS, Layout, choose_layout

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import ProcessGroup
    from torch.distributed.device_mesh import DeviceMesh

BACKENDS = {"cpu": "gloo", "cuda": "nccl", "xpu": "xccl", "tpu": "tpu_dist"}
ANSWER_WITHIN = timedelta(minutes=10)  # a collective that takes longer has lost a rank


@dataclass(frozen=True)
class Together:
    """Hold the process groups, the layout and the device mesh of a training job.

    Attributes:
        groups: the process groups.
        layout: the size of each dimension.
        mesh: the device mesh; None for a single process.
        options: the recipe's `training.parallel`.
        flattened_meshes: several dimensions as one, by name; created on demand.
    """

    team: Team
    layout: Layout
    mesh: "DeviceMesh | None"
    options: Parallel
    flattened: "dict[str, DeviceMesh]" = field(default_factory=dict)

    @property
    def splits_weights(self) -> bool:
        """Whether no process holds all weights."""
        return self.layout.shard * self.layout.tensor * self.layout.pipeline > 1

    def writes(self, value: "Tensor") -> bool:
        """Return whether this process saves its shard: the first of those that hold it."""
        if self.mesh is None:
            return True
        if not self.splits_weights:
            return self.team.is_main
        split = set() if not is_split(value) else set("_".join(value.device_mesh.mesh_dim_names or ()).split("_"))
        here = dict(zip(DIRECTIONS, self.mesh.get_coordinate() or (), strict=True))
        others = (direction for direction in DIRECTIONS if direction not in (*split, "pipeline"))
        return piece_of(value).first and all(here[direction] == 0 for direction in others)

    def axis(self, *directions: str) -> "DeviceMesh":
        """Return the mesh along one dimension, or along several flattened into one."""
        assert self.mesh is not None
        if len(directions) == 1:
            return self.mesh[directions[0]]
        name = "_".join(directions)
        if name not in self.flattened:
            self.flattened[name] = self.mesh[directions]._flatten(name)
        return self.flattened[name]


LONE = Together(ALONE, Layout(), None, Parallel())


def open_together(
    parallel: Parallel | str,
    accelerator: Accelerator,
    choose: Callable[[Parallel, int], Layout] = choose_layout,
) -> Together:
    """Join the processes that the launcher started; a no-op for a single process.

    Args:
        parallel: the recipe's.
        accelerator: this process's device.
        choose: returns the layout for a number of processes.

    Raises:
        ArgumentError: the layout does not match the number of processes, or the device has no backend.
    """
    world = this_world()
    asked = parallel if isinstance(parallel, Parallel) else Parallel()
    layout = choose(asked, world.size)
    if world.size == 1:
        return Together(ALONE, layout, None, asked)
    from torch import distributed

    kind = accelerator.torch_device.type
    if kind not in BACKENDS:
        raise ArgumentError(f"training.device: several processes cannot train on {kind}; use cpu, or one process")
    if not distributed.is_initialized():
        _join(_backends(kind), world)
    mesh = layout.mesh(kind)
    here = dict(zip(mesh.mesh_dim_names or (), mesh.get_coordinate() or (), strict=True))
    both = Together(ALONE, layout, mesh, asked)
    for direction in DIRECTIONS:
        _set_patience(mesh[direction].get_group())
    on_host = distributed.new_group(backend="gloo", timeout=ANSWER_WITHIN)
    store = distributed.distributed_c10d._get_default_store()
    team = Team(
        world,
        sample_rank=here["data"] * layout.shard + here["shard"],
        sample_ways=layout.sample_ways,
        token_rank=here["context"],
        of_samples=_group(both, layout.sample_ways, "data", "shard"),
        of_gradients=_group(both, layout.gradient_ways, "data", "shard", "context"),
        of_pipeline=_group(both, layout.pipeline, "pipeline"),
        on_host=on_host,
        store=store,
        whereabouts=Whereabouts(world.rank, world.size, store, f"danlu/{on_host.group_name}/at"),
    )
    return replace(both, team=team)


def _join(backends: str, world: World) -> None:
    """Initialise the default process group.

    Launchers keep their store across restarts, and with it the addresses of processes that have exited; so each attempt
    uses a key prefix of its own.
    """
    from torch import distributed
    from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]  # public, but not to its types

    store, rank, size = next(rendezvous("env://", timeout=ANSWER_WITHIN))
    own = PrefixStore(f"attempt-{world.restarts}-of-{size}", store)
    distributed.init_process_group(backends, store=own, rank=rank, world_size=size, timeout=ANSWER_WITHIN)


def _backends(kind: str) -> str:
    return "gloo" if kind == "cpu" else f"cpu:gloo,{kind}:{BACKENDS[kind]}"


def _group(both: Together, ways: int, *directions: str) -> "ProcessGroup | None":
    if ways == 1:
        return None
    group = both.axis(*directions).get_group()
    _set_patience(group)
    return group


def _set_patience(group: "ProcessGroup") -> None:
    """Set the timeout of a group; torch's default for a mesh is 30 minutes."""
    from torch.distributed.distributed_c10d import _set_pg_timeout

    _set_pg_timeout(ANSWER_WITHIN, group)
