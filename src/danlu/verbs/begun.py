"""What a launcher that begins its processes anew must find: the run that they had begun before."""

from pathlib import Path

from danlu.artifacts.bundle import MANIFEST
from danlu.artifacts.files import read_json
from danlu.artifacts.run import ENVIRONMENT, RunDirectory, find_runs
from danlu.core.world import this_world


def begun_before(output: Path) -> RunDirectory | None:
    """The run that these processes had begun before their launcher began them anew, and have not finished."""
    world = this_world()
    if not world.restarts or world.launch is None:
        return None
    runs = (run for run in find_runs(output) if read_json(run.path / ENVIRONMENT).get("launch") == world.launch)
    return next((run for run in runs if not (run.model / MANIFEST).is_file()), None)
