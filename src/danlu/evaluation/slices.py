"""Slices of a split that are predicted worse than the rest: by category, missing value, range, length, brightness.

In: predictions and attributes of their rows. Out: each slice's size and metric, and its difference from the rest. Many
slices are tested, so the intervals are simultaneous: with the given confidence all of them hold at once (studentized
maximum over the bootstrap, Westfall and Young 1993). A slice counts as worse if even so its interval excludes 0.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from danlu.core.text import suggestion
from danlu.data.dataset import Dataset
from danlu.data.splits import Split, evenly_spaced_rows
from danlu.errors import Problem, RecipeError
from danlu.evaluation.intervals import Resampling, for_each_resample
from danlu.metrics.base import Metric, Predictions
from danlu.recipe.sections.evaluation import Slices
from danlu.tasks.metric_table import get_metric, resolve_metrics

MIN_SAMPLES = 20  # minimum samples in a slice and in the rest
MIN_SHARE = 0.01
MAX_VALUES = 20  # most frequent values of a category that become slices
QUANTILE_BINS = 4  # quartiles of a number
MAX_SLICES = 200
RESAMPLES = 1000
BRIGHTNESS_SIDE = 32  # pixels of the shorter side suffice for the brightness


@dataclass(frozen=True)
class Slice:
    """Select samples that have something in common.

    Attributes:
        column: the column that defines them.
        kind: category, missing, range, length or brightness.
        description: what they have in common, such as `plan = basic`.
        mask: mask of the samples, [samples] bool.
    """

    column: str
    kind: str
    description: str
    mask: np.ndarray


def find_slices(
    asked: bool | Slices,
    dataset: Dataset,
    test: Split,
    predictions: Predictions,
    main_metric: str,
    how: Resampling | None,
) -> dict[str, Any]:
    """Find the test split's slices by the requested or main metric, the worst first.

    Returns nothing if slices or intervals are switched off.

    Args:
        asked: the recipe's options.
        dataset: describes the columns.
        test: the test split.
        predictions: of the test split.
        main_metric: used if the recipe names none.
        how: the resampling of the test split; None for no intervals.
    """
    options = asked if isinstance(asked, Slices) else Slices()
    name = options.metric or main_metric
    metric = get_metric(name)
    if how is None or asked is False or not metric.is_fast:
        return {}
    chosen = evenly_spaced_rows(len(predictions), dataset.kind.max_sliced_rows)
    part = Split(test.rows[chosen], test.table)
    found = make_slices(*slice_columns(dataset, part, options.columns), options.min_size)
    return {
        "metric": name,
        "rows": len(chosen),
        "looked_at": len(found),
        "found": evaluate_slices(found, metric, predictions.take(chosen), how),
    }


def make_slices(
    frame: pl.DataFrame, measured: Mapping[tuple[str, str], np.ndarray], least: int | None = None
) -> list[Slice]:
    """Build the slices worth testing: neither too small nor nearly everything.

    Args:
        frame: the columns of a split to slice by, one row per sample.
        measured: numbers per sample by column and kind, such as text length or image brightness, [samples].
        least: minimum samples of a slice and of the rest; by default MIN_SAMPLES, and MIN_SHARE for a slice.
    """
    found = [each for values in frame for each in _column_slices(values)]
    for (column, kind), numbers in measured.items():
        found += _quantile_slices(column, kind, np.asarray(numbers, dtype=np.float64))
    rest = MIN_SAMPLES if least is None else least
    least = max(MIN_SAMPLES, int(np.ceil(MIN_SHARE * frame.height))) if least is None else least
    held = [each for each in found if least <= each.mask.sum() <= frame.height - rest]
    distinct = {each.mask.tobytes(): each for each in reversed(held)}
    return list(reversed(distinct.values()))[:MAX_SLICES]


def check_slices(asked: bool | Slices, dataset: Dataset) -> None:
    """Reject slice options that could not be evaluated after training.

    Raises:
        RecipeError: the metric does not fit the task or is slow to resample, or a column is missing.
    """
    if isinstance(asked, bool):
        return
    if asked.metric is not None:
        key = "evaluation.slices.metric"
        (name,) = resolve_metrics(dataset.task, (asked.metric,), key)
        metric = get_metric(name)
        if not (metric.is_fast and metric.can_bootstrap):
            message = f"{name} is too slow to resample for hundreds of slices; use one of danlu's means or rank metrics"
            raise RecipeError(Problem("", key, message, code="DL117"))
    fitting = [each.name for each in dataset.columns if can_slice(each.type, asked=True)]
    for name in asked.columns or ():
        if name not in fitting:
            known = name in dataset.frame.columns
            why = "cannot be sliced" if known else f"no such column{suggestion(name, fitting)}"
            message = f"{name!r}: {why} (columns: {', '.join(fitting)})"
            raise RecipeError(Problem("", "evaluation.slices.columns", message, code="DL118"))


def can_slice(column_type: str, asked: bool = False) -> bool:
    """Return whether a column type can be sliced.

    Identifiers, texts and images only if the recipe names them; a dropped column counts as an identifier.
    """
    return column_type in ("number", "category") or (asked and column_type in ("identifier", "text", "image"))


def evaluate_slices(
    slices: list[Slice], metric: Metric, predictions: Predictions, how: Resampling
) -> list[dict[str, Any]]:
    """Compute each slice's metric and its difference from the rest, the worst first.

    Returns:
        column, kind, slice, size, value, rest, difference, low, high (of the difference) and whether it is worse.
        Slices for which the metric is undefined are left out.
    """
    if not slices:
        return []
    inside = np.stack([each.mask for each in slices])
    apart = [(predictions.take(np.flatnonzero(row)), predictions.take(np.flatnonzero(~row))) for row in inside]
    values = np.array([[metric.compute(own), metric.compute(rest)] for own, rest in apart])
    kept = np.flatnonzero(np.isfinite(values).all(axis=1))
    if not len(kept):
        return []
    resamples = _bootstrap_differences([slices[i] for i in kept], metric, predictions, how)
    difference = values[kept, 0] - values[kept, 1]
    half = _simultaneous_half_widths(resamples, difference, how.confidence)
    sign = 1 if metric.higher_is_better else -1
    found = [
        {
            "column": slices[index].column,
            "kind": slices[index].kind,
            "slice": slices[index].description,
            "size": int(inside[index].sum()),
            "value": float(values[index, 0]),
            "rest": float(values[index, 1]),
            "difference": float(difference[place]),
            "low": float(difference[place] - half[place]),
            "high": float(difference[place] + half[place]),
            "worse": bool(sign * difference[place] + half[place] < 0),
        }
        for place, index in enumerate(kept)
    ]
    return sorted(found, key=lambda each: (not each["worse"], sign * each["difference"]))


def _bootstrap_differences(
    slices: list[Slice], metric: Metric, predictions: Predictions, how: Resampling
) -> np.ndarray:
    """Compute the metric inside minus outside per resample and slice, [resamples, slices]."""
    how = Resampling(how.seed.derive("slices"), how.confidence, min(how.resamples, RESAMPLES))
    found = np.full((how.resamples, len(slices)), np.nan)
    prepare, additive = metric.statistic.prepare, metric.statistic.additive
    whole = prepare(predictions)
    rows = [(np.flatnonzero(each.mask), np.flatnonzero(~each.mask)) for each in slices]
    # An additive statistic of the rest is the total minus that of the slice.
    gathers = [
        (prepare(predictions.take(own)), None if additive else prepare(predictions.take(rest))) for own, rest in rows
    ]

    def fill(start: int, weights: np.ndarray) -> None:
        total = whole(weights) if additive else None
        for place, (own, rest) in enumerate(rows):
            inside, outside = gathers[place]
            within = inside(weights.take(own, axis=1))
            beyond = total - within if outside is None else outside(weights.take(rest, axis=1))
            found[start : start + len(weights), place] = metric.finalize(within) - metric.finalize(beyond)

    for_each_resample(len(predictions), predictions.groups, how, fill)
    return found


def _simultaneous_half_widths(resamples: np.ndarray, difference: np.ndarray, confidence: float) -> np.ndarray:
    """Compute half the width of every interval, [slices].

    Each slice's own deviation times a quantile of the largest studentized deviation over all slices.
    """
    spread = np.nanstd(resamples, axis=0, ddof=1)
    scaled = np.abs(resamples - difference) / np.where(spread > 0, spread, np.inf)
    largest = np.nanmax(np.where(np.isfinite(scaled), scaled, 0.0), axis=1)
    return np.asarray(np.quantile(largest, confidence) * spread)


def _column_slices(values: pl.Series) -> Iterator[Slice]:
    missing = values.is_null().to_numpy()
    yield Slice(values.name, "missing", f"{values.name} is missing", missing)
    if values.dtype.is_numeric() and values.n_unique() > MAX_VALUES:
        yield from _quantile_slices(values.name, "range", values.cast(pl.Float64).to_numpy())
    elif values.dtype in (pl.String, pl.Boolean, pl.Categorical) or values.dtype.is_numeric():
        counted = values.drop_nulls().value_counts(sort=True).head(MAX_VALUES)
        for value in counted[values.name].to_list():
            inside = (values == value).fill_null(False).to_numpy()
            yield Slice(values.name, "category", f"{values.name} = {value}", inside)


def _quantile_slices(column: str, measure: str, numbers: np.ndarray) -> Iterator[Slice]:
    """Slice by quartiles of a number."""
    there = np.isfinite(numbers)
    if not there.any():
        return
    cuts = np.unique(np.quantile(numbers[there], np.linspace(0, 1, QUANTILE_BINS + 1)))
    for low, high in itertools.pairwise(cuts.tolist()):
        last = high == cuts[-1]
        inside = there & (numbers >= low) & ((numbers <= high) if last else (numbers < high))
        of = column if measure == "range" else f"{measure} of {column}"
        yield Slice(column, measure, f"{of} {low:.4g} to {high:.4g}", inside)


def slice_columns(
    dataset: Dataset, part: Split, asked: tuple[str, ...] | None
) -> tuple[pl.DataFrame, dict[tuple[str, str], np.ndarray]]:
    """Return the columns to slice by, and text lengths or image brightness of the input."""
    measured = dict[tuple[str, str], np.ndarray]()
    content = None if dataset.kind.has_feature_columns else dataset.content
    columns = [column for column in dataset.columns if asked is None or column.name in asked]
    names = [
        column.name
        for column in columns
        if column.name not in (content, dataset.target)
        and column.type not in ("text", "image")
        and can_slice(column.type, asked is not None)
    ]
    texts = [
        column.name
        for column in columns
        if column.type == "text" and part.table.schema[column.name] == pl.String  # conversations are lists
    ]
    shown = content is not None and (asked is None or content in asked)
    for name in dict.fromkeys([content, *texts] if shown and dataset.kind.content_is_text else texts):
        lengths = part.column(str(name)).cast(pl.String).str.len_chars().fill_null(0)
        measured[str(name), "length"] = lengths.to_numpy().astype(np.float64)
    if dataset.kind.shows_pictures and shown:
        measured[dataset.content, "brightness"] = _brightness(dataset, part)
    return part.columns(*names) if names else pl.DataFrame({"": [True] * len(part)}), measured


def _brightness(dataset: Dataset, part: Split) -> np.ndarray:
    """Compute the mean grey value of each image, from 0 to 1."""
    from danlu.data.images.decode import decode

    references, folder = part.column(dataset.content).to_list(), dataset.folder
    return np.array(
        [np.asarray(decode(each, folder, BRIGHTNESS_SIDE, "own").convert("L")).mean() / 255 for each in references]
    )
