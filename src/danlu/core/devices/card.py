"""GPUs and other accelerators: queries through `torch.accelerator`, Apple's own memory API, peak FLOP/s."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from danlu.core.devices.peaks import peak_flops

if TYPE_CHECKING:
    import torch

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class GPU:
    """Wrap a device that torch treats as its accelerator.

    Attributes:
        kind: torch's name of the device type: cuda (AMD's too), xpu or tpu.
    """

    kind: str

    @cached_property
    def torch_device(self) -> "torch.device":
        import torch

        return torch.device(self.kind)

    @cached_property
    def name(self) -> str:
        import torch

        module = torch.get_device_module(self.kind)
        return str(module.get_device_name()) if hasattr(module, "get_device_name") else self.kind.upper()

    @property
    def compile_backend(self) -> str:
        return "tpu" if self.kind == "tpu" else "inductor"

    def seed(self, value: int) -> None:
        import torch

        torch.default_generator.manual_seed(value)
        self._seed_device(value)

    @cached_property
    def _seed_device(self) -> "Callable[[int], object]":
        """Find the seed function of the current device's generator; cached, since it runs every step."""
        import torch

        module = torch.get_device_module(self.kind)
        if hasattr(module, "init"):
            module.init()  # the generators are made by it
        generators = getattr(module, "default_generators", ())
        if len(generators):
            generator: torch.Generator = generators[torch.accelerator.current_device_index()]
            return generator.manual_seed
        seed: Callable[[int], object] = getattr(module, "manual_seed", None) or module.manual_seed_all
        return seed

    def synchronize(self) -> None:
        import torch

        torch.accelerator.synchronize()

    def peak_bytes(self) -> int | None:
        import torch

        return _query(torch.accelerator.max_memory_allocated)

    def reset_peak(self) -> None:
        import torch

        _query(torch.accelerator.reset_peak_memory_stats)

    def free_bytes(self) -> int | None:
        import torch

        found = _query(torch.accelerator.get_memory_info)
        return None if found is None else int(found[0])

    def total_bytes(self) -> int | None:
        import torch

        found = _query(torch.accelerator.get_memory_info)
        return None if found is None else int(found[1])

    def empty_cache(self) -> None:
        import torch

        _query(torch.accelerator.empty_cache)

    def peak_flops(self, precision: str) -> float | None:
        return peak_flops(self.name, precision)


@dataclass(frozen=True)
class AppleGPU:
    """Wrap Apple's GPU, whose memory torch reports in a separate module."""

    name: str = "Apple GPU"
    compile_backend: str = "inductor"

    @cached_property
    def torch_device(self) -> "torch.device":
        import torch

        return torch.device("mps")

    def seed(self, value: int) -> None:
        import torch

        torch.default_generator.manual_seed(value)
        torch.mps.manual_seed(value)

    def synchronize(self) -> None:
        import torch

        torch.mps.synchronize()

    def peak_bytes(self) -> int | None:
        """Return the memory that Metal has allocated.

        Metal keeps no peak; this falls only when the cache is emptied.
        """
        import torch

        return int(torch.mps.driver_allocated_memory())

    def reset_peak(self) -> None:
        self.empty_cache()

    def free_bytes(self) -> int | None:
        import torch

        return int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())

    def total_bytes(self) -> int | None:
        import torch

        return int(torch.mps.recommended_max_memory())

    def empty_cache(self) -> None:
        import torch

        torch.mps.empty_cache()

    def peak_flops(self, precision: str) -> float | None:
        return None


def _query(function: Callable[[], Answer]) -> Answer | None:
    """Call a backend query; return None if its allocator does not count."""
    try:
        return function()
    except (RuntimeError, NotImplementedError, AttributeError):
        return None
