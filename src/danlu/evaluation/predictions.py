"""The table of a split's predictions: all that comparing runs and showing errors needs."""

from typing import Any

import numpy as np
import polars as pl

from danlu.data.sources.multi_label import read_labels
from danlu.data.splits import Split
from danlu.data.targets import ClassTarget, MultiLabelTarget, NextTokenTarget, NumericTarget, TagTarget, TargetSpec
from danlu.evaluation.metrics.base import Predictions
from danlu.evaluation.metrics.language import reward_margins


def predictions_frame(part: Split, judged: Predictions, answers: pl.DataFrame, target: TargetSpec) -> pl.DataFrame:
    """Build a table of predictions next to row numbers, truth and groups.

    For texts it holds correctly predicted tokens and bytes instead of the truth, for preferences the reward margin.
    """
    columns: dict[str, Any] = {"row": part.rows}
    if isinstance(target, TagTarget):
        columns["truth"] = [list(tags) for tags in judged.y_true]
    elif isinstance(target, ClassTarget):
        columns["truth"] = part.column(target.column)
    elif isinstance(target, MultiLabelTarget):
        columns["truth"] = [read_labels(text) for text in part.column(target.column).to_list()]
    elif isinstance(target, NumericTarget):
        columns["truth"] = judged.y_true
    elif isinstance(target, NextTokenTarget):
        columns["right"] = judged.y_pred[:, 2].astype(np.int64)
        columns["bytes"] = np.zeros(len(judged)) if judged.text_bytes is None else judged.text_bytes
    else:
        columns["margin"] = reward_margins(judged)
    if judged.groups is not None:
        columns["group"] = judged.groups
    return pl.DataFrame(columns).hstack(answers)
