"""Find the interrupted run that restarted workers should resume."""

from pathlib import Path

from danlu.artifacts.bundle import MANIFEST
from danlu.artifacts.environment import command_line
from danlu.artifacts.files import read_json
from danlu.artifacts.run import ENVIRONMENT, RunDirectory, find_runs
from danlu.core.world import dist_env

UNNAMED_LAUNCH = "none"  # torchrun's name for a launch without one


def find_interrupted_run(output: Path) -> RunDirectory | None:
    """Return the unfinished run of this launch and command, or None.

    A launcher restarts all workers when one fails, and an elastic launcher also when nodes join or leave, which it
    does not always announce.
    """
    world = dist_env()
    if world.launch_id is None or (world.launch_id == UNNAMED_LAUNCH and not world.restart_count):
        return None
    for run in find_runs(output):
        known = read_json(run.path / ENVIRONMENT)
        same = known.get("launch") == world.launch_id and known.get("command") == command_line()
        if same and not (run.model / MANIFEST).is_file():
            return run
    return None
