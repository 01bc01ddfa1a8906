"""Simple models that baselines are made of: linear models of each kind of data, and boosted trees of tables.

All are fitted on the same training split. Which baselines a task has is the task's to say. Linear models see texts as
TF-IDF of words and images as pixels; boosting (scikit-learn's histogram trees) sees the columns as the model's own
preprocessing gives them.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from danlu.data.dataset import Dataset
from danlu.data.descriptors import Origin
from danlu.data.kind import Preprocessor
from danlu.data.splits import Split, Splits, subsample
from danlu.data.tabular.preprocessor import TabularPreprocessor
from danlu.data.text.preprocessor import BlockPreprocessor
from danlu.evaluation.baseline_features import BLOCK_ROWS, BaselineFeatures, baseline_features

MAX_CATEGORIES = 255  # a histogram tree's limit
EARLY_STOPPING_FROM_ROWS = 2_000  # training rows; with fewer, none can be spared for early stopping
MAX_ROUNDS = 200


class BaselineModels:
    """Give a task's baselines the rows, and simple models of them.

    Attributes:
        train: the training split.
        eval_splits: the splits that are predicted, by name.
        content: the column of the texts or words.
    """

    def __init__(self, dataset: Dataset, splits: Splits, preprocessor: Preprocessor) -> None:
        self.preprocessor, self.kind = preprocessor, dataset.kind
        self.origin = Origin(dataset.origin, dataset.folder)
        self.train, self.eval_splits = splits.train, splits.eval_splits()
        self.content = dataset.used[0].name

    @cached_property
    def learned(self) -> Split:
        """The training rows that simple models are fitted on."""
        return subsample(self.train, self.kind.max_baseline_rows)

    @cached_property
    def _features(self) -> BaselineFeatures:
        return baseline_features(self.kind, self.preprocessor, self.origin)

    @cached_property
    def _matrix(self) -> Any:
        return self._features.fit(self.learned)

    @property
    def inverse_penalty(self) -> float:
        """How little a linear model's weights are held near 0, scikit-learn's `C`."""
        return self._features.inverse_penalty

    @property
    def linear_description(self) -> str:
        """The features of a linear model, in words."""
        return self._features.description

    @property
    def boosting_note(self) -> str:
        """What boosted trees were fitted on, if not on all rows."""
        few = len(self.learned) == self.kind.max_baseline_rows
        return f", learned from {len(self.learned):,} training rows" if few else ""

    def predict_linear(self, fit: Callable[[Any], Callable[[Any], np.ndarray]]) -> dict[str, np.ndarray]:
        """Fit a linear model on the features of `learned`, and predict each split."""
        predict = fit(self._matrix)
        return {name: self._features.predict(split, predict) for name, split in self.eval_splits.items()}

    def predict_boosting(self, answers: np.ndarray, classes: int | None) -> dict[str, np.ndarray] | None:
        """Fit boosted trees to class codes or numbers; None without a table.

        Args:
            answers: of `learned`, [rows].
            classes: number of classes; None for numbers.

        Returns:
            split -> probabilities [rows, classes] or numbers [rows].
        """
        if not isinstance(self.preprocessor, TabularPreprocessor):
            return None
        return predict_boosting(self.preprocessor, self.origin, self.learned, answers, self.eval_splits, classes)

    def successions(self, frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Return tokens, their predecessors, the rows that hold them, and the vocabulary size."""
        assert isinstance(self.preprocessor, BlockPreprocessor)
        return *self.preprocessor.successions(frame), self.preprocessor.tokenizer.vocabulary


def predict_boosting(
    preprocessor: TabularPreprocessor,
    place: Origin,
    learned: Split,
    answers: np.ndarray,
    eval_splits: dict[str, Split],
    classes: int | None,
) -> dict[str, np.ndarray]:
    """Fit boosted trees and predict each split.

    Args:
        learned: the training rows.
        answers: their class indices or numbers, [rows].
        eval_splits: the splits, by name.
        classes: number of classes; None for numbers.

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
    if classes is None:
        fitted = HistGradientBoostingRegressor(**options).fit(train, answers)
        return {
            name: _predict_blocks(fitted.predict, preprocessor, split, place) for name, split in eval_splits.items()
        }
    fitted = HistGradientBoostingClassifier(**options).fit(train, answers)
    found: dict[str, np.ndarray] = {}
    for name, split in eval_splits.items():
        probabilities = np.zeros((len(split), classes))
        probabilities[:, fitted.classes_] = _predict_blocks(fitted.predict_proba, preprocessor, split, place)
        found[name] = probabilities
    return found


def _predict_blocks(ask: object, preprocessor: TabularPreprocessor, split: Split, place: Origin) -> np.ndarray:
    blocks = split.iter_blocks(preprocessor.columns, BLOCK_ROWS)
    return np.concatenate([ask(_boosting_features(preprocessor, block, place)) for block in blocks])  # type: ignore[operator]


def _boosting_features(preprocessor: TabularPreprocessor, frame: pl.DataFrame, place: Origin) -> np.ndarray:
    """Return numbers and category codes side by side, [rows, numbers + categories]."""
    numeric, codes = preprocessor.arrays(frame, place.name)
    return np.concatenate([numeric, codes.astype(np.float32)], axis=1)
