"""A surrogate: a small tree that says in rules what a model answers, with how faithfully it does.

Fidelity is the share of the variance of the model's answers that the tree gives on rows that it has not seen
(Craven and Shavlik 1995, https://papers.nips.cc/paper/1152). A tree of low fidelity says nothing of the model.
"""

import numpy as np
import polars as pl

from danlu.core.seeds import Seed
from danlu.errors import ArgumentError
from danlu.explanation.intervals import Interval
from danlu.explanation.overall import Rule, Surrogate

DEPTH = 3
FEWEST_ROWS, MOST_ROWS = 20, 5000
ROWS_OF_LEAF = 5
CATEGORIES = 10  # of a column, the most frequent ones
RESAMPLES = 1000


def fit_surrogate(frame: pl.DataFrame, answers: np.ndarray, label: str | None, seed: Seed) -> Surrogate:
    """Fit a tree to half of the rows, and judge it on the others.

    Args:
        frame: the model's columns.
        answers: the model's answers to them, [rows].
        label: which number of an answer that is.

    Raises:
        ArgumentError: there are too few rows.
    """
    from sklearn.tree import DecisionTreeRegressor

    if frame.height < FEWEST_ROWS:
        raise ArgumentError(f"surrogate: needs at least {FEWEST_ROWS} rows, got {frame.height}", code="DL402")
    names, table = _features(frame)
    order = np.random.default_rng(seed.derive("halves").value).permutation(frame.height)
    fitted, judged = order[: (frame.height + 1) // 2], order[(frame.height + 1) // 2 :]
    tree = DecisionTreeRegressor(max_depth=DEPTH, min_samples_leaf=ROWS_OF_LEAF, random_state=0)
    tree.fit(table[fitted], answers[fitted])
    fidelity = _fidelity(answers[judged], tree.predict(table[judged]), seed)
    return Surrogate(label, tuple(_rules(tree.tree_, names)), fidelity, len(fitted))


def _features(frame: pl.DataFrame) -> tuple[list[tuple[str, str | None]], np.ndarray]:
    """Return (column, category) of features and [rows, features], categories as yes or no."""
    names: list[tuple[str, str | None]] = []
    values: list[np.ndarray] = []
    for name in frame.columns:
        cells = frame[name]
        if cells.dtype.is_numeric():
            names.append((name, None))
            values.append(cells.cast(pl.Float64).fill_null(float("nan")).to_numpy())
            continue
        words = cells.cast(pl.String)
        counted = words.drop_nulls().value_counts().sort(["count", name], descending=[True, False])
        for word in counted[name].head(CATEGORIES).to_list():
            names.append((name, word))
            values.append((words == word).fill_null(False).cast(pl.Float64).to_numpy())
    table = np.stack(values, axis=1)
    return names, np.where(np.isinf(table), np.nan, table)


def _rules(tree: object, names: list[tuple[str, str | None]]) -> list[Rule]:
    left, right = tree.children_left, tree.children_right  # type: ignore[attr-defined]
    feature, threshold = tree.feature, tree.threshold  # type: ignore[attr-defined]
    found: list[Rule] = []

    def walk(node: int, conditions: tuple[str, ...]) -> None:
        if left[node] < 0:
            found.append(Rule(conditions, float(tree.value[node].ravel()[0]), int(tree.n_node_samples[node])))  # type: ignore[attr-defined]
            return
        name, word = names[feature[node]]
        below = f"{name} <= {threshold[node]:.6g}" if word is None else f"{name} is not {word}"
        above = f"{name} > {threshold[node]:.6g}" if word is None else f"{name} is {word}"
        walk(left[node], (*conditions, below))
        walk(right[node], (*conditions, above))

    walk(0, ())
    return found


def _fidelity(true: np.ndarray, said: np.ndarray, seed: Seed) -> Interval:
    """Return R2 with a percentile bootstrap over the rows."""
    rng = np.random.default_rng(seed.derive("bootstrap").value)
    drawn = rng.integers(0, len(true), (RESAMPLES, len(true)))

    def score(rows: np.ndarray) -> np.ndarray:
        errors = ((true[rows] - said[rows]) ** 2).sum(axis=-1)
        spread = ((true[rows] - true[rows].mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
        tiny = np.finfo(np.float64).tiny
        return np.asarray(np.where(spread > tiny, 1 - errors / np.maximum(spread, tiny), (errors <= tiny) * 1.0))

    low, high = np.quantile(score(drawn), [0.025, 0.975])
    value = float(score(np.arange(len(true))))
    return Interval(value, min(value, float(low)), max(value, float(high)))
