"""Predictions of a split: paired with the truth, written to a table, read back from it.

In: a split and the model's outputs. Out: `Predictions`, and the tables in predictions/*.parquet from which runs are
compared and the worst errors shown. What a task's predictions are is the task's to say.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from danlu.data.columns import missing_values
from danlu.data.splits import Split
from danlu.metrics.base import Predictions
from danlu.tasks.base import Target, Task
from danlu.tasks.table import task_of


def build_predictions(
    split: Split, target: Target, outputs: np.ndarray, text_column: str | None, group_column: str | None = None
) -> Predictions:
    """Pair a split's outputs, as they are given to users, with the truth.

    Args:
        split: the split.
        target: what is predicted.
        outputs: the model's outputs, [samples, ...].
        text_column: for bits per byte; None if not all of its text is predicted.
        group_column: the column whose rows are resampled together.
    """
    groups = None if group_column is None else group_codes(split, group_column)
    return pair_with_truth(split, target, task_of(target).to_y_pred(target, outputs), text_column, groups)


def pair_with_truth(
    split: Split,
    target: Target,
    y_pred: np.ndarray,
    text_column: str | None = None,
    groups: np.ndarray | None = None,
) -> Predictions:
    """Pair predictions, numbers in the target's units, with the truth."""
    return replace(task_of(target).pair(split, target, y_pred, text_column), groups=groups)


def predictions_frame(split: Split, predictions: Predictions, decoded: pl.DataFrame, target: Target) -> pl.DataFrame:
    """Build a table of decoded predictions next to row numbers, truth and groups.

    For texts it holds correctly predicted tokens and bytes instead of the truth, for preferences the reward margin.
    """
    columns: dict[str, Any] = {
        "row": split.rows,
        **task_of(target).truth_columns(split, target, predictions),
    }
    if predictions.groups is not None:
        columns["group"] = predictions.groups
    return pl.DataFrame(columns).hstack(decoded)


def read_predictions(
    task: Task, table: pl.DataFrame, labels: Sequence[str] = (), threshold: float | None = None
) -> Predictions:
    """Read predictions back from a table of `predictions_frame`.

    Args:
        labels: the classes or labels as text, in their order.
        threshold: of two classes, as evaluation.json has it.
    """
    groups = table["group"].to_numpy() if "group" in table.columns else None
    return replace(task.read(table, labels), threshold=threshold, groups=groups)


def group_codes(split: Split, column: str) -> np.ndarray:
    """Assign group numbers, [rows]; a row without a group is a group of its own.

    They are numbers of the whole table, so that predictions of several folds can stand behind one another.
    """
    values = split.table[column]
    codes = np.where(missing_values(values), -1.0 - np.arange(len(values)), values.rank("dense").to_numpy())
    return np.asarray(codes[split.rows], dtype=np.float64)
