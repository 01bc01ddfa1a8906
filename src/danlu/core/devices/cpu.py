"""The CPU as a device: its memory is the machine's, or the container's limit if lower."""

import ctypes
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from danlu.core.threads import usable_cores

if TYPE_CHECKING:
    import torch

PROC_SELF, CGROUP = Path("/proc/self"), Path("/sys/fs/cgroup")
CLEAR_PEAK_RSS = "5"  # the value that proc(5) documents for clear_refs


@dataclass(frozen=True)
class CPU:
    """Wrap the CPU."""

    @cached_property
    def torch_device(self) -> "torch.device":
        import torch

        return torch.device("cpu")

    @property
    def name(self) -> str:
        return f"CPU, {usable_cores()} cores"

    def seed(self, value: int) -> None:
        import torch

        torch.default_generator.manual_seed(value)

    def synchronize(self) -> None:
        """Return at once; the CPU has no queue."""

    def peak_bytes(self) -> int | None:
        found = _read_counter(PROC_SELF / "status", "VmHWM:")
        return found if found is not None else _process_peak_rss()

    def reset_peak(self) -> None:
        try:
            (PROC_SELF / "clear_refs").write_text(CLEAR_PEAK_RSS)
        except OSError:  # not Linux, or a container that forbids it: the peak stays the process's since it began
            return

    def free_bytes(self) -> int | None:
        free = _read_counter(Path("/proc/meminfo"), "MemAvailable:")
        limit, used = _read_number(CGROUP / "memory.max"), _read_number(CGROUP / "memory.current")
        if limit is None or used is None:
            return free
        # The page cache counts as used until the memory is needed otherwise.
        left = limit - used + (_read_counter(CGROUP / "memory.stat", "inactive_file", unit=1) or 0)
        return left if free is None else min(free, left)

    def total_bytes(self) -> int | None:
        total, limit = _physical_memory(), _read_number(CGROUP / "memory.max")
        return total if limit is None or total is None else min(total, limit)

    def empty_cache(self) -> None:
        """Ask glibc to return cached memory; other C libraries keep little."""
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        except (OSError, AttributeError):
            return

    def peak_flops(self, precision: str) -> float | None:
        return None


def _read_counter(file: Path, name: str, unit: int = 1024) -> int | None:
    """Read a line `name number` of a kernel file, in bytes."""
    try:
        for line in file.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * unit
    except (OSError, ValueError, IndexError):
        return None
    return None


def _read_number(file: Path) -> int | None:
    """Read a file that holds one number; None if absent or `max`."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _physical_memory() -> int | None:
    import os

    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def _process_peak_rss() -> int | None:
    """Return the process's peak memory since it began, for systems without /proc."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
