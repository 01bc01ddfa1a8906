"""Folders named `year=2024/month=01`: what they say is a column of every file below them (Hive's convention)."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import polars as pl

from danlu.data.descriptors import RawData
from danlu.data.frames import DiskFrame
from danlu.errors import DataError
from danlu.recipe.sections.data import WeightedSource

ABSENT = "__HIVE_DEFAULT_PARTITION__"  # stands for a missing value
NUMBER = r"^-?([1-9]\d*|0)$"
PADDED = r"^\d{1,2}$"
# Folders of these names hold padded numbers, as `month=01`; elsewhere a word that begins with 0 is a code, as in files.
CALENDAR = frozenset(("month", "mm", "m", "week", "ww", "day", "dd", "d", "hour", "hh", "h", "minute", "min"))
DECIMAL = r"^-?(0|[1-9]\d*)\.\d+$"


def partition_values(path: Path) -> dict[str, str | None]:
    """Return what the folders above a file say, outermost first."""
    said: dict[str, str | None] = {}
    for folder in path.parts[:-1]:
        name, equals, value = folder.partition("=")
        if equals and name:
            said[unquote(name)] = None if value == ABSENT else unquote(value)
    return said


def partition_files(folder: Path) -> list[Path]:
    """Return the files below a folder whose own folders are partitions; else none."""
    if not any(entry.is_dir() and entry.name.partition("=")[1] for entry in folder.iterdir()):
        return []
    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)
    ]


def with_partitions(
    parts: Sequence[RawData], files: Sequence[Path | WeightedSource], words: Collection[str] = ()
) -> list[RawData]:
    """Add the columns that the files' folders say.

    Sources of a recipe have had theirs added.

    Args:
        parts: what the files hold.
        files: where they lie.
        words: columns that keep the spelling of the folders.

    Raises:
        DataError: some lie in folders that say something else than the others'.
    """
    said = [partition_values(file) if isinstance(file, Path) else {} for file in files]
    for values, file in zip(said, files, strict=True):
        if list(values) != list(said[0]):
            wanted = ", ".join(said[0]) or "none"
            raise DataError(
                f"{file}: its folders say {', '.join(values) or 'nothing'}, those of {files[0]} {wanted}; give files "
                "of one layout",
                code="DL204",
            )
    spelled = [pl.Series(name, [values[name] for values in said], dtype=pl.String) for name in said[0]]
    columns = [column if column.name in words else _typed(column) for column in spelled]
    return [_with_constants(part, [column[at : at + 1] for column in columns]) for at, part in enumerate(parts)]


def _typed(words: pl.Series) -> pl.Series:
    """Return whole numbers, numbers or dates where all words are such."""
    if words.null_count() == len(words):
        return words
    whole = PADDED if words.name.lower() in CALENDAR and words.str.contains(PADDED).all() else NUMBER
    for pattern, kind in ((whole, pl.Int64), (DECIMAL, pl.Float64)):
        if words.str.contains(pattern).all():
            return words.cast(kind)
    dates = words.str.strptime(pl.Date, "%Y-%m-%d", strict=False)
    return dates if dates.null_count() == words.null_count() else words


def _with_constants(part: RawData, values: list[pl.Series]) -> RawData:
    if not values:
        return part
    constants = [pl.lit(value.item(), dtype=value.dtype).alias(value.name) for value in values]
    changed = part.frame.lazy().with_columns(constants)
    is_large = isinstance(part.frame, DiskFrame)
    return replace(part, frame=DiskFrame(changed, part.frame.height) if is_large else changed.collect())
