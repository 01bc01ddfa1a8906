"""Gradient boosting of trees (scikit-learn's histogram trees) as a baseline for tables.

In: the columns as the model's own preprocessing gives them, categories as such. Out: predictions for each split.
"""

import numpy as np
import polars as pl

from danlu.data.place import Origin
from danlu.data.splits import Split
from danlu.data.tabular.preprocessor import TabularPreprocessor
from danlu.data.targets import ClassTarget, NumericTarget

BLOCK_ROWS = 50_000
MAX_CATEGORIES = 255  # a histogram tree's limit
EARLY_STOPPING_FROM_ROWS = 2_000  # training rows; with fewer, none can be spared for early stopping
MAX_ROUNDS = 200


def predict_boosting(
    preprocessor: TabularPreprocessor,
    place: Origin,
    learned: Split,
    answers: np.ndarray,
    judged: dict[str, Split],
    target: ClassTarget | NumericTarget,
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

    numbers = preprocessor.arrays(learned.frame.head(1), place.name)[0].shape[1]
    sizes = preprocessor.inputs.cardinalities
    options = {
        "categorical_features": [numbers + i for i, size in enumerate(sizes) if size <= MAX_CATEGORIES] or None,
        "early_stopping": len(learned) >= EARLY_STOPPING_FROM_ROWS,
        "max_iter": MAX_ROUNDS,
        "random_state": 0,
    }
    train = _boosting_features(preprocessor, learned.frame, place)
    if isinstance(target, NumericTarget):
        fitted = HistGradientBoostingRegressor(**options).fit(train, answers)
        return {name: _predict_blocks(fitted.predict, preprocessor, part, place) for name, part in judged.items()}
    fitted = HistGradientBoostingClassifier(**options).fit(train, answers)
    found: dict[str, np.ndarray] = {}
    for name, part in judged.items():
        probabilities = np.zeros((len(part), len(target.labels)))
        probabilities[:, fitted.classes_] = _predict_blocks(fitted.predict_proba, preprocessor, part, place)
        found[name] = probabilities
    return found


def _predict_blocks(ask: object, preprocessor: TabularPreprocessor, part: Split, place: Origin) -> np.ndarray:
    blocks = part.iter_blocks(preprocessor.columns, BLOCK_ROWS)
    return np.concatenate([ask(_boosting_features(preprocessor, block, place)) for block in blocks])  # type: ignore[operator]


def _boosting_features(preprocessor: TabularPreprocessor, frame: pl.DataFrame, place: Origin) -> np.ndarray:
    """Return numbers and category codes side by side, [rows, numbers + categories]."""
    numeric, codes = preprocessor.arrays(frame, place.name)
    return np.concatenate([numeric, codes.astype(np.float32)], axis=1)
