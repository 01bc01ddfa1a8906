"""What processes that are begun anew must find: the run that they had begun before."""

from pathlib import Path

from danlu.artifacts.bundle import MANIFEST
from danlu.artifacts.environment import command_line
from danlu.artifacts.files import read_json
from danlu.artifacts.run import ENVIRONMENT, RunDirectory, find_runs
from danlu.core.world import this_world

UNNAMED = "none"  # what torchrun calls a launch that was given no name


def begun_before(output: Path) -> RunDirectory | None:
    """The run that this command of this launch had begun before its processes were begun anew, and had not finished.

    A launcher does so when one of them failed, and where nodes may come and go, when one has; it does not always say.
    """
    world = this_world()
    if world.launch is None or (world.launch == UNNAMED and not world.restarts):
        return None
    for run in find_runs(output):
        known = read_json(run.path / ENVIRONMENT)
        same = known.get("launch") == world.launch and known.get("command") == command_line()
        if same and not (run.model / MANIFEST).is_file():
            return run
    return None
