"""Collect the attributes of test rows that the recipe asks to slice by, and find slices that are predicted worse."""

from typing import Any

import numpy as np
import polars as pl

from danlu.data.splits import Split
from danlu.evaluation.evaluate import EvalConfig
from danlu.evaluation.metrics.base import Predictions
from danlu.evaluation.metrics.table import get_metric
from danlu.evaluation.slices import can_slice, evaluate_slices, make_slices
from danlu.experiment.data_context import DataContext, evenly_spaced_rows
from danlu.recipe.sections.evaluation import Slices

MAX_IMAGES, MAX_ROWS = 5_000, 50_000  # rows examined
BRIGHTNESS_SIDE = 32  # pixels of the shorter side suffice for the brightness


def find_slices(opened: DataContext, question: EvalConfig, truth: Predictions) -> dict[str, Any]:
    """Find the test split's slices by the requested or main metric, the worst first.

    Returns nothing if intervals are switched off.

    Args:
        truth: the predictions for the test split.
    """
    asked = opened.recipe.evaluation.slices
    options = asked if isinstance(asked, Slices) else Slices()
    name = options.metric or question.main_metric
    how, metric = question.resampling_for("test"), get_metric(name)
    if how is None or asked is False or not metric.is_fast:
        return {}
    chosen = evenly_spaced_rows(len(truth), MAX_IMAGES if opened.dataset.kind == "image" else MAX_ROWS)
    part = Split(opened.splits.test.rows[chosen], opened.splits.test.table)
    found = make_slices(*_slice_columns(opened, part, options.columns), options.min_size)
    return {
        "metric": name,
        "rows": len(chosen),
        "looked_at": len(found),
        "found": evaluate_slices(found, metric, truth.take(chosen), how),
    }


def _slice_columns(
    opened: DataContext, part: Split, asked: tuple[str, ...] | None
) -> tuple[pl.DataFrame, dict[tuple[str, str], np.ndarray]]:
    """Return the columns to slice by, and text lengths or image brightness of the input."""
    dataset, measured = opened.dataset, dict[tuple[str, str], np.ndarray]()
    content = dataset.content if dataset.kind != "tabular" else None
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
    for name in dict.fromkeys([content, *texts] if shown and dataset.kind in ("text", "corpus") else texts):
        lengths = part.column(str(name)).cast(pl.String).str.len_chars().fill_null(0)
        measured[str(name), "length"] = lengths.to_numpy().astype(np.float64)
    if dataset.kind == "image" and shown:
        measured[dataset.content, "brightness"] = _brightness(opened, part)
    return part.columns(*names) if names else pl.DataFrame({"": [True] * len(part)}), measured


def _brightness(opened: DataContext, part: Split) -> np.ndarray:
    """Compute the mean grey value of each image, from 0 to 1."""
    from danlu.data.images.decode import decode

    references, folder = part.column(opened.dataset.content).to_list(), opened.dataset.folder
    return np.array(
        [np.asarray(decode(each, folder, BRIGHTNESS_SIDE).convert("L")).mean() / 255 for each in references]
    )
