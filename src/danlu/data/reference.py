"""What a bundle tells of its training data: how each column and the answers were distributed, and a few raw rows.

Numbers and dates by 21 quantiles, from the least to the largest; categories by their shares; texts by their lengths.
Explanations, the search for drift and calibration start from it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from danlu.core.seeds import Seed
from danlu.data.columns import Column
from danlu.data.reading.spelling import as_words
from danlu.data.splits import Split

FORMAT = 1
MAX_ROWS = 200  # training rows in a bundle
MAX_VALUES = 1000  # values of a category that are listed with their shares
QUANTILES = np.linspace(0.0, 1.0, 21)
LARGEST_FLOAT = 1e300  # beyond, values are no measure of anything; JSON has no infinity

Json = dict[str, Any]


def describe_reference(train: Split, columns: Sequence[Column]) -> Json:
    """Describe the training rows, for reference.json.

    Args:
        train: the training split.
        columns: those that the model reads.
    """
    return {
        "format": FORMAT,
        "rows": len(train),
        "columns": {column.name: describe_values(train.column(column.name), column.type) for column in columns},
    }


def trained_quantiles(reference: Json | None) -> dict[str, tuple[float, ...]]:
    """Return the quantiles of the training values of each column of numbers and dates, ascending."""
    known = (reference or {}).get("columns", {})
    return {name: tuple(quantiles) for name, told in known.items() if (quantiles := told.get("quantiles"))}


def trained_ranges(reference: Json | None) -> dict[str, tuple[float, float]]:
    """Return the least and the largest training value of each column of numbers and dates."""
    return {name: (quantiles[0], quantiles[-1]) for name, quantiles in trained_quantiles(reference).items()}


def reference_rows(train: Split, columns: Sequence[Column], seed: Seed) -> pl.DataFrame | None:
    """Draw a few raw training rows; images are left out.

    Returns:
        None where nothing but images is read.
    """
    schema = train.table.schema
    names = [each.name for each in columns if each.type != "image" and schema[each.name] != pl.Binary]
    if not names:
        return None
    drawn = np.random.default_rng(seed.value).permutation(len(train))[:MAX_ROWS]
    return train.take(np.sort(drawn)).columns(*names)


def describe_values(values: pl.Series, column_type: str) -> Json:
    """Describe one column: its share of missing values, and quantiles or shares of the others."""
    found = measured(values, column_type)
    told: Json = {"type": column_type, "missing": _share(values.null_count(), len(values))}
    if found.dtype.is_numeric():
        return {**told, "quantiles": _quantiles(found.drop_nulls())}
    return told if column_type == "image" else {**told, **_shares(found)}


def describe_answers(decoded: pl.DataFrame, has_classes: bool) -> Json:
    """Describe a model's decoded predictions, column by column; probabilities are left out.

    Args:
        decoded: one row per sample, as `Target.decode` returns them.
        has_classes: whether predictions are classes, even if these are numbers.
    """
    told: Json = {}
    for values in decoded:
        if values.name.startswith("probability") or values.name in ("prediction_set", "low", "high"):
            continue
        if values.dtype.is_numeric() and not has_classes:
            told[values.name] = {"quantiles": _quantiles(values)}
        elif isinstance(values.dtype, pl.List):
            told[values.name] = _shares(values.explode(empty_as_null=False), len(values))
        else:
            told[values.name] = _shares(as_words(values))
    return {"rows": decoded.height, "columns": told}


def measured(values: pl.Series, column_type: str) -> pl.Series:
    """Return a column as it is compared: floats (dates: seconds, texts: characters), or words."""
    if column_type == "number":
        if values.dtype in (pl.Duration, pl.Time):
            return values.cast(pl.Duration("us")).cast(pl.Int64) / 1e6
        return values.cast(pl.Float64, strict=False).fill_nan(None)
    if column_type == "datetime":
        return values.cast(pl.Datetime("us"), strict=False).cast(pl.Int64) / 1e6
    if column_type == "text":
        return values.cast(pl.String).str.len_chars().cast(pl.Float64) if not values.dtype.is_nested() else values
    return values if column_type == "image" else as_words(values)


def _quantiles(values: pl.Series) -> list[float]:
    numbers = values.cast(pl.Float64).to_numpy()
    numbers = numbers[np.abs(numbers) < LARGEST_FLOAT]  # NaN fails, too
    return [float(value) for value in np.quantile(numbers, QUANTILES)] if len(numbers) else []


def _shares(words: pl.Series, rows: int | None = None) -> Json:
    """Return each value's share, the commonest first, and that of the others.

    Args:
        rows: that shares are of; by default the values that are present.
    """
    present = words.drop_nulls().rename("value")
    rows = len(present) if rows is None else rows
    counted = present.value_counts(name="rows").sort(["rows", "value"], descending=[True, False])
    listed = counted.head(MAX_VALUES)
    others = len(present) - int(listed["rows"].sum())
    return {"shares": {str(name): _share(count, rows) for name, count in listed.rows()}, "others": _share(others, rows)}


def _share(count: int, rows: int) -> float:
    return count / rows if rows else 0.0
