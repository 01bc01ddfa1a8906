"""Collect the attributes of test rows that the recipe asks to slice by, and find slices that are predicted worse."""

from typing import Any

import numpy as np
import polars as pl

from danlu.data.splits import Part
from danlu.evaluation.evaluate import Question
from danlu.evaluation.metric import Truth
from danlu.evaluation.metrics import metric_named
from danlu.evaluation.slices import judge_slices, makes_parts, slices_of
from danlu.recipe.judging import Slices
from danlu.verbs.prepare import Opened, spread_over

MOST_IMAGES, MOST_ROWS = 5_000, 50_000  # rows examined
SHORTEST = 32  # pixels of the shorter side suffice for the brightness


def sliced(opened: Opened, question: Question, truth: Truth) -> dict[str, Any]:
    """Find the test split's slices by the requested or main metric, the worst first.

    Returns nothing if intervals are switched off.

    Args:
        truth: the predictions for the test split.
    """
    asked = opened.recipe.evaluation.slices
    options = asked if isinstance(asked, Slices) else Slices()
    name = options.metric or question.main
    how, metric = question.of("test"), metric_named(name)
    if how is None or asked is False or not metric.quick:
        return {}
    chosen = spread_over(len(truth), MOST_IMAGES if opened.dataset.kind == "image" else MOST_ROWS)
    part = Part(opened.splits.test.rows[chosen], opened.splits.test.whole)
    found = slices_of(*_known(opened, part, options.columns), options.min_size)
    return {
        "metric": name,
        "rows": len(chosen),
        "looked_at": len(found),
        "found": judge_slices(found, metric, truth.take(chosen), how),
    }


def _known(
    opened: Opened, part: Part, asked: tuple[str, ...] | None
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
        and makes_parts(column.type, asked is not None)
    ]
    texts = [
        column.name
        for column in columns
        if column.type == "text" and part.whole.schema[column.name] == pl.String  # conversations are lists
    ]
    shown = content is not None and (asked is None or content in asked)
    for name in dict.fromkeys([content, *texts] if shown and dataset.kind in ("text", "corpus") else texts):
        lengths = part.column(str(name)).cast(pl.String).str.len_chars().fill_null(0)
        measured[str(name), "length"] = lengths.to_numpy().astype(np.float64)
    if dataset.kind == "image" and shown:
        measured[dataset.content, "brightness"] = _brightness(opened, part)
    return part.columns(*names) if names else pl.DataFrame({"": [True] * len(part)}), measured


def _brightness(opened: Opened, part: Part) -> np.ndarray:
    """Compute the mean grey value of each image, from 0 to 1."""
    from danlu.data.images.decode import decode

    references, folder = part.column(opened.dataset.content).to_list(), opened.dataset.folder
    return np.array([np.asarray(decode(each, folder, SHORTEST).convert("L")).mean() / 255 for each in references])
