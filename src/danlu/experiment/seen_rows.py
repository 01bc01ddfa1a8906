"""Which rows another run has learned from, by its split, where it was trained on the same data."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from danlu.artifacts.run import RunDirectory
from danlu.data.splits import Split
from danlu.experiment.run_data import PROFILE_FILE, SPLIT_FILE, data_digest, read_parts, read_profile

if TYPE_CHECKING:
    from danlu.experiment.data_context import DataContext


def count_learned_rows(context: "DataContext", run: Path, part: Split) -> int:
    """Return how many rows of a split a run has learned; 0 where unknown."""
    folder = run / "data"
    if not (folder / SPLIT_FILE).is_file() or not (folder / PROFILE_FILE).is_file():
        return 0
    known = read_profile(RunDirectory(run))
    if known["rows"] > context.dataset.frame.height or known.get("sha256") != data_digest(
        context.dataset, known["rows"]
    ):
        return 0
    learned = read_parts(RunDirectory(run))["train"]
    return int(np.isin(part.rows, learned).sum())
