"""Find the interrupted run that restarted workers should resume."""

from pathlib import Path

from danlu.artifacts.bundle import MANIFEST
from danlu.artifacts.environment import command_line
from danlu.artifacts.files import read_json
from danlu.artifacts.run import ENVIRONMENT, RunDirectory, find_runs
from danlu.core.world import this_world

UNNAMED = "none"  # torchrun's name for a launch without one


def begun_before(output: Path) -> RunDirectory | None:
    """Return the unfinished run of this launch and command, or None.

    A launcher restarts all workers when one fails, and an elastic launcher also when nodes join or leave, which it
    does not always announce.
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
