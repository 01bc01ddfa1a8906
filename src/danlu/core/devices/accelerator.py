"""The interface that every device offers."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


class Accelerator(Protocol):
    """Offer one interface to a device that a model runs on."""

    @property
    def torch_device(self) -> "torch.device":
        """The device as torch names it."""

    @property
    def name(self) -> str:
        """The device as its maker names it, e.g. `NVIDIA H100 80GB HBM3`."""

    def seed(self, value: int) -> None:
        """Seed the random numbers of the CPU and of this device only.

        Training does it every step. `torch.manual_seed` asks every backend that torch knows and took 208 us where this
        took 2.
        """

    def synchronize(self) -> None:
        """Wait until the device has finished all queued work."""

    def peak_bytes(self) -> int | None:
        """Return the peak memory of tensors since `reset_peak`, or None if unknown.

        On the CPU it is the peak of the whole process.
        """

    def reset_peak(self) -> None:
        """Reset the peak counter, where the device can."""

    def free_bytes(self) -> int | None:
        """Return the free memory, or None if unknown."""

    def total_bytes(self) -> int | None:
        """Return the total memory, or None if unknown."""

    def empty_cache(self) -> None:
        """Release cached memory that no tensor uses."""

    def peak_flops(self, precision: str) -> float | None:
        """Return the dense peak FLOP/s in a precision, or None if unknown.

        Args:
            precision: as `training.precision` says it.
        """
