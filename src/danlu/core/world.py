"""The processes that train together: which of them this one is. Imports no torch.

A launcher (danlu's own, torchrun, Kubeflow's, SLURM's by way of torchrun) says so in environment variables.
"""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class World:
    """This process among those that train together.

    Attributes:
        rank: from 0; the process of rank 0 writes the run and speaks.
        size: how many processes there are.
        local_rank: from 0, among the processes of this machine; the number of its card.
        local_size: how many processes this machine has.
        restarts: how often the launcher has begun all of them anew.
        launch: what the launcher calls this launch, the same after a restart; None where there is no launcher.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    restarts: int = 0
    launch: str | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run and speaks."""
        return self.rank == 0


def this_world() -> World:
    """What the launcher says; one process alone where there is none."""
    found = os.environ
    if "RANK" not in found or "WORLD_SIZE" not in found:
        return World()
    return World(
        rank=int(found["RANK"]),
        size=int(found["WORLD_SIZE"]),
        local_rank=int(found.get("LOCAL_RANK", "0")),
        local_size=int(found.get("LOCAL_WORLD_SIZE", "1")),
        restarts=int(found.get("TORCHELASTIC_RESTART_COUNT", "0")),
        launch=found.get("TORCHELASTIC_RUN_ID"),
    )
