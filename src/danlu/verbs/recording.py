"""The table of a split's predictions: all that comparing runs and showing errors needs."""

from typing import Any

import numpy as np
import polars as pl

from danlu.data.labels import read_labels
from danlu.data.splits import Part
from danlu.data.targets import AnswerForm, Classes, Labels, NextToken, Quantity, TokenTags
from danlu.evaluation.metric import Truth
from danlu.evaluation.preferences import margins


def record(part: Part, judged: Truth, answers: pl.DataFrame, target: AnswerForm) -> pl.DataFrame:
    """Build a table of predictions next to row numbers, truth and groups.

    For texts it holds correctly predicted tokens and bytes instead of the truth, for preferences the reward margin.
    """
    columns: dict[str, Any] = {"row": part.rows}
    if isinstance(target, TokenTags):
        columns["truth"] = [list(tags) for tags in judged.values]
    elif isinstance(target, Classes):
        columns["truth"] = part.column(target.column)
    elif isinstance(target, Labels):
        columns["truth"] = [read_labels(text) for text in part.column(target.column).to_list()]
    elif isinstance(target, Quantity):
        columns["truth"] = judged.values
    elif isinstance(target, NextToken):
        columns["right"] = judged.answers[:, 2].astype(np.int64)
        columns["bytes"] = np.zeros(len(judged)) if judged.text_bytes is None else judged.text_bytes
    else:
        columns["margin"] = margins(judged)
    if judged.groups is not None:
        columns["group"] = judged.groups
    return pl.DataFrame(columns).hstack(answers)
