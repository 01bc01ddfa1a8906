"""Thread counts: threads of torch's operators, and threads that prepare batches.

They follow from the cores that this process may really use; a recipe's `training.threads` overrides both.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from danlu.core.distributed.env import dist_env

ThreadCount = int | Literal["auto"]


class ThreadOptions(Protocol):
    """Give a recipe's thread counts."""

    @property
    def compute(self) -> ThreadCount: ...

    @property
    def data(self) -> ThreadCount: ...


@dataclass(frozen=True)
class ThreadPlan:
    """Hold the number of threads per purpose.

    Attributes:
        compute: threads of torch's CPU operators.
        data: threads that decode and transform samples.
    """

    compute: int
    data: int


def plan_threads(
    asked: ThreadOptions, cores: int | None = None, environment: Mapping[str, str] = os.environ
) -> ThreadPlan:
    """Resolve the thread counts that a recipe left to `auto`.

    There are as many data threads as cores, on any device: with an accelerator the host has nothing else to do, and on
    the CPU they wait while the model has the cores, and fill the gaps. Processes that train together on this machine
    share its cores equally.

    Args:
        asked: the recipe's `training.threads`.
        cores: usable cores of this machine; detected by default.
        environment: may hold OMP_NUM_THREADS, which torch obeys too.
    """
    usable = max(1, (usable_cores() if cores is None else cores) // dist_env().local_world_size)
    compute = min(usable, _parse_thread_count(environment.get("OMP_NUM_THREADS", "")) or usable)
    return ThreadPlan(
        compute=compute if asked.compute == "auto" else asked.compute,
        data=usable if asked.data == "auto" else asked.data,
    )


def use_threads(plan: ThreadPlan) -> None:
    """Set the threads of torch's operators for the whole process."""
    import torch

    if torch.get_num_threads() != plan.compute:
        torch.set_num_threads(plan.compute)


def num_concurrent_batches(threads: int) -> int:
    """Return how many batches are prepared at once.

    Two, because while one waits for its last sample the other keeps the threads busy; with very many threads more,
    because a batch has fewer samples left than there are threads.
    """
    return min(threads, 2 + threads // 16)


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Count the cores this process may use, respecting a container's CPU quota.

    Args:
        cgroup: where Linux exposes a container's CPU quota.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota(cgroup)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def _cgroup_quota(cgroup: Path) -> float | None:
    """Read a container's CPU quota in cores: cgroup v2's `cpu.max`, else v1's; None if unlimited."""
    try:
        if (cgroup / "cpu.max").is_file():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no container, no Linux, or an unknown format
        return None


def _parse_thread_count(text: str) -> int:
    """Parse OMP_NUM_THREADS, which may be a list for nested levels; 0 if unset."""
    first = text.split(",")[0].strip()
    return int(first) if first.isdigit() else 0
