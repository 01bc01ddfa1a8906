"""Which rows another run has learned from, by its split, where it was trained on the same data."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from danlu.artifacts.files import read_frame, read_json
from danlu.data.splits import Split
from danlu.experiment.run_data import PROFILE_FILE, SPLIT_FILE, data_digest

if TYPE_CHECKING:
    from danlu.experiment.data_context import DataContext


def count_learned_rows(context: "DataContext", run: Path, part: Split) -> int:
    """Return how many rows of a split a run has learned; 0 where unknown."""
    folder = run / "data"
    if not (folder / SPLIT_FILE).is_file() or not (folder / PROFILE_FILE).is_file():
        return 0
    known = read_json(folder / PROFILE_FILE)
    if known["rows"] > context.dataset.frame.height or known.get("sha256") != data_digest(
        context.dataset, known["rows"]
    ):
        return 0
    learned = read_frame(folder / SPLIT_FILE).filter(pl.col("part") == "train")["row"].to_numpy()
    return int(np.isin(part.rows, learned).sum())
