"""`danlu predict`: a bundle's answers to a file, folder or glob of samples, in their order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import polars as pl
from polars import selectors

from danlu.artifacts.bundle import open_bundle
from danlu.artifacts.files import read_frame, wait_for_file, write_frame, writing
from danlu.core.errors import ArgumentError, DataError
from danlu.core.names import suggestion
from danlu.core.world import this_world
from danlu.data.disk import DiskFrame
from danlu.data.place import Source
from danlu.data.sources import read_source

LABEL_SEPARATOR = ";"
WRITERS = {
    ".parquet": lambda frame, path: frame.write_parquet(path),
    # A cell of CSV holds no list: labels stand behind one another, as data.target_separator would read them.
    ".csv": lambda frame, path: frame.with_columns(selectors.list().list.join(LABEL_SEPARATOR)).write_csv(path),
    ".jsonl": lambda frame, path: frame.write_ndjson(path),
}


def predict(
    bundle: str | Path,
    source: str | Sequence[str],
    output: str | Path | None = None,
    keep: Sequence[str] = (),
    own_code: bool = False,
    missing_values: Sequence[str] = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?"),
) -> pl.DataFrame:
    """Answer every row of a source. Of several processes each answers a share, and the main one has all answers.

    Args:
        bundle: a bundle or a run.
        source: file, folder, glob, or builtin:NAME; columns that the model does not read are ignored.
        output: where the answers go; .parquet, .csv or .jsonl. Nowhere when left out.
        keep: input columns to put before the answers, such as an identifier.
        own_code: import the module that the bundle names, where its model is a user's own.
        missing_values: words that stand for a missing value in text files.

    Returns:
        one row a sample, in the order of the source.

    Raises:
        ArgumentError: `output` has another suffix, or a kept column the name of an answer.
        ArtifactError: the bundle is damaged or no longer answers its golden samples as it did.
        DataError: the source is unreadable, or lacks a column.
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
    from danlu.models.predictor import Predictor  # torch, which a refusal so far did without

    shares = Shares.of(read.frame.height)
    answers = Predictor.verified(opened, own_code).predict_source(shares.own(read))
    if twice := [name for name in keep if name in answers.columns]:
        raise ArgumentError(f"keep: {twice[0]!r} is also the name of an answer; rename that column of {read.origin}")
    if path is not None and len(shares.bounds) > 1:
        answers = shares.gathered(answers, path)
        if not this_world().is_main:
            return answers
    if keep:
        answers = read.frame.select(keep).lazy().collect().hstack(answers)
    if path is not None:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            WRITERS[path.suffix](answers, path)
    return answers


@dataclass(frozen=True)
class Shares:
    """How the rows of a source are shared out among processes.

    Attributes:
        bounds: where each process's rows begin and end; of a process for which there is none, nothing.
        rank: of this process.
    """

    bounds: tuple[tuple[int, int], ...]
    rank: int

    @classmethod
    def of(cls, rows: int) -> Self:
        """Nearly equal shares for the processes of this launch; no more than there are rows."""
        world = this_world()
        ways = max(1, min(world.size, rows))
        return cls(tuple((rows * way // ways, rows * (way + 1) // ways) for way in range(ways)), world.rank)

    def own(self, source: Source) -> Source:
        """This process's rows; of one that has none the first, whose answer nobody reads."""
        if len(self.bounds) == 1 and self.rank == 0:
            return source
        start, end = self.bounds[self.rank] if self.rank < len(self.bounds) else (0, 1)
        rows = source.frame.lazy().slice(start, end - start)
        held = isinstance(source.frame, pl.DataFrame)
        return replace(source, frame=rows.collect() if held else DiskFrame(rows, end - start))

    def gathered(self, answers: pl.DataFrame, path: Path) -> pl.DataFrame:
        """In the main process, the answers of all, by way of files beside the output; elsewhere its own."""
        parts = [path.with_name(f".{path.name}.{this_world().launch}.{rank}") for rank in range(len(self.bounds))]
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
