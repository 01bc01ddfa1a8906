"""What processes that train together say to one another. A process that is alone says nothing, in the same words.

Which process takes which samples is settled by whoever makes the team; here it is two numbers.
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

WAIT = timedelta(minutes=30)  # for what the main process shares: it may be preparing data


@dataclass
class Team:
    """The processes of a training.

    Attributes:
        world: which of them this one is.
        sample_rank, sample_ways: this process takes the samples of one of so many ways.
        token_rank: of those with the same samples, which tokens of them it takes.
        of_samples: those that take other samples than this one; None where there are none.
        of_gradients: those that take other samples or other tokens.
        of_pipeline: those that hold other layers.
        on_host: all of them, speaking through the hosts' memory, for words that no device waits for.
        store: where the main process puts what it shares.
        whereabouts: tells the others where this process is.
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
        """Whether this process writes the run and speaks."""
        return self.world.is_main

    @property
    def alone(self) -> bool:
        return self.world.size == 1

    def lost(self) -> str | None:
        """Which process has gone, in words, where one has."""
        return None if self.whereabouts is None else self.whereabouts.lost()

    def is_at(self, place: str) -> None:
        """Have the others know what this process does now."""
        if self.whereabouts is not None:
            self.whereabouts.place = place

    def slice_of(self, count: int) -> slice:
        """This process's share of so many samples; shares differ by one at most, and may be empty."""
        return slice(count * self.sample_rank // self.sample_ways, count * (self.sample_rank + 1) // self.sample_ways)

    def sum_of_samples(self, values: "Tensor") -> "Tensor":
        """The sum over the processes with other samples; in place."""
        return _summed(values, self.of_samples)

    def sum_of_gradients(self, values: "Tensor") -> "Tensor":
        """The sum over the processes with other samples or other tokens; in place."""
        return _summed(values, self.of_gradients)

    def sum_of_stages(self, values: "Tensor") -> "Tensor":
        """The sum over the processes that hold other layers; in place."""
        return _summed(values, self.of_pipeline)

    def most(self, *numbers: int) -> tuple[int, ...]:
        """The largest of each number that any process has."""
        if self.on_host is None:
            return numbers
        import torch
        from torch import distributed

        values = torch.tensor(numbers, dtype=torch.int64)
        distributed.all_reduce(values, distributed.ReduceOp.MAX, group=self.on_host)
        return tuple(values.tolist())

    def share(self, value: Any = None) -> Any:
        """What the main process has, as plain JSON; the others wait for it.

        Args:
            value: of the main process; what the others give is not looked at.
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
        """Go on when all processes have come here."""
        self.most(0)


def _summed(values: "Tensor", group: "ProcessGroup | None") -> "Tensor":
    if group is not None:
        from torch import distributed

        distributed.all_reduce(values, group=group)
    return values


ALONE = Team()
