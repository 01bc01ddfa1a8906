"""`danlu predict`: predict every sample of a file, folder or glob with a bundle, in order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import polars as pl
from polars import selectors

from danlu.artifacts.bundle import open_bundle
from danlu.artifacts.files import read_frame, translate_write_errors, wait_for_file, write_frame
from danlu.core.distributed.env import dist_env
from danlu.core.text import suggestion
from danlu.data.descriptors import RawData
from danlu.data.frames import DiskFrame
from danlu.data.sources.reader import read_source
from danlu.errors import ArgumentError, DataError

LABEL_SEPARATOR = ";"
WRITERS = {
    ".parquet": lambda frame, path: frame.write_parquet(path),
    # CSV has no lists: labels are joined, as data.target_separator would read them.
    ".csv": lambda frame, path: frame.with_columns(selectors.list().list.join(LABEL_SEPARATOR)).write_csv(path),
    ".jsonl": lambda frame, path: frame.write_ndjson(path),
}


def predict(
    bundle: str | Path,
    source: str | Sequence[str],
    *,
    output: str | Path | None = None,
    keep: Sequence[str] = (),
    own_code: bool = False,
    missing_values: Sequence[str] = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?"),
) -> pl.DataFrame:
    """Predict every row of a source.

    With several processes each one predicts a share, and the main process collects all predictions.

    Args:
        bundle: a bundle or a run.
        source: file, folder, glob, or builtin:NAME; columns that the model does not use are ignored.
        output: file for the predictions: .parquet, .csv or .jsonl; by default they are only returned.
        keep: input columns to put before the predictions, such as an identifier.
        own_code: import the module that the bundle names, if its model is your own.
        missing_values: words that mark a missing value in text files.

    Returns:
        one row per sample, in the order of the source.

    Raises:
        ArgumentError: `output` has another suffix, or a kept column has the name of a prediction column.
        ArtifactError: the bundle is damaged or no longer reproduces its golden samples.
        DataError: the source is unreadable, or a column is missing.
    """
    path = None if output is None else Path(output)
    if path is not None and path.suffix not in WRITERS:
        raise ArgumentError(
            f"{path}: cannot write {path.suffix or 'a file without suffix'} (allowed: {', '.join(WRITERS)})"
        )
    opened = open_bundle(bundle)
    read = read_source(source, missing_values)
    for name in keep:
        if name not in read.frame.columns:
            raise DataError(f"{read.origin}: no column {name!r}{suggestion(name, read.frame.columns)}")
    from danlu.models.predictor import Predictor  # imports torch: only after all checks

    shares = RowShards.split(read.frame.height)
    answers = Predictor.verified(opened, own_code).predict_source(shares.local_rows(read))
    if twice := [name for name in keep if name in answers.columns]:
        raise ArgumentError(
            f"keep: {twice[0]!r} is also the name of a prediction column; rename that column of {read.origin}"
        )
    if path is not None and len(shares.bounds) > 1:
        answers = shares.gather(answers, path)
        if not dist_env().is_main:
            return answers
    if keep:
        answers = read.frame.select(keep).lazy().collect().hstack(answers)
    if path is not None:
        with translate_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            WRITERS[path.suffix](answers, path)
    return answers


@dataclass(frozen=True)
class RowShards:
    """Split the rows of a source among processes.

    Attributes:
        bounds: first and last row (exclusive) per process; processes without rows have no entry.
        rank: of this process.
    """

    bounds: tuple[tuple[int, int], ...]
    rank: int

    @classmethod
    def split(cls, rows: int) -> Self:
        """Split rows into nearly equal shards, at most one per row."""
        world = dist_env()
        ways = max(1, min(world.world_size, rows))
        return cls(tuple((rows * way // ways, rows * (way + 1) // ways) for way in range(ways)), world.rank)

    def local_rows(self, source: RawData) -> RawData:
        """Return this process's rows; without any, the first row, whose prediction is discarded."""
        if len(self.bounds) == 1 and self.rank == 0:
            return source
        start, end = self.bounds[self.rank] if self.rank < len(self.bounds) else (0, 1)
        rows = source.frame.lazy().slice(start, end - start)
        held = isinstance(source.frame, pl.DataFrame)
        return replace(source, frame=rows.collect() if held else DiskFrame(rows, end - start))

    def gather(self, answers: pl.DataFrame, path: Path) -> pl.DataFrame:
        """Collect all predictions in the main process, through files next to the output.

        The other processes get their own predictions back.
        """
        parts = [path.with_name(f".{path.name}.{dist_env().launch_id}.{rank}") for rank in range(len(self.bounds))]
        if self.rank > 0:
            if self.rank < len(parts):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_frame(parts[self.rank], answers)
            return answers
        found = [answers]
        for part in parts[1:]:
            wait_for_file(part)
            found.append(read_frame(part))
            part.unlink()
        return pl.concat(found)
