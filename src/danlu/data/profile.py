"""Profile a dataset as plain values: sizes, columns, distribution of the target. For the report and `check`."""

from dataclasses import asdict
from typing import Any

import polars as pl

from danlu.data.audit import Finding
from danlu.data.clean import count_reasons
from danlu.data.columns import Column, missing_values
from danlu.data.dataset import Dataset
from danlu.data.file_form import FileForm
from danlu.data.samples import sample_rows
from danlu.data.splits import Splits
from danlu.tasks.summaries import describe_number_columns

MAX_SHOWN = 8  # categories per column, classes per target


def profile(dataset: Dataset, splits: Splits, findings: tuple[Finding, ...], dropped: pl.DataFrame) -> dict[str, Any]:
    """Return the profile of a dataset, for data/profile.json."""
    return {
        "origin": dataset.origin,
        "kind": dataset.kind.name,
        "task": dataset.task.name,
        "task_reason": dataset.task_reason,
        "rows": dataset.frame.height,
        "dropped": count_reasons(dropped),
        "splits": {name: len(part.rows) for name, part in splits.items()},
        "target": None if dataset.target is None else describe_target(dataset, splits),
        "encoding": dataset.form.encoding,
        "separator": dataset.form.separator,
        "skipped_rows": dataset.form.skipped_rows,
        "unread": dataset.form.unread,
        "columns": _columns(dataset),
        "samples": sample_rows(dataset, splits.train),
        "findings": [finding.model_dump() for finding in findings],
        "questions": [asdict(question) for question in dataset.questions],
    }


def describe_target(dataset: Dataset, splits: Splits) -> dict[str, Any]:
    """Return the target's name and its distribution."""
    assert dataset.target is not None
    parts = {name: part.column(dataset.target) for name, part in splits.items()}
    values = dataset.frame[dataset.target]
    return {"name": dataset.target, **dataset.task.describe_target(parts, values.filter(~missing_values(values)))}


def _reading(column: Column, form: FileForm) -> dict[str, Any]:
    """Return how a column is read and why."""
    number = column.reading.number
    return {
        "type": column.type,
        "format": column.reading.format,
        "decimal": None if number is None else number.decimal,
        "grouping": None if number is None else number.grouping,
        "encoding": form.encoding,
        "missing_words": list(column.reading.missing_words),
        "reason": column.reason,
        "shown": column.reading.describe(),
    }


def _columns(dataset: Dataset) -> list[dict[str, Any]]:
    """Return each column's description and, where it is used, its distribution."""
    known = [
        {**column.model_dump(exclude={"reading"}), "reading": _reading(column, dataset.form)}
        for column in dataset.columns
    ]
    numbers: dict[int, pl.Series] = {}
    for place, column in enumerate(dataset.columns):
        if not column.used or column.type in ("image", "identifier"):
            continue
        values = dataset.frame[column.name]
        if column.type in ("number", "text"):
            numbers[place] = _numbers(column, values)
        else:
            known[place] |= _shown(column, values)
    for place, found in zip(numbers, describe_number_columns(list(numbers.values())), strict=True):
        known[place] |= {"characters": found} if dataset.columns[place].type == "text" else found
    return known


def _numbers(column: Column, values: pl.Series) -> pl.Series:
    """Return a column's numbers, durations in seconds, or lengths of texts."""
    if column.type == "text":
        values = values.drop_nulls().str.len_chars()
    elif values.dtype in (pl.Duration, pl.Time):
        values = values.cast(pl.Duration("us")).cast(pl.Int64) / 1e6
    return values.cast(pl.Float64)


def _shown(column: Column, values: pl.Series) -> dict[str, Any]:
    """Return the commonest categories, or the first and the last date."""
    if column.type == "category":
        counts = values.drop_nulls().cast(pl.String).rename("value").value_counts(sort=True).head(MAX_SHOWN)
        return {"most_frequent": [[name, count] for name, count in counts.rows()]}
    present = values.drop_nulls()
    return {"first": str(present.min()), "last": str(present.max())}
