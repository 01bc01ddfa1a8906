"""Private parts of torch that danlu relies on, each with its reason: the one file to look at when torch is updated.

Imports torch, so it is imported where torch is in use anyway, or inside a function. A test asks the installed torch for
each of them, and allows none elsewhere (`torch._foreach_…` aside, which torch documents).
"""

from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode  # sees every operator and its result
from torch.utils._pytree import tree_iter as tree_iter  # tensors in the nested results that such a mode sees
from torch.utils._pytree import tree_leaves as tree_leaves
from torch.utils._pytree import tree_map_only as tree_map_only

if TYPE_CHECKING:
    from torch._C._distributed_c10d import GradBucket as GradBucket  # what DDP gives to a communication hook
    from torch._C._distributed_c10d import Store as Store  # public at run time, but not to type checkers
    from torch.distributed import ProcessGroup
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor

# Base classes that cover all dimensions and the synchronized variants; torch exports none of them.
BatchNorm = nn.modules.batchnorm._BatchNorm
NormWithStats = nn.modules.batchnorm._NormBase  # batch and instance norms, which keep running statistics
Convolution = nn.modules.conv._ConvNd


def parameter_dict(module: nn.Module) -> dict[str, nn.Parameter | None]:
    """Return a module's own parameters, not a copy, so that they can be replaced."""
    return module._parameters


def flatten_mesh(mesh: "DeviceMesh", name: str) -> "DeviceMesh":
    """Flatten the dimensions of a mesh into one, which torch cannot do publicly."""
    flat: DeviceMesh = mesh._flatten(name)
    return flat


def default_store() -> "Store":
    """Return the store of the default process group, for broadcasts and heartbeats of our own."""
    from torch.distributed import distributed_c10d

    return distributed_c10d._get_default_store()


def set_group_timeout(timeout: timedelta, group: "ProcessGroup") -> None:
    """Set the timeout of a group; `init_device_mesh` takes none and leaves torch's 30 minutes."""
    from torch.distributed.distributed_c10d import _set_pg_timeout

    _set_pg_timeout(timeout, group)


def local_shape_and_offset(value: "DTensor") -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return shape and offset of a DTensor's local shard; the public API tells no offset."""
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    shape, offset = compute_local_shape_and_global_offset(value.shape, value.device_mesh, value.placements)
    return tuple(shape), tuple(offset)


def is_replicate_module(module: nn.Module) -> bool:
    """Return whether FSDP2's replicate wraps a module: an FSDPModule that has nothing to reshard."""
    from torch.distributed._composable.replicate_with_fsdp import ReplicateModule

    return isinstance(module, ReplicateModule)


def mark_dynamic(values: Tensor) -> None:
    """Let the batch size vary without recompiling; the public `mark_dynamic` fails if it is constant."""
    torch._dynamo.maybe_mark_dynamic(values, 0)


def compiled_graphs() -> int:
    """Return the number of graphs that this process has compiled."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])
