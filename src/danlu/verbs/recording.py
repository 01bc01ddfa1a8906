"""A split's answers as they are kept: with all that comparing them with another run's needs."""

from typing import Any

import numpy as np
import polars as pl

from danlu.data.splits import Part
from danlu.data.targets import Classes, NextToken, Quantity
from danlu.evaluation.metric import Truth


def record(part: Part, judged: Truth, answers: pl.DataFrame, target: Classes | Quantity | NextToken) -> pl.DataFrame:
    """The answers beside their rows, what is true (of texts, tokens guessed rightly and bytes), and groups."""
    columns: dict[str, Any] = {"row": part.rows}
    if isinstance(target, Classes):
        columns["truth"] = part.column(target.column)
    elif isinstance(target, Quantity):
        columns["truth"] = judged.values
    else:
        columns["right"] = judged.answers[:, 2].astype(np.int64)
        columns["bytes"] = judged.text_bytes
    if judged.groups is not None:
        columns["group"] = judged.groups
    return pl.DataFrame(columns).hstack(answers)
