"""Split the rows of a source among the processes of a launch, and collect their predictions."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import polars as pl

from danlu.artifacts.files import read_frame, wait_for_file, write_frame
from danlu.core.distributed.env import dist_env
from danlu.data.descriptors import RawData
from danlu.data.frames import DiskFrame


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
        return pl.concat(found, how="diagonal")  # only a part with rows in error has their column
