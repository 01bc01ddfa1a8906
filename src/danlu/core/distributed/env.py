"""The environment of a distributed job: which process this is. Imports no torch.

A launcher (danlu's own, torchrun, Kubeflow's, SLURM's through torchrun) sets it in environment variables.
"""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class DistEnv:
    """Describe this process among those that train together.

    Attributes:
        rank: from 0; rank 0 writes the run and prints.
        world_size: number of processes.
        local_rank: from 0, among the processes of this machine; the index of its GPU.
        local_world_size: number of processes on this machine.
        restart_count: how often the launcher has restarted all processes.
        launch_id: the launcher's id of this launch, kept across restarts; None without a launcher.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    restart_count: int = 0
    launch_id: str | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run and prints."""
        return self.rank == 0


def dist_env() -> DistEnv:
    """Read the launcher's environment variables; a single process without a launcher."""
    found = os.environ
    if "RANK" not in found or "WORLD_SIZE" not in found:
        return DistEnv()
    return DistEnv(
        rank=int(found["RANK"]),
        world_size=int(found["WORLD_SIZE"]),
        local_rank=int(found.get("LOCAL_RANK", "0")),
        local_world_size=int(found.get("LOCAL_WORLD_SIZE", "1")),
        restart_count=int(found.get("TORCHELASTIC_RESTART_COUNT", "0")),
        launch_id=found.get("TORCHELASTIC_RUN_ID"),
    )
