"""Multi-label targets in any usual form -> one column of JSON text, the same for the same labels.

Known forms: a column of lists, a column of strings with a separator, and a column of 0 and 1 for each label.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import polars as pl

from danlu.data.descriptors import RawData
from danlu.data.frames import DiskFrame, Table
from danlu.data.messages import reason
from danlu.errors import DataError
from danlu.recipe.sections.data import Data

COLUMN = "labels"  # the target made of several columns
ABSENT, PRESENT = ("0", "0.0", "false"), ("1", "1.0", "true")


@dataclass(frozen=True)
class MultiLabelSource:
    """Hold raw data whose target is a column of label sets.

    Attributes:
        target: the column, of JSON text.
        reason: why rows are taken to have several labels.
    """

    source: RawData
    target: str
    reason: str


def as_multi_label(source: RawData, section: Data) -> MultiLabelSource | None:
    """Convert multi-label targets to JSON text; return None where rows have a single label.

    Raises:
        DataError: a column of a label holds other values than 0 and 1, or a column cannot hold several labels.
    """
    target = section.target
    if isinstance(target, tuple):
        return _from_columns(source, target)
    if target is None:
        if section.target_separator is not None:
            raise DataError(f"{source.origin}: data.target_separator splits a column; name the column in data.target")
        return None
    values = source.frame.schema[target]
    if isinstance(values, pl.List | pl.Array) and not values.inner.is_nested():
        return _rewritten(source, target, None, reason("task.lists"))
    separator = section.target_separator
    if separator is None:
        if section.task == "multi-label":
            raise DataError(
                f"{source.origin}: the target {target!r} holds {values}, one label per row; for several set "
                "data.target_separator, give lists, or name a column of 0 and 1 for each label"
            )
        return None
    if values != pl.String:
        raise DataError(f"{source.origin}: the target {target!r} holds {values}, not strings to split at {separator!r}")
    return _rewritten(source, target, separator, reason("task.cut", separator=separator))


def read_labels(text: str) -> list[str]:
    """Parse a row's labels from JSON text."""
    found: list[str] = json.loads(text)
    return found


def dump_labels(labels: Iterable[Any]) -> str:
    """Write labels as JSON text, sorted and without repetitions."""
    return json.dumps(sorted({str(label) for label in labels}), ensure_ascii=False)


def _rewritten(source: RawData, target: str, separator: str | None, why: str) -> MultiLabelSource:
    """Convert a column of lists, or of strings with a separator, to JSON text."""
    column = pl.col(target).map_batches(partial(_texts, separator=separator), return_dtype=pl.String)
    return MultiLabelSource(replace(source, frame=_changed(source.frame, column)), target, why)


def _texts(values: pl.Series, separator: str | None) -> pl.Series:
    found = [None if value is None else dump_labels(_parts(value, separator)) for value in values.to_list()]
    return pl.Series(values.name, found, dtype=pl.String)


def _parts(value: Any, separator: str | None) -> list[Any]:
    """Split a cell into labels; a separator alone stands for none."""
    parts = value if separator is None else [part.strip() for part in value.split(separator)]
    return [part for part in parts if part is not None and part != ""]


def _from_columns(source: RawData, names: Sequence[str]) -> MultiLabelSource:
    """Convert a 0/1 column per label to JSON text.

    A row with a missing value has no labels.
    """
    for name in names:
        _refuse_others(source.frame[name], source.origin)
    present = [pl.col(name).cast(pl.String).str.to_lowercase().is_in(PRESENT).alias(name) for name in names]
    known = pl.all_horizontal(pl.col(name).is_not_null() for name in names)
    column = pl.struct(pl.when(known).then(pl.struct(present)).alias("row")).map_batches(_names, return_dtype=pl.String)
    others = [name for name in source.frame.columns if name not in names]
    target = COLUMN
    while target in others:
        target += "_"
    frame = _changed(source.frame, column.alias(target), [*others, target])
    return MultiLabelSource(replace(source, frame=frame), target, reason("task.columns", columns=len(names)))


def _names(rows: pl.Series) -> pl.Series:
    held = (row["row"] for row in rows.to_list())
    found = [None if row is None else dump_labels(name for name, there in row.items() if there) for row in held]
    return pl.Series(COLUMN, found, dtype=pl.String)


def _refuse_others(values: pl.Series, origin: str) -> None:
    """Raise DataError unless a column says for each row whether it has a label."""
    words = values.cast(pl.String).str.to_lowercase().drop_nulls().unique(maintain_order=True)
    other = words.filter(~words.is_in([*ABSENT, *PRESENT]))
    if len(other):
        raise DataError(
            f"{origin}: {values.name!r} of data.target holds {other[0]!r}; of several columns each says with 0 and 1, "
            "or true and false, whether a row has the label"
        )
    if words.is_in(PRESENT).all() or not words.is_in(PRESENT).any():
        only = words[0] if len(words) else "missing"
        raise DataError(f"{origin}: {values.name!r} of data.target is {only} in every row; leave it out")


def _changed(table: Table, column: pl.Expr, names: Sequence[str] | None = None) -> Table:
    """Add or replace a column of the table, and select columns if `names` is given."""
    changed = table.lazy().with_columns(column)
    changed = changed if names is None else changed.select(names)
    return changed.collect() if isinstance(table, pl.DataFrame) else DiskFrame(changed, table.height)
