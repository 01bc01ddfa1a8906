"""What a linear baseline sees: each kind of data as a matrix of features.

Tables give the columns as the model's own preprocessing gives them, images small pictures, texts TF-IDF of words; any
other kind gives its prepared inputs as they are.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import polars as pl

from danlu.data.descriptors import Origin
from danlu.data.images.preprocessor import ImagePreprocessor
from danlu.data.kind import DataKind, Preprocessor
from danlu.data.splits import Split
from danlu.data.tabular.preprocessor import TabularPreprocessor

BLOCK_ROWS = 50_000  # dense feature rows at a time
IMAGE_SIDE = 16  # pixels of the linear model's images


class BaselineFeatures(ABC):
    """Turn rows into the feature matrix of a linear model.

    Attributes:
        seen: what the model sees, for its description.
        inverse_penalty: scikit-learn's `C`: how little the weights are held near 0.
        max_rows: training rows from which the linear model learns at most.
        learned: how many rows it learned from, in words; empty for all.
    """

    seen: ClassVar[str]
    inverse_penalty: ClassVar[float] = 1.0

    def __init__(self, preprocessor: Preprocessor, place: Origin, max_rows: int) -> None:
        self.columns, self.place, self.max_rows = preprocessor.columns, place, max_rows
        self.learned = ""

    @property
    def description(self) -> str:
        return f"a linear model of {self.seen}{self.learned}"

    def fit(self, split: Split) -> Any:
        """Learn from the training rows and return their feature matrix."""
        if len(split) == self.max_rows:
            self.learned = f", learned from {len(split):,} training rows"
        return self.fit_matrix(split.frame)

    def fit_matrix(self, train: pl.DataFrame) -> Any:
        """Learn what the features need besides the preprocessor, by default nothing; return the matrix."""
        return self.matrix(train)

    @abstractmethod
    def matrix(self, frame: pl.DataFrame) -> Any:
        """Return the feature matrix, [rows, features], dense or sparse."""

    def predict(self, split: Split, answer: Callable[[Any], np.ndarray]) -> np.ndarray:
        """Predict a split block by block with a fitted model."""
        blocks = split.iter_blocks(self.columns, BLOCK_ROWS)
        return np.concatenate([answer(self.matrix(block)) for block in blocks])


class TableFeatures(BaselineFeatures):
    """Give numbers and one-hot categories, as the model's preprocessing makes them."""

    seen = "the same columns"

    def __init__(self, preprocessor: TabularPreprocessor, place: Origin, max_rows: int) -> None:
        super().__init__(preprocessor, place, max_rows)
        self.preprocessor = preprocessor
        self.fills: np.ndarray | None = None

    def fit_matrix(self, train: pl.DataFrame) -> Any:
        """Learn medians where the preprocessing keeps missing values, which a linear model does not accept."""
        if self.preprocessor.keeps_missing:
            numeric, _ = self.preprocessor.arrays(train, self.place.name)
            self.fills = np.nanmedian(numeric, axis=0)
        return self.matrix(train)

    def matrix(self, frame: pl.DataFrame) -> Any:
        numeric, codes = self.preprocessor.arrays(frame, self.place.name)
        if self.fills is not None:
            numeric = np.where(np.isnan(numeric), self.fills, numeric)
        one_hot = [
            np.eye(size, dtype=np.float32)[codes[:, index]]
            for index, size in enumerate(self.preprocessor.inputs.cardinalities)
        ]
        return np.concatenate([numeric, *one_hot], axis=1)


class ImageFeatures(BaselineFeatures):
    """Give the pixels of small versions of the images."""

    seen = f"{IMAGE_SIDE}x{IMAGE_SIDE} pixels"

    def __init__(self, preprocessor: ImagePreprocessor, place: Origin, max_rows: int) -> None:
        super().__init__(preprocessor, place, max_rows)
        self.small = preprocessor.model_copy(update={"size": IMAGE_SIDE})

    def matrix(self, frame: pl.DataFrame) -> Any:
        examples = self.small.transform(frame, self.place)
        pixels = examples.columns[0].take(np.arange(frame.height))["image"].numpy()
        return pixels.reshape(len(pixels), -1) / 255.0


class TextFeatures(BaselineFeatures):
    """Give TF-IDF of words and pairs of words."""

    seen = "TF-IDF of words and pairs of words"
    inverse_penalty = 10.0  # the features of one text are few and small

    def fit_matrix(self, train: pl.DataFrame) -> Any:
        from sklearn.feature_extraction.text import TfidfVectorizer

        # Character pairs if words are not separated by spaces, as in Chinese.
        texts = self._texts(train)
        spaced = np.mean([text.count(" ") > len(text) / 20 for text in texts]) > 0.5
        unit = "word" if spaced else "char"
        self.vectorizer = TfidfVectorizer(
            analyzer=unit, ngram_range=(1, 2), min_df=2, max_features=50_000, sublinear_tf=True
        )
        return self.vectorizer.fit_transform(texts)

    def matrix(self, frame: pl.DataFrame) -> Any:
        return self.vectorizer.transform(self._texts(frame))

    def _texts(self, frame: pl.DataFrame) -> list[str]:
        return frame[self.columns[0]].fill_null("").to_list()


class PreparedFeatures(BaselineFeatures):
    """Give all numbers of the prepared inputs."""

    seen = "the same inputs"

    def __init__(self, preprocessor: Preprocessor, place: Origin, max_rows: int) -> None:
        super().__init__(preprocessor, place, max_rows)
        self.preprocessor = preprocessor

    def matrix(self, frame: pl.DataFrame) -> Any:
        rows, examples = np.arange(frame.height), self.preprocessor.transform(frame, self.place)
        parts = [values for column in examples.columns for values in column.take(rows).values()]
        return np.concatenate([part.numpy().reshape(len(rows), -1) for part in parts], axis=1)


def baseline_features(kind: DataKind, preprocessor: Preprocessor, place: Origin) -> BaselineFeatures:
    """Return the features of a kind of data.

    Args:
        kind: the kind of data.
        preprocessor: fitted on the training split.
        place: names the rows in errors, and is where relative paths start.
    """
    if isinstance(preprocessor, TabularPreprocessor):
        return TableFeatures(preprocessor, place, kind.max_baseline_rows)
    if isinstance(preprocessor, ImagePreprocessor):
        return ImageFeatures(preprocessor, place, kind.max_baseline_rows)
    if kind.content_is_text:
        return TextFeatures(preprocessor, place, kind.max_baseline_rows)
    return PreparedFeatures(preprocessor, place, kind.max_baseline_rows)
