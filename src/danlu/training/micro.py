"""A batch that goes through the model in parts, and what tells that memory ran out.

The parts' summed losses divided by the whole batch's count give the whole batch's gradient, except where a network
looks across the samples of a batch, as batch normalisation does.
"""

import gc
import itertools

import torch
from torch import nn

from danlu.core.devices import Accelerator
from danlu.data.feed import Batch

# What allocators say that raise a plain RuntimeError; each is a part of a message of torch's.
EXHAUSTED = (
    "out of memory",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "ALLOC_FAILED",  # cuBLAS and cuDNN, which ask the driver themselves
    "RESOURCE_EXHAUSTED",  # XLA
)


def split(batch: Batch, parts: int, least: int = 1) -> list[Batch]:
    """Cut a batch into parts of nearly equal size, in order.

    Args:
        batch: inputs and target are cut along their first dimension.
        parts: how many are wanted; a short batch gives fewer.
        least: rows that a part has at the least, see `least_rows`.
    """
    rows = len(batch.rows)
    parts = max(1, min(parts, rows // least))
    if parts == 1:
        return [batch]
    ends = [rows * part // parts for part in range(parts + 1)]
    return [
        Batch(
            {name: values[start:end] for name, values in batch.inputs.items()},
            batch.target[start:end],
            batch.rows[start:end],
            batch.epoch,
            batch.whole,
            batch.stands_in,
        )
        for start, end in itertools.pairwise(ends)
    ]


def least_rows(model: nn.Module) -> int:
    """Rows that a part must have: batch normalisation has no variance to divide by in one alone."""
    return 2 if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()) else 1


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or what caused it, says that memory ran out, on whichever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, RuntimeError) and any(text in str(error) for text in EXHAUSTED):
        return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)


def release(accelerator: Accelerator) -> None:
    """Give back what a failed attempt left, before a smaller one; call it outside of the `except` block."""
    gc.collect()
    accelerator.empty_cache()
