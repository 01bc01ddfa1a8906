"""Collectives used in training. With one process every call is a no-op.

Which process takes which samples is decided by whoever builds the groups; here it is two numbers.
"""

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from danlu.core.world import World

if TYPE_CHECKING:
    from torch import Tensor
    from torch._C._distributed_c10d import Store
    from torch.distributed import ProcessGroup

    from danlu.core.whereabouts import Whereabouts

WAIT = timedelta(minutes=30)  # for a broadcast: the main process may be preparing data


@dataclass
class Team:
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

    world: World = field(default_factory=World)
    sample_rank: int = 0
    sample_ways: int = 1
    token_rank: int = 0
    of_samples: "ProcessGroup | None" = None
    of_gradients: "ProcessGroup | None" = None
    of_pipeline: "ProcessGroup | None" = None
    on_host: "ProcessGroup | None" = None
    store: "Store | None" = None
    whereabouts: "Whereabouts | None" = None
    _shared: int = field(default=0, init=False)

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run and prints."""
        return self.world.is_main

    @property
    def alone(self) -> bool:
        """Whether there is only one process."""
        return self.world.size == 1

    def lost(self) -> str | None:
        """Return a description of a process that stopped sending heartbeats, or None."""
        return None if self.whereabouts is None else self.whereabouts.lost()

    def is_at(self, place: str) -> None:
        """Publish the current activity of this process to the others."""
        if self.whereabouts is not None:
            self.whereabouts.place = place

    def slice_of(self, count: int) -> slice:
        """Return this rank's slice of `count` samples.

        Sizes differ by at most one and may be 0.
        """
        return slice(count * self.sample_rank // self.sample_ways, count * (self.sample_rank + 1) // self.sample_ways)

    def sum_of_samples(self, values: "Tensor") -> "Tensor":
        """Sum over data-parallel ranks, in place."""
        return _summed(values, self.of_samples)

    def sum_of_gradients(self, values: "Tensor") -> "Tensor":
        """Sum over data- and context-parallel ranks, in place."""
        return _summed(values, self.of_gradients)

    def sum_of_stages(self, values: "Tensor") -> "Tensor":
        """Sum over pipeline stages, in place."""
        return _summed(values, self.of_pipeline)

    def most(self, *numbers: int) -> tuple[int, ...]:
        """Return the element-wise maximum over all processes."""
        if self.on_host is None:
            return numbers
        import torch
        from torch import distributed

        values = torch.tensor(numbers, dtype=torch.int64)
        distributed.all_reduce(values, distributed.ReduceOp.MAX, group=self.on_host)
        return tuple(values.tolist())

    def share(self, value: Any = None) -> Any:
        """Broadcast plain JSON from the main process; the others wait for it.

        Args:
            value: the main process's; ignored on the others.
        """
        if self.store is None or self.on_host is None:
            return value
        key, self._shared = f"danlu/{self.on_host.group_name}/{self._shared}", self._shared + 1
        if self.is_main:
            self.store.set(key, json.dumps(value))
        else:
            self.store.wait([key], WAIT)
        return json.loads(self.store.get(key))

    def wait_for_all(self) -> None:
        """Wait until all processes reach this point."""
        self.most(0)


def _summed(values: "Tensor", group: "ProcessGroup | None") -> "Tensor":
    if group is not None:
        from torch import distributed

        distributed.all_reduce(values, group=group)
    return values


ALONE = Team()
