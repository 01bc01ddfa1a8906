"""GPUs and other accelerators: queries through `torch.accelerator`, Apple's own memory API, peak FLOP/s."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

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


@dataclass(frozen=True)
class PeakTFLOPS:
    """Hold one GPU's peak in TFLOP/s per precision; None if unsupported."""

    fp32: float
    tf32: float | None
    fp16: float | None
    bf16: float | None
    float8: float | None


# A pattern of the name that torch gives, the narrower before the wider -> the peak.
PEAK_TFLOPS: tuple[tuple[str, PeakTFLOPS], ...] = (
    (
        r"\bB200\b",
        PeakTFLOPS(75.0, 1125.0, 2250.0, 2250.0, 4500.0),
    ),  # NVIDIA HGX B200 data sheet, an eighth of the board
    (r"\bH200 NVL\b", PeakTFLOPS(60.0, 417.5, 835.5, 835.5, 1670.5)),  # NVIDIA H200 data sheet
    (r"\bH200\b", PeakTFLOPS(67.0, 494.5, 989.5, 989.5, 1979.0)),
    (r"\bH100 PCIe\b", PeakTFLOPS(51.0, 378.0, 756.0, 756.0, 1513.0)),  # NVIDIA H100 data sheets of 2022 and 2024
    (r"\bH100 NVL\b", PeakTFLOPS(60.0, 417.5, 835.5, 835.5, 1670.5)),
    (r"\bH(100|800)\b", PeakTFLOPS(67.0, 494.5, 989.5, 989.5, 1979.0)),
    (r"\bA(100|800)\b", PeakTFLOPS(19.5, 156.0, 312.0, 312.0, None)),  # NVIDIA A100 data sheet
    (r"\bA40\b", PeakTFLOPS(37.4, 74.8, 149.7, 149.7, None)),  # NVIDIA A40 data sheet
    (r"\bA10\b", PeakTFLOPS(31.2, 62.5, 125.0, 125.0, None)),  # NVIDIA A10 data sheet
    (r"\bL40S\b", PeakTFLOPS(91.6, 183.0, 362.0, 362.0, 733.0)),  # NVIDIA L40S data sheet
    (r"\bL4\b", PeakTFLOPS(30.3, 60.0, 121.0, 121.0, 242.0)),  # NVIDIA L4 data sheet
    (r"\bRTX 4090$", PeakTFLOPS(82.6, 82.6, 165.2, 165.2, 330.3)),  # NVIDIA Ada architecture paper, table 2
    (r"\bRTX 3090$", PeakTFLOPS(35.6, 35.6, 71.0, 71.0, None)),  # NVIDIA GA102 architecture paper, table 9
    (r"\bV100S?-", PeakTFLOPS(15.7, None, 125.0, None, None)),  # NVIDIA V100 data sheet
    (r"\bT4\b", PeakTFLOPS(8.1, None, 65.0, None, None)),  # NVIDIA T4 data sheet
    (r"\bMI3(00|25)X\b", PeakTFLOPS(163.4, 653.7, 1307.4, 1307.4, 2614.9)),  # AMD Instinct MI300X data sheet
)
# The precisions of a recipe -> what the products are computed in.
COMPUTE_PRECISION = {"bf16-master": "bf16", "bf16-stochastic": "bf16"}


def peak_flops(name: str, precision: str) -> float | None:
    """Return the peak FLOP/s of a GPU by torch's name for it, or None."""
    for pattern, peak in PEAK_TFLOPS:
        if re.search(pattern, name):
            found: float | None = getattr(peak, COMPUTE_PRECISION.get(precision, precision), None)
            return None if found is None else found * 1e12
    return None
