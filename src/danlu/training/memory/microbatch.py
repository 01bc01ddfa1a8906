"""Microbatches: a batch that goes through the model in parts, and how to tell that memory ran out.

The parts' summed losses divided by the whole batch's count give the whole batch's gradient, except where a network
looks across the samples of a batch, as batch normalisation does.
"""

import gc
import itertools

import torch
from torch import nn

from danlu.core.devices import Accelerator
from danlu.core.torch_compat import BatchNorm
from danlu.data.loader import Batch

# Messages of allocators that raise a plain RuntimeError; each is a part of a message of torch's.
OOM_MESSAGES = (
    "out of memory",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "ALLOC_FAILED",  # cuBLAS and cuDNN, which ask the driver themselves
    "RESOURCE_EXHAUSTED",  # XLA
)


def split_batch(batch: Batch, parts: int, min_rows: int = 1) -> list[Batch]:
    """Split a batch into microbatches of nearly equal size, in order.

    Args:
        batch: inputs and target are split along their first dimension.
        parts: number wanted; a short batch gives fewer.
        min_rows: smallest number of rows of a microbatch, see `min_microbatch_rows`.
    """
    rows = len(batch.rows)
    parts = max(1, min(parts, rows // min_rows))
    if parts == 1:
        return [batch]
    ends = [rows * part // parts for part in range(parts + 1)]
    return [
        Batch(
            {name: values[start:end] for name, values in batch.inputs.items()},
            batch.target[start:end],
            batch.rows[start:end],
            batch.epoch,
            batch.global_batch_size,
            batch.is_dummy,
        )
        for start, end in itertools.pairwise(ends)
    ]


def min_microbatch_rows(model: nn.Module) -> int:
    """Return the smallest microbatch: batch normalisation needs two rows for a variance."""
    return 2 if any(isinstance(module, BatchNorm) for module in model.modules()) else 1


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, or its cause, means that memory ran out on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, RuntimeError) and any(text in str(error) for text in OOM_MESSAGES):
        return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)


def release_memory(accelerator: Accelerator) -> None:
    """Free memory after a failed attempt; call it outside the `except` block."""
    gc.collect()
    accelerator.empty_cache()
