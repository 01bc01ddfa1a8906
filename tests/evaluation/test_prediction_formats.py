"""The predictions of each task: what is written can be read back, and its errors are ranked."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from danlu.data.splits import Split
from danlu.evaluation.cross_validation import concat_predictions
from danlu.evaluation.intervals import count_units
from danlu.evaluation.predictions import (
    build_predictions,
    pair_with_truth,
    predictions_frame,
    read_predictions,
)
from danlu.metrics.base import compute_values
from danlu.tasks.base import Target
from danlu.tasks.classification import ClassTarget
from danlu.tasks.language_modelling import NextTokenTarget
from danlu.tasks.metric_table import metrics_of
from danlu.tasks.multi_label import MultiLabelTarget
from danlu.tasks.multi_output import MultiNumericTarget
from danlu.tasks.ordinal import OrdinalTarget
from danlu.tasks.poisson import CountTarget
from danlu.tasks.preference import PreferenceTarget
from danlu.tasks.quantile import QuantileTarget
from danlu.tasks.regression import NumericTarget
from danlu.tasks.table import all_tasks, get_task
from danlu.tasks.tagging import TagTarget, pad_tags

GROUPS = pl.Series("shop", ["a", "b", None, "a"])
TASKS: dict[str, tuple[Target, dict[str, Any], np.ndarray]] = {
    "classification": (
        ClassTarget(column="y", labels=("no", "yes"), threshold=0.3),
        {"y": ["no", "yes", "yes", "no"]},
        np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.1, 0.9]], dtype=np.float32),
    ),
    "ordinal": (
        OrdinalTarget(column="y", labels=(1, 2, 3)),
        {"y": [1, 2, 3, 1]},
        np.array([[0.9, 0.1, 0.0], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.1, 0.1, 0.8]], dtype=np.float32),
    ),
    "multi-output-regression": (
        MultiNumericTarget(column="y", names=("a", "b"), means=(10.0, 0.0), stds=(2.0, 1.0)),
        {"y": [f'{{"a":{a},"b":{b}}}' for a, b in ((9.0, 1.0), (10.0, 2.0), (11.0, 3.0), (14.0, 5.0))]},
        np.array([[0.0, 1.0], [0.5, 2.5], [-1.0, 3.0], [2.0, 3.0]], dtype=np.float32),
    ),
    "quantile-regression": (
        QuantileTarget(column="y", mean=10.0, std=2.0, coverage=0.8),
        {"y": [9.0, 10.0, 11.0, 14.0]},
        np.array([[-1, 0.0, 1], [0.2, 0.5, 1], [-2, -1.0, 0], [1, 2.0, 3]], dtype=np.float32),
    ),
    "poisson-regression": (
        CountTarget(column="y", mean=10.0, std=10.0),
        {"y": [9.0, 10.0, 11.0, 14.0]},
        np.array([[1.0], [1.1], [0.5], [1.4]], dtype=np.float32),
    ),
    "multi-label": (
        MultiLabelTarget(column="y", labels=("red", "blue")),
        {"y": ['["red"]', "[]", '["blue", "red"]', '["blue"]']},
        np.array([[0.9, 0.1], [0.6, 0.7], [0.2, 0.9], [0.1, 0.9]], dtype=np.float32),
    ),
    "regression": (
        NumericTarget(column="y", mean=10.0, std=2.0),
        {"y": [9.0, 10.0, 11.0, 14.0]},
        np.array([[0.0], [0.5], [-1.0], [2.0]], dtype=np.float32),
    ),
    "token-classification": (
        TagTarget(column="y", labels=("O", "B-X")),
        {"y": ['["O", "B-X"]', '["O"]', '["B-X", "O", "O"]', '["O"]']},
        np.array([[0, 0, -1], [0, -1, -1], [0, -1, -1], [0, -1, -1]]),
    ),
    "language-modelling": (
        NextTokenTarget(vocabulary=9),
        {"text": ["one", "tëo", "", "four"]},
        np.array([[2.0, 4, 1], [9.0, 3, 0], [0.0, 0, 0], [1.0, 2, 2]]),
    ),
    "preference": (
        PreferenceTarget(vocabulary=9, beta=0.5),
        {"reference_chosen": [-2.0, -3.0, -1.0, -1.0], "reference_rejected": [-2.0, -1.0, -1.0, -4.0]},
        np.array([[-1.0, -2.0], [-4.0, -1.0], [-1.0, -1.0], [0.0, -1.0]], dtype=np.float32),
    ),
}
WORST = {  # rows with errors, the worst first
    "classification": ("confidence", [3, 2]),
    "multi-label": ("labels", [1, 2]),
    "regression": ("error", [2, 0, 1, 3]),
    "token-classification": ("tags", [2, 0]),
    "language-modelling": ("loss", [1, 0, 3, 2]),
    "preference": ("margin", [3, 1, 2]),
    "ordinal": ("confidence", [3, 1]),
    "multi-output-regression": ("error", [2, 3, 1, 0]),
    "quantile-regression": ("error", [2, 0, 1, 3]),
    "poisson-regression": ("error", [2, 1, 0, 3]),
}


def test_every_kind_of_target_has_a_format() -> None:
    assert {task.name for task in all_tasks()} == {target.task for target, _, _ in TASKS.values()} == set(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_what_is_written_gives_the_same_figures_when_it_is_read(task: str) -> None:
    target, columns, outputs = TASKS[task]
    split = Split.of(pl.DataFrame(columns).with_columns(GROUPS))
    content = "text" if "text" in columns else None
    built = build_predictions(split, target, outputs, content, "shop")
    table = predictions_frame(split, built, target.decode(outputs), target)
    assert table["row"].to_list() == [0, 1, 2, 3] and table["group"].to_list() == [1.0, 2.0, -3.0, 1.0]
    labels = tuple(str(label) for label in getattr(target, "labels", ()))
    read = read_predictions(get_task(task), table, labels, getattr(target, "threshold", None))
    metrics = metrics_of(get_task(task))
    first, again = compute_values(metrics, built), compute_values(metrics, read)
    assert len(first) >= 2 and np.isfinite(list(first.values())).sum() >= 2
    assert again == pytest.approx(first, nan_ok=True, rel=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_errors_are_ranked_from_the_table(task: str) -> None:
    target, columns, outputs = TASKS[task]
    split = Split.of(pl.DataFrame(columns))
    built = build_predictions(split, target, outputs, "text" if "text" in columns else None)
    scores = get_task(task).score_errors(predictions_frame(split, built, target.decode(outputs), target))
    worst = scores.wrong[np.argsort(-scores.severity[scores.wrong], kind="stable")]
    assert (scores.by, worst.tolist()) == WORST[task]


def test_tags_that_a_model_has_not_given_are_empty() -> None:
    assert pad_tags(["O"], ["O", "B-X", "O"]) == ("O", "", "")


def test_blocks_of_a_corpus_share_the_size_of_all_texts() -> None:
    split = Split.of(pl.DataFrame({"text": ["one", "tëo"]}))
    sums = np.array([[1.0, 2, 0], [1.0, 2, 1], [1.0, 1, 1]])
    assert pair_with_truth(split, NextTokenTarget(vocabulary=9), sums, "text").text_bytes.tolist() == [7.0, 0.0, 0.0]  # type: ignore[union-attr]


def test_groups_of_two_folds_are_told_apart() -> None:
    """Each fold tests rows of its own groups; behind one another they are still as many groups."""
    target, columns, outputs = TASKS["regression"]
    table = pl.DataFrame(columns).with_columns(shop=pl.Series(["b", "a", None, None]))
    folds = [
        build_predictions(Split(np.array(rows), table), target, outputs[rows], None, "shop")
        for rows in ([0, 2], [1, 3])
    ]
    assert count_units(concat_predictions(folds)) == 4
