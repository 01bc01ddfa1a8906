"""Activations on the host: tensors saved for the backward pass are copied there and fetched when their turn comes.

Like torch's `save_on_cpu`, but weights stay where they are, and so do tensors too small to be worth a copy.
"""

from typing import Any

import torch
from torch import Tensor, nn

MIN_BYTES = 1 << 16


class ActivationOffload:
    """Keep a model's activations on the host.

    Made once, entered around each forward pass and loss.

    Args:
        model: on its device; make a new one when its weights move.
        min_bytes: smaller tensors stay on the device.
    """

    def __init__(self, model: nn.Module, min_bytes: int = MIN_BYTES) -> None:
        tensors = [*model.parameters(), *model.buffers()]
        self.resident_storages = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        self.min_bytes = min_bytes

    def offloading(self) -> Any:
        """Return the context of a forward pass; the backward pass may run outside it."""
        return torch.autograd.graph.saved_tensors_hooks(self._to_host, self._from_host)

    def _to_host(self, values: Tensor) -> Tensor | tuple[torch.device, Tensor]:
        if values.nbytes < self.min_bytes or values.untyped_storage().data_ptr() in self.resident_storages:
            return values
        pinned = values.device.type == "cuda"
        # Dense, in the order of the strides: a kernel may depend on them.
        host = torch.empty_like(values, device="cpu", pin_memory=pinned)
        # No wait: memory that the device reuses is written in the same stream, so after the copy.
        host.copy_(values, non_blocking=pinned)
        return values.device, host

    def _from_host(self, packed: Tensor | tuple[torch.device, Tensor]) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        device, host = packed
        return host if device.type == "cpu" else host.to(device, non_blocking=True)
