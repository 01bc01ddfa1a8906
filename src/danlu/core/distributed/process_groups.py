"""Collectives used in training. With one process every call is a no-op.

Which process takes which samples is decided by whoever builds the groups; here it is two numbers.
"""

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from danlu.core.distributed.env import DistEnv

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import ProcessGroup

    from danlu.core.distributed.heartbeat import Heartbeat
    from danlu.core.torch_compat import Store

BROADCAST_TIMEOUT = timedelta(minutes=30)  # for a broadcast: the main process may be preparing data


@dataclass
class ProcessGroups:
    """Hold the process groups of a training job and this process's place in them.

    Attributes:
        env: rank and size of this process.
        dp_rank, dp_size: this process takes the samples of data-parallel rank `dp_rank` of `dp_size`.
        cp_rank: context-parallel rank: which tokens of its samples it takes.
        dp_group: ranks that take other samples; None without any. So of the others.
        dp_cp_group: ranks that take other samples or other tokens; gradients are summed over it.
        pp_group: ranks that hold other layers.
        cpu_group: all ranks, over gloo, for messages that no device waits for.
        store: the key-value store that broadcasts go through.
        heartbeat: publishes the status of this process.
    """

    env: DistEnv = field(default_factory=DistEnv)
    dp_rank: int = 0
    dp_size: int = 1
    cp_rank: int = 0
    dp_group: "ProcessGroup | None" = None
    dp_cp_group: "ProcessGroup | None" = None
    pp_group: "ProcessGroup | None" = None
    cpu_group: "ProcessGroup | None" = None
    store: "Store | None" = None
    heartbeat: "Heartbeat | None" = None
    _num_broadcasts: int = field(default=0, init=False)

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run and prints."""
        return self.env.is_main

    @property
    def is_single_process(self) -> bool:
        """Whether there is only one process."""
        return self.env.world_size == 1

    def find_lost_rank(self) -> str | None:
        """Return a description of a process that stopped sending heartbeats, or None."""
        return None if self.heartbeat is None else self.heartbeat.find_lost_rank()

    def set_status(self, status: str) -> None:
        """Publish the current activity of this process to the others."""
        if self.heartbeat is not None:
            self.heartbeat.status = status

    def local_slice(self, count: int) -> slice:
        """Return this rank's slice of `count` samples.

        Sizes differ by at most one and may be 0.
        """
        return slice(count * self.dp_rank // self.dp_size, count * (self.dp_rank + 1) // self.dp_size)

    def all_reduce_dp(self, values: "Tensor") -> "Tensor":
        """Sum over data-parallel ranks, in place."""
        return _all_reduce_sum(values, self.dp_group)

    def all_reduce_dp_cp(self, values: "Tensor") -> "Tensor":
        """Sum over data- and context-parallel ranks, in place."""
        return _all_reduce_sum(values, self.dp_cp_group)

    def broadcast_dp_cp(self, values: "Tensor") -> "Tensor":
        """Copy the values of the first data or context rank, in place."""
        if self.dp_cp_group is not None:
            from torch import distributed

            distributed.broadcast(values, group=self.dp_cp_group, group_src=0)
        return values

    def all_reduce_pp(self, values: "Tensor") -> "Tensor":
        """Sum over pipeline stages, in place."""
        return _all_reduce_sum(values, self.pp_group)

    def all_reduce_max(self, *numbers: int) -> tuple[int, ...]:
        """Return the element-wise maximum over all processes."""
        if self.cpu_group is None:
            return numbers
        import torch
        from torch import distributed

        values = torch.tensor(numbers, dtype=torch.int64)
        distributed.all_reduce(values, distributed.ReduceOp.MAX, group=self.cpu_group)
        return tuple(values.tolist())

    def broadcast_object(self, value: Any = None) -> Any:
        """Broadcast plain JSON from the main process; the others wait for it.

        Args:
            value: the main process's; ignored on the others.
        """
        if self.store is None or self.cpu_group is None:
            return value
        key, self._num_broadcasts = (
            f"danlu/{self.cpu_group.group_name}/{self._num_broadcasts}",
            self._num_broadcasts + 1,
        )
        if self.is_main:
            self.store.set(key, json.dumps(value))
        else:
            self.store.wait([key], BROADCAST_TIMEOUT)
        return json.loads(self.store.get(key))

    def barrier(self) -> None:
        """Wait until all processes reach this point."""
        self.all_reduce_max(0)


def _all_reduce_sum(values: "Tensor", group: "ProcessGroup | None") -> "Tensor":
    if group is not None:
        from torch import distributed

        distributed.all_reduce(values, group=group)
    return values


SINGLE_PROCESS = ProcessGroups()
