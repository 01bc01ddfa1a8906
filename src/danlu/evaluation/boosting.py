"""Gradient boosting of trees (scikit-learn's histogram trees) as a baseline for tables.

In: the columns as the model's own preprocessing gives them, categories as such. Out: predictions for each split.
"""

import numpy as np
import polars as pl

from danlu.data.place import Place
from danlu.data.splits import Part
from danlu.data.tabular.preprocessor import TabularPreprocessor
from danlu.data.targets import Classes, Quantity

BLOCK_ROWS = 50_000
MOST_CATEGORIES = 255  # a histogram tree's limit
EARLY_FROM = 2_000  # training rows; with fewer, none can be spared for early stopping
MOST_ROUNDS = 200


def boosted_answers(
    preprocessor: TabularPreprocessor,
    place: Place,
    learned: Part,
    answers: np.ndarray,
    judged: dict[str, Part],
    target: Classes | Quantity,
) -> dict[str, np.ndarray]:
    """Fit boosted trees and predict each split.

    Args:
        learned: the training rows.
        answers: their class indices or numbers, [rows].
        judged: the splits, by name.

    Returns:
        split -> probabilities [rows, classes] or numbers [rows].
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    numbers = preprocessor.arrays(learned.frame.head(1), place.origin)[0].shape[1]
    sizes = preprocessor.inputs.cardinalities
    options = {
        "categorical_features": [numbers + i for i, size in enumerate(sizes) if size <= MOST_CATEGORIES] or None,
        "early_stopping": len(learned) >= EARLY_FROM,
        "max_iter": MOST_ROUNDS,
        "random_state": 0,
    }
    train = _features(preprocessor, learned.frame, place)
    if isinstance(target, Quantity):
        fitted = HistGradientBoostingRegressor(**options).fit(train, answers)
        return {name: _asked(fitted.predict, preprocessor, part, place) for name, part in judged.items()}
    fitted = HistGradientBoostingClassifier(**options).fit(train, answers)
    found: dict[str, np.ndarray] = {}
    for name, part in judged.items():
        probabilities = np.zeros((len(part), len(target.labels)))
        probabilities[:, fitted.classes_] = _asked(fitted.predict_proba, preprocessor, part, place)
        found[name] = probabilities
    return found


def _asked(ask: object, preprocessor: TabularPreprocessor, part: Part, place: Place) -> np.ndarray:
    blocks = part.blocks(preprocessor.columns, BLOCK_ROWS)
    return np.concatenate([ask(_features(preprocessor, block, place)) for block in blocks])  # type: ignore[operator]


def _features(preprocessor: TabularPreprocessor, frame: pl.DataFrame, place: Place) -> np.ndarray:
    """Return numbers and category codes side by side, [rows, numbers + categories]."""
    numeric, codes = preprocessor.arrays(frame, place.origin)
    return np.concatenate([numeric, codes.astype(np.float32)], axis=1)
