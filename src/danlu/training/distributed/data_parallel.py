"""Data parallelism: DDP over whole replicas, or FSDP over sharded ones; replicas take different samples.

Where every process has the whole model, torch's DDP sums gradients while the backward pass still runs. Where processes
share one copy, or each has a part of every matrix, FSDP2 gathers a block's weights when it is computed (Zhao et al.
2023, https://arxiv.org/abs/2304.11277). Both average over processes, so the loss is multiplied by their number before
the backward pass.
"""

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from danlu.training.distributed.parallel_context import ParallelContext
from danlu.training.memory.activation_checkpointing import repeated_blocks
from danlu.training.precision import Precision

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from danlu.core.torch_compat import GradBucket

POWERSGD_RANK, POWERSGD_WARMUP_STEPS = (
    2,
    10,
)  # PowerSGD's rank and warm-up steps (Vogels et al. 2019, https://arxiv.org/abs/1905.13727)


def apply_ddp(model: nn.Module, parallel: ParallelContext) -> nn.Module:
    """Wrap a model in DDP: its gradients become the mean over replicas.

    Buffers stay local to each process, as a batch norm's statistics are, until a validation shares them.
    """
    from torch.nn.parallel import DistributedDataParallel

    group = parallel.submesh("data", "context").get_group()
    names = inspect.signature(DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"  # before torch 2.13
    views = parallel.options.compress == "none"
    own: dict[str, Any] = {"process_group": group, buffers: False, "gradient_as_bucket_view": views}
    wrapped = DistributedDataParallel(model, **own)
    if parallel.options.compress == "bf16":
        # DDP inspects annotations and rejects string ones of lazily imported types; a lambda has none.
        wrapped.register_comm_hook(group, lambda group, bucket: _bf16_hook(group, bucket))
    elif parallel.options.compress == "powersgd":
        from torch.distributed.algorithms.ddp_comm_hooks import powerSGD_hook

        state = powerSGD_hook.PowerSGDState(
            group, matrix_approximation_rank=POWERSGD_RANK, start_powerSGD_iter=POWERSGD_WARMUP_STEPS
        )
        wrapped.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
    return wrapped


def _bf16_hook(group: Any, bucket: "GradBucket") -> "torch.futures.Future[Tensor]":
    """Average gradients that travel in bf16: half the bytes, three digits.

    Torch's own hook supports CUDA only.
    """
    gradients = bucket.buffer()
    sent = gradients.to(torch.bfloat16).div_(group.size())
    future = torch.distributed.all_reduce(sent, group=group, async_op=True).get_future()

    def back(done: "torch.futures.Future[list[Tensor]]") -> Tensor:
        return gradients.copy_(done.value()[0])

    mean: torch.futures.Future[Tensor] = future.then(back)
    return mean


def apply_fsdp(model: nn.Module, parallel: ParallelContext, precision: Precision) -> None:
    """Apply FSDP: processes share one copy of weights, gradients and optimizer state, in place.

    Each repeated block is gathered by itself; the rest, such as embeddings and head, with the root.
    """
    from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard

    options: dict[str, Any] = {
        "mesh": _fsdp_mesh(parallel),
        "offload_policy": CPUOffloadPolicy(pin_memory=precision.device.type != "cpu")
        if parallel.options.offload
        else OffloadPolicy(),
    }
    if precision.name == "bf16":
        options["mp_policy"] = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    for block in repeated_blocks(model):
        fully_shard(block, **options)
    fully_shard(model, **options)


def _fsdp_mesh(parallel: ParallelContext) -> "DeviceMesh":
    """Return the mesh of ranks that share a copy, with the replicas beside it."""
    layout, mesh = parallel.layout, parallel.mesh
    assert mesh is not None
    shards = parallel.submesh("shard", "context") if layout.context > 1 else mesh["shard"]
    if layout.data == 1:
        return shards
    return mesh["data", "shard_context" if layout.context > 1 else "shard"]
