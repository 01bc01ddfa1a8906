"""Distributions of a column as plain values: quartiles and a histogram of numbers, counts of labels."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

BINS = 16
CELLS_AT_ONCE = 2**20
LARGEST_VALUE = 1e150  # squares of larger values overflow; such values are described as this one


def describe_numbers(values: pl.Series) -> dict[str, Any]:
    """Return range, quartiles and a histogram of the present, finite values."""
    return describe_number_columns([values])[0]


def describe_number_columns(columns: Sequence[pl.Series]) -> list[dict[str, Any]]:
    """Return what `describe_numbers` does of each column; those with as many values are computed together."""
    told = [dict[str, Any]() for _ in columns]
    lengths: dict[int, list[tuple[int, np.ndarray]]] = {}
    for place, values in enumerate(columns):
        present = (values.drop_nulls() if values.null_count() else values).to_numpy()
        finite = np.isfinite(present)
        present = present if finite.all() else present[finite]
        if len(present):
            lengths.setdefault(len(present), []).append((place, present))
    for length, found in lengths.items():
        at_once = max(1, CELLS_AT_ONCE // length)
        for start in range(0, len(found), at_once):
            places, rows = zip(*found[start : start + at_once], strict=True)
            for place, described in zip(places, _describe(np.stack(rows)), strict=True):
                told[place] = described
    return told


def _describe(rows: np.ndarray) -> Iterator[dict[str, Any]]:
    """Describe each row of a matrix, [columns, values] float64."""
    rows = np.clip(rows, -LARGEST_VALUE, LARGEST_VALUE)
    quartiles = np.quantile(rows, [0, 0.25, 0.5, 0.75, 1], axis=1).T
    low, width = quartiles[:, :1], quartiles[:, 4:] - quartiles[:, :1]
    # In shares of the range: bins between huge values would have no width. Equal values are in the middle.
    shares = (rows - low) / np.where(width == 0, 1.0, width) + np.where(width == 0, 0.5, 0.0)
    bins = np.minimum((shares * BINS).astype(np.int64), BINS - 1) + BINS * np.arange(len(rows))[:, None]
    counts = np.bincount(bins.ravel(), minlength=BINS * len(rows)).reshape(-1, BINS)
    figures = np.column_stack([quartiles, rows.mean(axis=1), rows.std(axis=1)]).tolist()
    names = ("min", "first_quartile", "median", "third_quartile", "max", "mean", "std")
    for found, histogram in zip(figures, counts.tolist(), strict=True):
        yield {**dict(zip(names, found, strict=True)), "histogram": histogram}


def count_classes(parts: Mapping[str, pl.Series], values: pl.Series) -> dict[str, dict[str, int]]:
    """Count the rows of each split with each class of `values`."""
    counts = {
        name: {str(label): count for label, count in part.rename("label").value_counts().rows()}
        for name, part in parts.items()
    }
    classes = [str(label) for label in sorted(values.unique().to_list())]
    return {label: {name: counts[name].get(label, 0) for name in counts} for label in classes}


def count_listed(parts: Mapping[str, pl.Series], read: Callable[[str], list[str]]) -> dict[str, dict[str, int]]:
    """Count the rows of each split with each label, or the words with each tag.

    Args:
        read: parses a cell into its labels.
    """
    found: dict[str, dict[str, int]] = {}
    for name, part in parts.items():
        for text, count in part.rename("label").value_counts().rows():
            for label in read(text):
                counts = found.setdefault(label, dict.fromkeys(parts, 0))
                counts[name] += count
    return dict(sorted(found.items()))
