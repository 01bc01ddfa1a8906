"""torch's process groups, one per dimension of the layout, and this process's place in them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from danlu.core.devices import Accelerator
from danlu.core.distributed.env import DistEnv, dist_env
from danlu.core.distributed.heartbeat import Heartbeat
from danlu.core.distributed.process_groups import SINGLE_PROCESS, ProcessGroups
from danlu.core.distributed.shards import is_dtensor, shard_of
from danlu.errors import ArgumentError
from danlu.recipe.sections.training import Parallel
from danlu.training.distributed.layout import MESH_DIMS, Layout, choose_layout

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import ProcessGroup
    from torch.distributed.device_mesh import DeviceMesh

BACKENDS = {"cpu": "gloo", "cuda": "nccl", "xpu": "xccl", "tpu": "tpu_dist"}
COLLECTIVE_TIMEOUT = timedelta(minutes=10)  # a collective that takes longer has lost a rank


@dataclass(frozen=True)
class ParallelContext:
    """Hold the process groups, the layout and the device mesh of a training job.

    Attributes:
        groups: the process groups.
        layout: the size of each dimension.
        mesh: the device mesh; None for a single process.
        options: the recipe's `training.parallel`.
        flattened_meshes: several dimensions as one, by name; created on demand.
    """

    groups: ProcessGroups
    layout: Layout
    mesh: "DeviceMesh | None"
    options: Parallel
    flattened_meshes: "dict[str, DeviceMesh]" = field(default_factory=dict)

    @property
    def is_sharded(self) -> bool:
        """Whether no process holds all weights."""
        return self.layout.shard * self.layout.tensor * self.layout.pipeline > 1

    def owns_shard(self, value: "Tensor") -> bool:
        """Return whether this process saves its shard: the first of those that hold it."""
        if self.mesh is None:
            return True
        if not self.is_sharded:
            return self.groups.is_main
        split = set() if not is_dtensor(value) else set("_".join(value.device_mesh.mesh_dim_names or ()).split("_"))
        here = dict(zip(MESH_DIMS, self.mesh.get_coordinate() or (), strict=True))
        others = (direction for direction in MESH_DIMS if direction not in (*split, "pipeline"))
        return shard_of(value).is_first_replica and all(here[direction] == 0 for direction in others)

    def submesh(self, *directions: str) -> "DeviceMesh":
        """Return the mesh along one dimension, or along several flattened into one."""
        assert self.mesh is not None
        if len(directions) == 1:
            return self.mesh[directions[0]]
        name = "_".join(directions)
        if name not in self.flattened_meshes:
            from danlu.core.torch_compat import flatten_mesh

            self.flattened_meshes[name] = flatten_mesh(self.mesh[directions], name)
        return self.flattened_meshes[name]


SINGLE_PROCESS_CONTEXT = ParallelContext(SINGLE_PROCESS, Layout(), None, Parallel())


def init_distributed(
    parallel: Parallel | str,
    accelerator: Accelerator,
    choose: Callable[[Parallel, int], Layout] = choose_layout,
) -> ParallelContext:
    """Join the processes that the launcher started; a no-op for a single process.

    Args:
        parallel: the recipe's.
        accelerator: this process's device.
        choose: returns the layout for a number of processes.

    Raises:
        ArgumentError: the layout does not match the number of processes, or the device has no backend.
    """
    env = dist_env()
    asked = parallel if isinstance(parallel, Parallel) else Parallel()
    layout = choose(asked, env.world_size)
    if env.world_size == 1:
        return ParallelContext(SINGLE_PROCESS, layout, None, asked)
    from torch import distributed

    from danlu.core.torch_compat import default_store

    kind = accelerator.torch_device.type
    if kind not in BACKENDS:
        raise ArgumentError(
            f"training.device: several processes cannot train on {kind}; use cpu, or one process", code="DL501"
        )
    if not distributed.is_initialized():
        _init_process_group(_backends(kind), env)
    mesh = layout.mesh(kind)
    here = dict(zip(mesh.mesh_dim_names or (), mesh.get_coordinate() or (), strict=True))
    ungrouped = ParallelContext(SINGLE_PROCESS, layout, mesh, asked)
    for direction in MESH_DIMS:
        _set_timeout(mesh[direction].get_group())
    on_host = distributed.new_group(backend="gloo", timeout=COLLECTIVE_TIMEOUT)
    store = default_store()
    groups = ProcessGroups(
        env,
        dp_rank=here["data"] * layout.shard + here["shard"],
        dp_size=layout.dp_size,
        cp_rank=here["context"],
        dp_group=_process_group(ungrouped, layout.dp_size, "data", "shard"),
        dp_cp_group=_process_group(ungrouped, layout.dp_cp_size, "data", "shard", "context"),
        pp_group=_process_group(ungrouped, layout.pipeline, "pipeline"),
        cpu_group=on_host,
        store=store,
        heartbeat=Heartbeat(env.rank, env.world_size, store, f"danlu/{on_host.group_name}/at"),
    )
    return replace(ungrouped, groups=groups)


def _init_process_group(backends: str, env: DistEnv) -> None:
    """Initialise the default process group.

    Launchers keep their store across restarts, and with it the addresses of processes that have exited; so each attempt
    uses a key prefix of its own.
    """
    from torch import distributed
    from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]  # public, but not to its types

    store, rank, size = next(rendezvous("env://", timeout=COLLECTIVE_TIMEOUT))
    own = PrefixStore(f"attempt-{env.restart_count}-of-{size}", store)
    distributed.init_process_group(backends, store=own, rank=rank, world_size=size, timeout=COLLECTIVE_TIMEOUT)


def _backends(device_type: str) -> str:
    return "gloo" if device_type == "cpu" else f"cpu:gloo,{device_type}:{BACKENDS[device_type]}"


def _process_group(parallel: ParallelContext, ways: int, *directions: str) -> "ProcessGroup | None":
    if ways == 1:
        return None
    group = parallel.submesh(*directions).get_group()
    _set_timeout(group)
    return group


def _set_timeout(group: "ProcessGroup") -> None:
    """Set the timeout of a group; torch's default for a mesh is 30 minutes."""
    from danlu.core.torch_compat import set_group_timeout

    set_group_timeout(COLLECTIVE_TIMEOUT, group)
