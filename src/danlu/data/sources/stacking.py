"""Several sources, one under the other: rows of one table, or splits that are given apart."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from danlu.data.added_columns import added_by_program
from danlu.data.descriptors import RawData
from danlu.data.file_form import merge_forms
from danlu.data.frames import DiskFrame, Table, collect_like
from danlu.data.sources.chat_mixture import in_one_form
from danlu.errors import DataError

SPLIT_COLUMN, WEIGHT_COLUMN = "split", "weight"
LONGEST_PATH = 1024  # characters; a longer text names no file


def stack(parts: Sequence[RawData], origin: str) -> RawData:
    """Put parts with the same columns, or conversations, one under the other.

    Raises:
        DataError: they differ in their columns or in their types.
    """
    parts = _with_weights(parts)
    if len({part.split_column for part in parts}) > 1:
        split = next(part for part in parts if part.split_column is not None)
        raise DataError(
            f"{split.origin}: holds splits of its own, and the other sources do not; give the folders of its splits "
            "apart, as data.source: {train: FOLDER/train, test: FOLDER/test}",
            code="DL204",
        )
    parts = _with_added_columns(parts)
    if len(parts) == 1:
        return replace(parts[0], origin=origin)
    if _differ(parts):
        parts = in_one_form(parts) or parts
    first = parts[0]
    for part in parts[1:]:
        if differing := sorted(set(part.frame.columns) ^ set(first.frame.columns)):
            raise DataError(f"{part.origin}: other columns than {first.origin}: {', '.join(differing)}", code="DL204")
        if part.layout != first.layout:
            raise DataError(f"{part.origin}: is data of another kind than {first.origin}", code="DL204")
    frames = [part.frame for part in _with_own_files(parts)]
    in_order = [frame.lazy().select(first.frame.columns) for frame in frames]
    together = pl.concat(in_order, how="vertical_relaxed")
    large = any(isinstance(frame, DiskFrame) for frame in frames)
    frame = DiskFrame(together, sum(frame.height for frame in frames)) if large else together.collect()
    added = {name: why for part in parts for name, why in part.added.items()}
    return replace(
        first,
        frame=frame,
        origin=origin,
        form=merge_forms([part.form for part in parts]),
        questions=tuple(question for part in parts for question in part.questions),
        added=added,
    )


def _with_added_columns(parts: Sequence[RawData]) -> Sequence[RawData]:
    """Give all parts the columns that a program added to some, empty elsewhere."""
    held = [dict.fromkeys(part.frame.columns) for part in parts]  # asked once: polars makes the names anew each time
    some = dict.fromkeys(name for names in held for name in names if not all(name in each for each in held))
    reasons = {
        name: {
            added_by_program(name, part.frame[name], part.added)
            for part, names in zip(parts, held, strict=True)
            if name in names
        }
        for name in some
    }
    added = {name: why for name, found in reasons.items() for why in found if why is not None and None not in found}
    if not added:
        return parts
    return [
        replace(part, frame=_with_empty(part.frame, [name for name in added if name not in part.frame.columns]))
        for part in (replace(part, added={**part.added, **added}) for part in parts)
    ]


def _with_empty(frame: Table, names: Sequence[str]) -> Table:
    return collect_like(frame, frame.lazy().with_columns(pl.lit(None).alias(name) for name in names))


def _differ(parts: Sequence[RawData]) -> bool:
    """Return whether parts differ in columns or in types of nested ones."""
    schemas = [part.frame.schema for part in parts]
    return any(
        set(schema) != set(schemas[0])
        or any(
            schema[name] != dtype and (dtype.is_nested() or schema[name].is_nested())
            for name, dtype in schemas[0].items()
        )
        for schema in schemas[1:]
    )


def stack_splits(parts: Mapping[str, RawData], origin: str) -> RawData:
    """Put splits one under the other, with a column that names the split.

    Args:
        parts: by the name of the split; one alone is no split and gets no column.
        origin: how errors name the whole.

    Raises:
        DataError: they differ in their columns or in their types.
    """
    for name, part in parts.items():
        if part.split_column is not None:
            raise DataError(
                f"{part.origin}: holds splits of its own, and data.source.{name} takes one; name the folder alone, as "
                "data.source: FOLDER, or its splits apart, as {train: FOLDER/train, test: FOLDER/test}",
                code="DL204",
            )
    together = stack(list(parts.values()), origin)
    if len(parts) == 1:
        return together
    name = _free_name(SPLIT_COLUMN, together.frame.columns)
    words = pl.concat([pl.repeat(split, part.frame.height, eager=True) for split, part in parts.items()])
    labelled = pl.DataFrame({name: words})
    if isinstance(together.frame, DiskFrame):
        lazy = pl.concat([together.frame.lazy(), labelled.lazy()], how="horizontal")
        return replace(together, frame=DiskFrame(lazy, together.frame.height), split_column=name)
    return replace(together, frame=together.frame.hstack(labelled), split_column=name)


def _free_name(wanted: str, taken: Collection[str]) -> str:
    """Return a name for a new column that no column has."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name


def _with_weights(parts: Sequence[RawData]) -> Sequence[RawData]:
    """Give all parts a column of weights, if any has a weight."""
    if all(part.weight_column is None and part.weight == 1.0 for part in parts):
        return parts
    name = _free_name(WEIGHT_COLUMN, {each for part in parts for each in part.frame.columns})
    return [_with_weight(part, name) for part in parts]


def _with_weight(part: RawData, name: str) -> RawData:
    own, frame = part.weight_column, part.frame
    weights = pl.lit(part.weight) if own is None else pl.col(own) * part.weight
    changed = frame.lazy().select(pl.exclude(own) if own else pl.all(), weights.cast(pl.Float64).alias(name))
    table = DiskFrame(changed, frame.height) if isinstance(frame, DiskFrame) else changed.collect()
    return replace(part, frame=table, weight=1.0, weight_column=name)


def _with_own_files(parts: Sequence[RawData]) -> list[RawData]:
    """Make paths absolute that begin in a folder of their own.

    Needed where parts come from several.
    """
    if len({part.folder for part in parts}) == 1:
        return list(parts)
    return [_with_absolute_paths(part) for part in parts]


def _with_absolute_paths(part: RawData) -> RawData:
    """Make the columns absolute whose first value names a file beside the part."""
    frame = part.frame
    named = [
        name
        for name, dtype in frame.schema.items()
        if dtype == pl.String
        and _names_file(frame.lazy().select(pl.col(name).drop_nulls().first()).collect(), part.folder)
    ]
    if not named:
        return part
    folder = str(part.folder.absolute())
    paths = [
        pl.when(pl.col(name).str.starts_with("/")).then(pl.col(name)).otherwise(folder + "/" + pl.col(name)).alias(name)
        for name in named
    ]
    changed = frame.lazy().with_columns(paths)
    return replace(part, frame=DiskFrame(changed, frame.height) if isinstance(frame, DiskFrame) else changed.collect())


def _names_file(first: pl.DataFrame, folder: Path) -> bool:
    value = first.item() if first.height else None
    return (
        isinstance(value, str) and len(value) < LONGEST_PATH and Path(value).suffix != "" and (folder / value).is_file()
    )
