"""Distributions of a column as plain values: quartiles and a histogram of numbers, counts of labels."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl

BINS = 16
LARGEST_VALUE = 1e150  # squares of larger values overflow; such values are described as this one


def describe_numbers(values: pl.Series) -> dict[str, Any]:
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
