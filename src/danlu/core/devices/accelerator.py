"""What a device can be asked."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


class Accelerator(Protocol):
    """A device that a model runs on."""

    @property
    def torch_device(self) -> "torch.device":
        """As torch names it."""

    @property
    def name(self) -> str:
        """As its maker names it, e.g. `NVIDIA H100 80GB HBM3`."""

    @property
    def compile_backend(self) -> str:
        """The backend of `torch.compile`."""

    def seed(self, value: int) -> None:
        """Begin the random numbers of the CPU and of this device anew, and those of no other device.

        Training does it every step. `torch.manual_seed` asks every backend that torch knows and took 208 us where this
        took 2.
        """

    def synchronize(self) -> None:
        """Wait until the device has done everything it was given."""

    def peak_bytes(self) -> int | None:
        """The most memory that tensors have taken since `reset_peak`; None where it cannot be asked.

        Of the CPU it is the most that the whole process has had in memory.
        """

    def reset_peak(self) -> None:
        """Count the peak from now on, where the device can."""

    def free_bytes(self) -> int | None:
        """Memory that is free now; None where it cannot be asked."""

    def total_bytes(self) -> int | None:
        """Memory in all; None where it cannot be asked."""

    def empty_cache(self) -> None:
        """Give memory back that is kept for later tensors."""

    def peak_flops(self, precision: str) -> float | None:
        """The most operations a second in a precision, without sparsity; None where the maker's figure is not known.

        Args:
            precision: as `training.precision` says it.
        """
