"""Profile a dataset as plain values: sizes, columns, distribution of the target. For the report and `check`."""

from typing import Any

import numpy as np
import polars as pl

from danlu.data.audit import Finding
from danlu.data.clean import count_reasons
from danlu.data.columns import Column
from danlu.data.dataset import Dataset
from danlu.data.samples import sample_rows
from danlu.data.sources.multi_label import read_labels
from danlu.data.splits import Splits

MAX_SHOWN = 8  # categories per column, classes per target
BINS = 16
LARGEST_VALUE = 1e150  # squares of larger values overflow; such values are described as this one


def profile(dataset: Dataset, splits: Splits, findings: tuple[Finding, ...], dropped: pl.DataFrame) -> dict[str, Any]:
    """Return the profile of a dataset, for data/profile.json."""
    return {
        "origin": dataset.origin,
        "kind": dataset.kind.name,
        "task": dataset.task,
        "task_reason": dataset.task_reason,
        "rows": dataset.frame.height,
        "dropped": count_reasons(dropped),
        "splits": {name: len(part.rows) for name, part in splits.items()},
        "target": None if dataset.target is None else _target(dataset, splits),
        "columns": [_column(column, dataset.frame[column.name]) for column in dataset.columns],
        "samples": sample_rows(dataset, splits.train),
        "findings": [finding.model_dump() for finding in findings],
    }


def _target(dataset: Dataset, splits: Splits) -> dict[str, Any]:
    assert dataset.target is not None
    values = dataset.frame[dataset.target]
    if dataset.task == "regression":
        return {"name": dataset.target, **_numbers(values.cast(pl.Float64))}
    if dataset.task in ("multi-label", "token-classification"):
        return {"name": dataset.target, "classes": _labels(dataset.target, splits)}
    shares = {name: part.column(dataset.target).rename("label").value_counts().rows() for name, part in splits.items()}
    classes = [str(label) for label in sorted(values.unique().to_list())]
    counts = {name: {str(label): count for label, count in rows} for name, rows in shares.items()}
    return {
        "name": dataset.target,
        "classes": {label: {name: counts[name].get(label, 0) for name in counts} for label in classes},
    }


def _labels(target: str, splits: Splits) -> dict[str, dict[str, int]]:
    """Count the rows of each split with each label, or the words with each tag."""
    found: dict[str, dict[str, int]] = {}
    for name, part in splits.items():
        for text, count in part.column(target).rename("label").value_counts().rows():
            for label in read_labels(text):
                counts = found.setdefault(label, {each: 0 for each, _ in splits.items()})
                counts[name] += count
    return dict(sorted(found.items()))


def _column(column: Column, values: pl.Series) -> dict[str, Any]:
    """Return a column's description and, where it is used, its distribution."""
    known = column.model_dump()
    if not column.used or column.type in ("image", "identifier"):
        return known
    if column.type == "number":
        numbers = values.str.strip_chars().cast(pl.Float64, strict=False) if values.dtype == pl.String else values
        numbers = (
            numbers.cast(pl.Duration("us")).cast(pl.Int64) / 1e6 if values.dtype in (pl.Duration, pl.Time) else numbers
        )
        return {**known, **_numbers(numbers.cast(pl.Float64))}
    if column.type == "text":
        lengths = values.drop_nulls().str.len_chars()
        return {**known, "characters": _numbers(lengths.cast(pl.Float64))}
    if column.type == "category":
        counts = values.drop_nulls().cast(pl.String).rename("value").value_counts(sort=True).head(MAX_SHOWN)
        return {**known, "most_frequent": [[name, count] for name, count in counts.rows()]}
    present = values.drop_nulls()
    return {**known, "first": str(present.min()), "last": str(present.max())}


def _numbers(values: pl.Series) -> dict[str, Any]:
    """Return range, quartiles and a histogram of the present, finite values."""
    present = values.drop_nulls().to_numpy()
    present = np.clip(present[np.isfinite(present)], -LARGEST_VALUE, LARGEST_VALUE)
    if len(present) == 0:
        return {}
    low, first, middle, third, high = np.quantile(present, [0, 0.25, 0.5, 0.75, 1]).tolist()
    # In shares of the range: bins between huge values would have no width.
    counts, _ = np.histogram((present - low) / ((high - low) or 1.0), bins=BINS)
    return {
        "min": low,
        "first_quartile": first,
        "median": middle,
        "third_quartile": third,
        "max": high,
        "mean": float(present.mean()),
        "std": float(present.std()),
        "histogram": counts.tolist(),
    }
