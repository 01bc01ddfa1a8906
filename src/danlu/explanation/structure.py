"""Exact SHAP values by a model's structure: sums of columns, and trees.

They are of the model's score, since a probability is no sum: log odds of two classes, logits of more, a number in its
own units. Columns of a sum are read off its weights, in double precision; trees are walked once per leaf.
"""

import numpy as np
import polars as pl

from danlu.explanation.answers import Answer
from danlu.explanation.estimates import Estimate
from danlu.explanation.row_answers import RowAnswers
from danlu.explanation.tabular import PreparedRows, TabularAnswers
from danlu.explanation.trees import Trees, interventional_tree_values, path_dependent_tree_values
from danlu.models.engines.numpy_engine import network_spec
from danlu.models.tabular.tree_arrays import MODEL_FILE, read_node_counts

SUMS = ("linear", "additive")  # families whose score is a sum of functions of one column each
TREES = ("tree", "boosting")


def estimator_by_structure(rows: RowAnswers, answer: Answer) -> str | None:
    """Name the exact estimator of a model; None where its structure gives none."""
    if not isinstance(rows, TabularAnswers) or rows.owners is None:
        return None
    if answer.score_of(rows.target, np.zeros((1, _outputs(rows)))) is None:
        return None
    family = rows.predictor.options.name
    return family if family in SUMS else "trees" if family in TREES else None


def _outputs(rows: TabularAnswers) -> int:
    return rows.target.outputs


def sum_values(rows: TabularAnswers, row: pl.DataFrame, background: pl.DataFrame, answer: Answer) -> Estimate:
    """Compute the values of a sum: each column's part less its mean."""
    assert rows.owners is not None
    own, others = rows.prepare(row), rows.prepare_once(background)
    parts = _parts(rows, own)[0] - _parts(rows, others).mean(axis=0)
    values = np.zeros((len(rows.columns), parts.shape[1]))
    np.add.at(values, rows.owners, parts)
    return _estimate(rows, own, others, answer, values, str(rows.predictor.options.name))


def _parts(rows: TabularAnswers, prepared: PreparedRows) -> np.ndarray:
    """Return what each feature adds to the scores of a sum, [rows, features, outputs] float64."""
    weights = {name: values.astype(np.float64) for name, values in rows.weights.items()}
    numeric, codes = prepared.numeric.astype(np.float64), prepared.codes.T
    if rows.predictor.options.name == "linear":
        slopes, begin = weights["linear.weight"].T, numeric.shape[1]
        parts = [numeric[:, [at]] * slopes[at] for at in range(begin)]
        for at, code in enumerate(codes):
            table = weights[f"embeddings.{at}.weight"]
            parts.append((table @ slopes[begin : begin + table.shape[1]])[code])
            begin += table.shape[1]
        return np.stack(parts, axis=1)
    parts = []
    for at, edges in enumerate(map(np.array, rows.preprocessor.inputs.edges)):
        places = np.clip((numeric[:, [at]] - edges[:-1]) / np.diff(edges), 0.0, 1.0)
        parts.append(places @ weights["rises"][at, : len(edges) - 1])
    sizes = np.array(rows.preprocessor.inputs.cardinalities, dtype=np.int64)
    parts += [weights["values"][code + start] for code, start in zip(codes, np.cumsum(sizes) - sizes, strict=True)]
    return np.stack(parts, axis=1)


def _trees(rows: TabularAnswers) -> Trees:
    spec = network_spec(rows.predictor.options, rows.preprocessor.inputs, _outputs(rows))
    return Trees(rows.weights, spec["groups"], spec["zero_first"])


def _estimate(
    rows: TabularAnswers, own: PreparedRows, others: PreparedRows, answer: Answer, values: np.ndarray, name: str
) -> Estimate:
    """Return an estimate from the values of the scores, [columns, outputs]."""
    full, empty = float(_score(rows, own, answer)[0]), float(_score(rows, others, answer).mean())
    target = rows.target
    found, zero = (answer.score_of(target, scores) for scores in (values, np.zeros((1, values.shape[1]))))
    assert found is not None and zero is not None
    return Estimate(found - zero, np.zeros(len(values)), empty, full, 0, name, True)


def _score(rows: TabularAnswers, prepared: PreparedRows, answer: Answer) -> np.ndarray:
    found = answer.score_of(rows.target, rows.scores(prepared).astype(np.float64))
    assert found is not None
    return found


def tree_values(rows: TabularAnswers, row: pl.DataFrame, background: pl.DataFrame, answer: Answer) -> Estimate:
    """Compute the values of trees with each background row for what is absent."""
    assert rows.owners is not None
    own, others = rows.prepare(row), rows.prepare_once(background)
    values = interventional_tree_values(_trees(rows), _features(own), _features(others), rows.owners, len(rows.columns))
    return _estimate(rows, own, others, answer, values, "trees")


def path_values(rows: TabularAnswers, row: pl.DataFrame, answer: Answer) -> Estimate:
    """Compute the values of boosted trees without background: absent columns follow the training rows' shares."""
    assert rows.owners is not None
    own, players = rows.prepare(row), len(rows.columns)
    counts = read_node_counts(rows.predictor.bundle.require(MODEL_FILE).read_text(encoding="utf-8"))
    values, mean = path_dependent_tree_values(_trees(rows), _features(own), counts, rows.owners, players)
    found = answer.score_of(rows.target, np.concatenate([values, mean[None], np.zeros((1, len(mean)))]))
    assert found is not None
    full = float(_score(rows, own, answer)[0])
    return Estimate(found[:-2] - found[-1], np.zeros(players), float(found[-2]), full, 0, "trees", True)


def _features(prepared: PreparedRows) -> np.ndarray:
    """Return the features of trees, [rows, features] float32: numbers, then codes."""
    return np.concatenate([prepared.numeric, prepared.codes.astype(np.float32)], axis=1)
