"""danlu.testing: every task with a target column passes, and what is broken is named."""

import numpy as np
import polars as pl
import pytest

from danlu.data.builtin import read_builtin
from danlu.tasks.base import Head, Target, Task
from danlu.tasks.classification import Classification, ClassTarget
from danlu.tasks.multi_label import MultiLabel
from danlu.tasks.multi_output import MultiOutput
from danlu.tasks.ordinal import Ordinal
from danlu.tasks.poisson import PoissonRegression
from danlu.tasks.quantile import QuantileRegression
from danlu.tasks.regression import Regression
from danlu.testing import CheckFailed, check_task

NUMBERS = read_builtin("builtin:diabetes").frame["progression"].cast(pl.Float64).head(60)
CLASSES = read_builtin("builtin:wine").frame["cultivar"].gather_every(3)
PACKED = pl.DataFrame({"a": NUMBERS, "b": NUMBERS.reverse()}).select(pl.struct("a", "b").struct.json_encode())["a"]


@pytest.mark.parametrize(
    ("task", "values"),
    [
        (Classification, CLASSES),
        (Ordinal, pl.Series([1, 2, 3, 3] * 10)),
        (Regression, NUMBERS),
        (QuantileRegression(coverage=0.5), NUMBERS),
        (PoissonRegression, NUMBERS),
        (MultiOutput, PACKED),
        (MultiLabel, pl.Series(['["red"]', "[]", '["blue", "red"]'] * 10)),
    ],
)
def test_danlus_own_tasks_pass(task: Task | type[Task], values: pl.Series) -> None:
    check_task(task, values)


class WithoutChinese(Classification):
    """Predict a class, named in English alone."""

    words = {"en": {"name": "classes"}}  # noqa: RUF012


class DeafHead(Classification):
    """Predict a class by a loss that no logit changes."""

    def head(self, target: ClassTarget) -> Head:
        plain = super().head(target)
        return Head(lambda logits, *rest: plain.loss(logits * 0, *rest), plain.predict, len)


class ForgetfulTarget(ClassTarget):
    """Predict a class, whose probabilities are rounded when they are written."""

    def decode(self, outputs: np.ndarray) -> pl.DataFrame:
        return super().decode(np.round(outputs))


class Forgetful(Classification):
    """Predict a class with a target that forgets."""

    target_class: type[Target] = ForgetfulTarget  # type: ignore[misc]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (WithoutChinese, "words has no name for zh"),
        (DeafHead, "free logits lower the loss"),
        (Forgetful, "differs after the predictions were written to a table"),
    ],
)
def test_a_broken_task_is_told_what_is_wrong(task: type[Task], message: str) -> None:
    with pytest.raises(CheckFailed, match=message):
        check_task(task, CLASSES)
