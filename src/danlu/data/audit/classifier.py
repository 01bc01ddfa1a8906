"""A quick probabilistic classifier for the audit's questions: are two sets alike, is a label likely?

Logistic regression by Newton's method on simple features, with numpy alone, since importing more would take longer than
the whole check. Nothing of it is kept or used for predictions.
"""

import numpy as np
import polars as pl

from danlu.core.seeds import Seed
from danlu.data.columns import Column
from danlu.data.frames import words_to_compare

MOST_WORDS = 15  # of a category that get a feature of their own
MOST_FEATURES = 200
STEPS = 8  # of Newton's method, which has converged by then
RIDGE = 1.0
FOLDS = 5


def features_of(frame: pl.DataFrame, columns: tuple[Column, ...], seed: Seed) -> np.ndarray:
    """Build features for the audit's classifier, [rows, features] float64.

    Ranks of numbers and dates, their squares, missing values, and frequent words of categories.

    Args:
        frame: the rows.
        columns: the used ones; a sample where there are very many.
    """
    usable = [column for column in columns if column.type in ("number", "datetime", "category")]
    order = np.random.default_rng(seed.derive("features").value).permutation(len(usable))
    parts: list[np.ndarray] = [np.ones(frame.height)]
    for position in order:
        if len(parts) >= MOST_FEATURES:
            break
        parts += _of_column(frame[usable[position].name], usable[position].type)
    return np.column_stack(parts[:MOST_FEATURES])


def _of_column(values: pl.Series, column_type: str) -> list[np.ndarray]:
    absent = values.is_null().to_numpy().astype(np.float64)
    found = [absent] if 0 < absent.sum() < len(absent) else []
    if column_type != "category" and values.dtype != pl.String:
        ranks = values.rank("average").fill_null(values.len() / 2).to_numpy() / max(1, values.len())
        centred = 2 * ranks - 1
        return [*found, centred, centred**2]
    words = words_to_compare(values)
    counts = words.drop_nulls().rename("word").value_counts(sort=True).head(MOST_WORDS + 1)
    frequent = sorted(counts["word"].to_list())[:MOST_WORDS]
    return [*found, *((words == word).fill_null(False).to_numpy().astype(np.float64) for word in frequent)]


def out_of_fold(features: np.ndarray, labels: np.ndarray, classes: int, seed: Seed) -> np.ndarray:
    """Predict each row's class probabilities by models that have not seen it, [rows, classes].

    Args:
        features: [rows, features].
        labels: from 0 to classes - 1, [rows].
    """
    folds = np.random.default_rng(seed.derive("folds").value).permutation(len(labels)) % FOLDS
    found = np.zeros((len(labels), classes))
    for fold in range(FOLDS):
        held = folds == fold
        for label in range(classes if classes > 2 else 1):
            code = label if classes > 2 else 1
            weights = _fit(features[~held], (labels[~held] == code).astype(np.float64))
            found[held, code] = _sigmoid(features[held] @ weights)
    if classes == 2:
        found[:, 0] = 1 - found[:, 1]
    return np.asarray(found / np.maximum(found.sum(axis=1, keepdims=True), 1e-12))


def _fit(features: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Fit a ridge logistic regression, [features]."""
    weights = np.zeros(features.shape[1])
    penalty = RIDGE * np.eye(features.shape[1])
    for _ in range(STEPS):
        chances = _sigmoid(features @ weights)
        curvature = np.maximum(chances * (1 - chances), 1e-6)
        slope = features.T @ (answers - chances) - RIDGE * weights
        weights = weights + np.linalg.solve((features * curvature[:, None]).T @ features + penalty, slope)
    return weights


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -30, 30))))


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Return the area under the ROC curve, in [0, 1]; ties count half.

    0.5 where one side is empty.
    """
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if positives == 0 or negatives == 0:
        return 0.5
    ranks = pl.Series(scores).rank("average").to_numpy()
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))
