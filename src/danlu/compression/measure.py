"""What a bundle costs on this machine: its time beside another one's, and the memory of a process that answers."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl

from danlu.artifacts.bundle import Bundle
from danlu.compression.base import Material
from danlu.compression.timing import SpeedComparison, compare_openings
from danlu.data.kind import Preprocessor
from danlu.data.splits import Split
from danlu.models.engines.base import Arrays

BATCHES = (1, 32)
STATUS = Path("/proc/self/status")
# The child reads its own peak: what `wait4` says of it begins with the memory of this process.
PEAK = """
import sys
from danlu.compression.measure import answer_golden
answer_golden(sys.argv[1])
"""
PEAK_SECONDS = 300


def compare_engines(first: Bundle, second: Bundle, material: Material, part: Split) -> dict[int, SpeedComparison]:
    """Time the engines of two bundles on prepared rows, by batch size.

    Args:
        first: to be compared with.
        second: what is compared.
        material: the run.
        part: rows to answer.
    """
    inputs, others = (_batches(material.open_predictor(each).preprocessor, part, material) for each in (first, second))

    def open_both(size: int) -> tuple[Callable[[], object], Callable[[], object]]:
        one, other = (material.open_predictor(each).engine for each in (first, second))
        return lambda: one.run(inputs[size]), lambda: other.run(others[size])

    return {size: compare_openings(partial(open_both, size)) for size in BATCHES}


def peak_memory(bundle: Bundle) -> int | None:
    """Return the peak bytes of a process that opens a bundle and answers golden samples.

    None where the system does not say, it takes too long, or the bundle needs code that is not danlu's.
    """
    if not STATUS.is_file():
        return None
    command = [sys.executable, "-c", PEAK, str(bundle.folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PEAK_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdigit() else None


def answer_golden(folder: str) -> None:
    """Answer a bundle's golden samples, and print the peak memory of this process in bytes."""
    from danlu.models.bundle_form import open_checked
    from danlu.models.predictor import Predictor

    Predictor.load(open_checked(Path(folder)))  # it replays them
    line = next(line for line in STATUS.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
    print(int(line.split()[1]) * 1024)  # noqa: T201


def _batches(preprocessor: Preprocessor, part: Split, material: Material) -> dict[int, Arrays]:
    """Return a batch of prepared rows of each size."""
    rows = part.columns(*preprocessor.columns)
    batches: dict[int, Arrays] = {}
    for size in BATCHES:
        frame = pl.concat([rows] * (size // rows.height + 1))[:size]
        batches[size], _ = next(iter(preprocessor.iter_arrays(frame, material.context.origin, size)))
    return batches
