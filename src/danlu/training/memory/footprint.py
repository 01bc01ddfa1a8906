"""The memory and the arithmetic of training steps, counted while they run for real at small sizes.

Every operation of torch passes a dispatch mode that counts the bytes of the storages that are alive. That is the amount
requested from an allocator, on any device; its overhead, and what libraries keep beside it, is not seen.
"""

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from danlu.core.torch_compat import TorchDispatchMode, tree_iter


class LiveBytesCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count the bytes of tensors made within it, and their peak.

    Attributes:
        now: bytes alive now.
        after: bytes alive after each operation.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.after: list[int] = []
        self._seen: set[int] = set()

    def track(self, tensor: torch.Tensor) -> None:
        """Count a tensor's storage until it is freed; once, however many tensors share it."""
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.now += size
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, torch.Tensor):
                self.track(value)
        self.after.append(self.now)
        return result


@dataclass(frozen=True)
class Footprint:
    """Hold the memory and arithmetic of a step.

    Attributes:
        batch: samples of the step.
        live_bytes: bytes alive after each of its operations: weights, gradients, optimizer state, activations.
        flops: multiplications and additions of matrix products and convolutions, forward and backward.
    """

    batch: int
    live_bytes: tuple[int, ...]
    flops: int

    @property
    def peak_bytes(self) -> int:
        """The most bytes alive at once."""
        return max(self.live_bytes)


def measure_footprint(
    make_step: Callable[[int], object], existing_tensors: Callable[[], Iterable[torch.Tensor]], batch: int
) -> Footprint:
    """Make two steps of `batch` samples and count the second; the first creates optimizer state.

    Args:
        make_step: makes a step of a given number of samples.
        existing_tensors: yields the tensors that exist before: weights, and the optimizer's state of earlier steps.
    """
    live = LiveBytesCounter()
    for tensor in existing_tensors():
        live.track(tensor)
    with live:
        make_step(batch)
        live.after.clear()
        with FlopCounterMode(display=False) as counter:
            make_step(batch)
    return Footprint(batch, tuple(live.after), counter.get_total_flops())


def extrapolate_footprint(smaller: Footprint, larger: Footprint, batch: int) -> Footprint | None:
    """Extrapolate the footprint of a batch size from two that were measured.

    A step is the same operations whatever the batch, and the bytes alive after each of them grow linearly with it; the
    peak of a larger batch may be at another operation. None where the operations differ.
    """
    if len(smaller.live_bytes) != len(larger.live_bytes):
        return None
    share = (batch - larger.batch) / (larger.batch - smaller.batch)
    after = tuple(round(b + share * (b - a)) for a, b in zip(smaller.live_bytes, larger.live_bytes, strict=True))
    return Footprint(batch, after, round(larger.flops + share * (larger.flops - smaller.flops)))
