"""How many threads work: those inside torch's operators, and those that make batches.

Chosen from the cores that this process may really use; a recipe's `training.threads` overrides both.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from danlu.core.world import this_world

Count = int | Literal["auto"]


class Asked(Protocol):
    """What a recipe says of threads."""

    @property
    def compute(self) -> Count: ...

    @property
    def data(self) -> Count: ...


@dataclass(frozen=True)
class ThreadPlan:
    """Who works with how many threads.

    Attributes:
        compute: threads of torch's operators on the CPU.
        data: threads that decode and change samples.
    """

    compute: int
    data: int


def plan_threads(asked: Asked, cores: int | None = None, environment: Mapping[str, str] = os.environ) -> ThreadPlan:
    """Settle what a recipe left open.

    Threads of data are as many as cores, whoever computes: on an accelerator the host has nothing else to do, and on
    the CPU they wait while the model has the cores, and fill the gaps. Processes that train together on this machine
    have an equal share of its cores each.

    Args:
        asked: the recipe's `training.threads`.
        cores: that may be used on this machine; found when left out.
        environment: where OMP_NUM_THREADS may stand, which torch obeys too.
    """
    usable = max(1, (usable_cores() if cores is None else cores) // this_world().local_size)
    compute = min(usable, _whole_number(environment.get("OMP_NUM_THREADS", "")) or usable)
    return ThreadPlan(
        compute=compute if asked.compute == "auto" else asked.compute,
        data=usable if asked.data == "auto" else asked.data,
    )


def use_threads(plan: ThreadPlan) -> None:
    """Give torch's operators their threads, for the whole process."""
    import torch

    if torch.get_num_threads() != plan.compute:
        torch.set_num_threads(plan.compute)


def batches_side_by_side(threads: int) -> int:
    """How many batches are in the making at once.

    Two, because while one waits for its last sample the other keeps the threads busy; with very many threads more,
    because a batch has fewer samples left than there are threads.
    """
    return min(threads, 2 + threads // 16)


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The cores this process may keep busy, which in a container are fewer than the machine has.

    Args:
        cgroup: where Linux tells a container its quota of time.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    """Cores' worth of time that a container may use: cgroup v2's `cpu.max`, else v1's two files; None without limit."""
    try:
        if (cgroup / "cpu.max").is_file():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no container, no Linux, or a form unknown today
        return None


def _whole_number(text: str) -> int:
    """OMP_NUM_THREADS may be a list, of which the first is for the outermost level; 0 where it says nothing."""
    first = text.split(",")[0].strip()
    return int(first) if first.isdigit() else 0
