"""Compress a run: by steps, in order, or by a search within a budget. What was found is kept in compression.json."""

from collections.abc import Sequence
from pathlib import Path

from danlu.artifacts.files import StrPath, write_json
from danlu.artifacts.ownership import lock_run
from danlu.compression.base import Step
from danlu.compression.material import COMPRESSED, find_run, open_material
from danlu.compression.once import Compressed, apply_steps
from danlu.compression.points import ORIGINAL, compressed_point, original_point
from danlu.compression.results import RESULT_FILE, CompressionResult
from danlu.compression.written import write_candidate
from danlu.core.cpu import this_processor

FIRST = "p1"


def compress_by_steps(
    path: StrPath, steps: Sequence[Step], output: Path | None = None, *, own_code: bool = False
) -> CompressionResult:
    """Compress a run's model by steps, in order, and keep what comes out.

    Args:
        path: a run, or a bundle inside one.
        steps: to apply.
        output: of the new bundle; by default RUN/compressed/p1.
        own_code: whether the bundle's own code may run.

    Raises:
        ArgumentError: there is no run, or a step does not fit.
        ArtifactError, DataError: the run is damaged, or has too few rows.
    """
    run, _ = find_run(path)
    folder = output or run.path / COMPRESSED / FIRST
    with lock_run(run), open_material(path, own_code=own_code) as material:
        candidate = apply_steps(material, steps)
        made = Compressed(write_candidate(material, candidate, folder), candidate)
        points = (
            original_point(material),
            compressed_point(FIRST, made, earlier=len(material.bundle.manifest.steps)),
        )
        found = CompressionResult(this_processor().to_json(), points, ORIGINAL, FIRST)
        write_json(run.path / RESULT_FILE, found.to_json())
    return found
