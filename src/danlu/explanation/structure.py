"""Exact SHAP values by a model's structure: sums of columns, and trees.

They are of the model's score, since a probability is no sum: log odds of two classes, logits of more, a number in its
own units. Column-wise sums need one answer per column; trees are walked once per leaf.
"""

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from danlu.explanation.answers import Answer
from danlu.explanation.estimates import Estimate
from danlu.explanation.tabular import PreparedRows, TabularAnswers

if TYPE_CHECKING:
    from danlu.models.tabular.tree_ensemble import TreeEnsemble

SUMS = ("linear", "additive")  # families whose score is a sum of functions of one column each


def estimator_by_structure(rows: TabularAnswers, answer: Answer) -> str | None:
    """Name the exact estimator of a model; None where its structure gives none."""
    from danlu.models.tabular.tree_ensemble import TreeEnsemble

    if rows.owners is None or answer.score_of(rows.predictor.target, np.zeros((1, _outputs(rows)))) is None:
        return None
    if rows.predictor.options.name in SUMS:
        return str(rows.predictor.options.name)
    return "trees" if isinstance(rows.predictor.model, TreeEnsemble) else None


def _outputs(rows: TabularAnswers) -> int:
    return rows.predictor.target.outputs


def sum_values(rows: TabularAnswers, row: pl.DataFrame, background: pl.DataFrame, answer: Answer) -> Estimate:
    """Compute the values of a sum over columns: each part less its mean.

    With one background row's other columns, a column's part changes by the same as with any other's.
    """
    assert rows.owners is not None
    own, others = rows.prepare(row), rows.prepare(background)
    players, numbers = len(rows.columns), rows.num_numbers
    first = others.take(np.zeros(players, dtype=np.int64))
    is_own = rows.owners[None, :] == np.arange(players)[:, None]
    switched = PreparedRows(
        np.where(is_own[:, :numbers], own.numeric, first.numeric), np.where(is_own[:, numbers:], own.codes, first.codes)
    )
    # The mean of a column's part over the background, again with the first row's other columns.
    repeats = np.tile(np.arange(len(others)), players)
    part = others.take(repeats)
    held = others.take(np.zeros(len(repeats), dtype=np.int64))
    varied = np.repeat(is_own, len(others), axis=0)
    means = PreparedRows(
        np.where(varied[:, :numbers], part.numeric, held.numeric), np.where(varied[:, numbers:], part.codes, held.codes)
    )
    here, there = _score(rows, switched, answer), _score(rows, means, answer).reshape(players, -1).mean(axis=1)
    full, empty = float(_score(rows, own, answer)[0]), float(_score(rows, others, answer).mean())
    return Estimate(here - there, np.zeros(players), empty, full, 0, str(rows.predictor.options.name), True)


def _score(rows: TabularAnswers, prepared: PreparedRows, answer: Answer) -> np.ndarray:
    found = answer.score_of(rows.predictor.target, rows.scores(prepared))
    assert found is not None
    return found


def tree_values(rows: TabularAnswers, row: pl.DataFrame, background: pl.DataFrame, answer: Answer) -> Estimate:
    """Compute the values of trees with each background row for what is absent."""
    from danlu.explanation.trees import interventional_tree_values

    own, others = rows.prepare(row), rows.prepare(background)
    assert rows.owners is not None
    network: TreeEnsemble = rows.predictor.model  # type: ignore[assignment]
    values = interventional_tree_values(network, _features(own), _features(others), rows.owners, len(rows.columns))
    full, empty = float(_score(rows, own, answer)[0]), float(_score(rows, others, answer).mean())
    zero = answer.score_of(rows.predictor.target, np.zeros((1, values.shape[1])))
    found = answer.score_of(rows.predictor.target, values)
    assert found is not None and zero is not None
    return Estimate(found - zero, np.zeros(len(values)), empty, full, 0, "trees", True)


def path_values(rows: TabularAnswers, row: pl.DataFrame, answer: Answer) -> Estimate:
    """Compute the values of boosted trees without background: absent columns follow the training rows' shares."""
    from danlu.explanation.trees import path_dependent_tree_values
    from danlu.models.tabular.boosting import BoostedTrees

    network = rows.predictor.model
    assert isinstance(network, BoostedTrees) and rows.owners is not None
    own, players = rows.prepare(row), len(rows.columns)
    values, mean = path_dependent_tree_values(network, _features(own), network.node_counts(), rows.owners, players)
    found = answer.score_of(rows.predictor.target, np.concatenate([values, mean[None], np.zeros((1, len(mean)))]))
    assert found is not None
    full = float(_score(rows, own, answer)[0])
    return Estimate(found[:-2] - found[-1], np.zeros(players), float(found[-2]), full, 0, "trees", True)


def _features(prepared: PreparedRows) -> np.ndarray:
    """Return the features of trees, [rows, features] float32: numbers, then codes."""
    return np.concatenate([prepared.numeric, prepared.codes.astype(np.float32)], axis=1)
