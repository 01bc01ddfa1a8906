"""Compress a run: by steps, in order, or by a search within a budget. What was found is kept in compression.json."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from danlu.artifacts.files import StrPath, write_json
from danlu.artifacts.ownership import lock_run
from danlu.artifacts.run import RunDirectory
from danlu.compression.base import Step
from danlu.compression.material import COMPRESSED, SCRATCH, find_run, open_material
from danlu.compression.once import apply_steps
from danlu.compression.points import describe, original_point
from danlu.compression.results import RESULT_FILE, CompressionResult
from danlu.compression.tried import ORIGINAL
from danlu.compression.written import write_candidate
from danlu.core.cpu import this_processor
from danlu.experiment.run_evaluation import write_pages

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
    run, source = find_run(path)
    folder = output or _free_folder(run, source)
    with lock_run(run), without_leftovers(run), open_material(path, own_code=own_code) as material:
        candidate = apply_steps(material, steps)
        points = (
            original_point(material),
            describe(material, FIRST, write_candidate(material, candidate, folder), candidate),
        )
        found = CompressionResult(this_processor().to_json(), points, ORIGINAL, FIRST)
        write_json(run.path / RESULT_FILE, found.to_json())
        write_pages(run, material.context.recipe.evaluation.language)
    return found


def _free_folder(run: RunDirectory, source: Path) -> Path:
    """Return where the new bundle goes.

    RUN/compressed/p1, or the next free number where a bundle of the run is compressed.
    """
    folder = run.path / COMPRESSED
    return folder / (FIRST if source.resolve() == run.model.resolve() else free_name(folder))


def free_name(folder: Path) -> str:
    """Return the first of p1, p2, ... that no bundle in a folder has."""
    return next(name for number in count(1) if not (folder / (name := f"p{number}")).exists())


@contextmanager
def without_leftovers(run: RunDirectory) -> Iterator[None]:
    """Delete what a killed compression has left in a run that this process holds."""
    for folder in run.path.glob(f"{SCRATCH}*"):
        shutil.rmtree(folder, ignore_errors=True)
    yield
