"""What a task makes of outputs in numpy is what it makes of them in torch."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from danlu.tasks.classification import Classification, ClassTarget
from danlu.tasks.multi_label import MultiLabel, MultiLabelTarget
from danlu.tasks.multi_output import MultiNumericTarget, MultiOutput
from danlu.tasks.ordinal import Ordinal, OrdinalTarget
from danlu.tasks.poisson import CountTarget, PoissonRegression
from danlu.tasks.quantile import QuantileRegression, QuantileTarget
from danlu.tasks.regression import NumericTarget, Regression
from danlu.tasks.table import TASKS
from danlu.tasks.tagging import Tagging, TagTarget

HEADS: dict[str, Any] = {
    "classification": Classification().head(ClassTarget(column="y", labels=("a", "b", "c"))),
    "ordinal": Ordinal().head(OrdinalTarget(column="y", labels=("a", "b", "c", "d"))),
    "multi-label": MultiLabel().head(MultiLabelTarget(column="y", labels=("a", "b", "c"))),
    "regression": Regression().head(NumericTarget(column="y", mean=1.0, std=2.0)),
    "multi-output-regression": MultiOutput().head(
        MultiNumericTarget(column="y", names=("a", "b", "c"), means=(0.0,) * 3, stds=(1.0,) * 3)
    ),
    "poisson-regression": PoissonRegression().head(CountTarget(column="y", mean=1.0, std=2.0)),
    "quantile-regression": QuantileRegression().head(QuantileTarget(column="y", mean=1.0, std=2.0, coverage=0.9)),
}
OUTPUTS = st.floats(-90, 80, width=32)


@pytest.mark.parametrize("task", HEADS)
def test_arrays_and_tensors_get_the_same_answers(task: str) -> None:
    head = HEADS[task]

    @settings(max_examples=60, deadline=None)
    @given(arrays(np.float32, st.sampled_from([(1, 3), (4, 3), (2, 5, 3)]), elements=OUTPUTS))
    def check(outputs: np.ndarray) -> None:
        expected = head.predict(torch.from_numpy(outputs), None).numpy()
        found = head.answer(outputs, None)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-7)

    check()


@settings(max_examples=40, deadline=None)
@given(arrays(np.float32, (3, 5, 4), elements=OUTPUTS), arrays(np.int64, (3, 5), elements=st.sampled_from([0, -100])))
def test_tags_are_those_of_each_words_first_token(outputs: np.ndarray, target: np.ndarray) -> None:
    head = Tagging().head(TagTarget(column="y", labels=("a", "b", "c", "d")))
    assert head.answer is not None
    expected = head.predict(torch.from_numpy(outputs), torch.from_numpy(target))
    assert head.answer(outputs, target).tolist() == expected.tolist()


def test_every_task_answers_in_arrays_but_those_of_texts_that_go_on() -> None:
    assert {*HEADS, "token-classification"} == set(TASKS) - {"language-modelling", "preference"}
