"""Categories: codes for an embedding, one-hot columns, or target encoding.

Missing values and rare or unseen ones have codes of their own, so that a model has met both before it is used.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, NonNegativeFloat, PositiveInt

from danlu.core.component import Frozen
from danlu.core.seeds import Seed
from danlu.data.reading.spelling import as_words, match, merge_spellings
from danlu.data.tabular.json_array import JsonArray
from danlu.data.tabular.scaling import Scaling, Standard
from danlu.errors import DataError
from danlu.recipe.components import EncoderOptions

if TYPE_CHECKING:
    from sklearn.preprocessing import TargetEncoder

MISSING, OTHER = 0, 1  # the first two codes of every category
SPECIAL = ("missing", "other")


@dataclass(frozen=True)
class TargetValues:
    """Hold the target of the training rows.

    Attributes:
        values: class codes or numbers, [rows].
        continuous: whether they are numbers.
        seed: decides folds and all random choices.
    """

    values: np.ndarray
    continuous: bool
    seed: Seed


class Encoder(EncoderOptions):
    """Encode a category for the model."""


class Embedding(Encoder):
    """Learn a vector for each value."""

    name: Literal["embedding"] = "embedding"


class OneHot(Encoder):
    """Encode the `most` most frequent values as columns of ones and zeros."""

    name: Literal["one-hot"] = "one-hot"
    most: PositiveInt = 100


class TargetEncoding(Encoder):
    """Encode each value by the target's mean, shrunk towards the overall mean.

    Micci-Barreca 2001, https://doi.org/10.1145/507533.507538. Training rows get their value from the other folds, so
    that no row sees its own label.
    """

    name: Literal["target"] = "target"
    folds: Annotated[int, Field(ge=2)] = 5
    smoothing: Literal["auto"] | NonNegativeFloat = "auto"


ENCODERS: dict[str, type[Encoder]] = {"embedding": Embedding, "one-hot": OneHot, "target": TargetEncoding}


class CategoryState(Frozen):
    """Hold a category's values; the code of the i-th is i + 2.

    Attributes:
        merged: whether values that differ only in case and white space count as one.
    """

    column: str
    values: tuple[str, ...]
    merged: bool = False

    @classmethod
    def fit(cls, values: pl.Series, rare: int, merged: bool, most: int | None = None) -> Self:
        """Learn the frequent values of the training split, as they are spelled there most often."""
        words = _words(values.drop_nulls(), merged)
        counts = merge_spellings(words.rename("value").value_counts().rows())
        frequent = [word for word, count in sorted(counts, key=lambda row: (-row[1], row[0])) if count >= rare]
        return cls(column=values.name, values=tuple(sorted(frequent[:most])), merged=merged)

    @property
    def size(self) -> int:
        """The number of codes."""
        return len(self.values) + len(SPECIAL)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each code."""
        return (*SPECIAL, *self.values)

    def knows_none(self, values: pl.Series) -> bool:
        """Return whether none of some present values is known."""
        return match(_words(values, self.merged), self.values).null_count() == len(values)

    def codes(self, frame: pl.DataFrame) -> np.ndarray:
        """Return the code of each row, [rows] int64."""
        words = match(_words(frame[self.column], self.merged), self.values)
        known = pl.Series(self.values, dtype=pl.String)
        codes = pl.Series(np.arange(len(known), dtype=np.int64) + len(SPECIAL))
        found = words.replace_strict(known, codes, default=OTHER, return_dtype=pl.Int64)
        absent = frame[self.column].is_null()
        return found.set(absent, MISSING).to_numpy() if absent.any() else found.to_numpy()


def _words(values: pl.Series, merged: bool) -> pl.Series:
    if values.dtype.is_nested() or values.dtype == pl.Binary:
        raise DataError(f"column {values.name!r} holds {values.dtype}, not words", code="DL211")
    words = as_words(values)
    return normalize_spelling(words) if merged else words


def normalize_spelling(words: pl.Series) -> pl.Series:
    """Strip outer white space, collapse inner white space, and lower the case."""
    return words.str.strip_chars().str.replace_all(r"\s+", " ").str.to_lowercase()


class OneHotState(Frozen):
    """Encode a category as columns of ones and zeros."""

    kind: Literal["one-hot"] = "one-hot"
    category: CategoryState

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return (self.category.column,)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.category.column}={name}" for name in self.category.names)

    def apply(self, frame: pl.DataFrame, answers: TargetValues | None) -> np.ndarray:
        """Return the one-hot columns, [rows, values + 2] float32."""
        return self.of_codes(self.category.codes(frame))

    def of_codes(self, codes: np.ndarray) -> np.ndarray:
        """Return the one-hot columns of codes, [rows, values + 2] float32."""
        ones: np.ndarray = np.eye(self.category.size, dtype=np.float32)[codes]
        return ones


class TargetState(Frozen):
    """Encode a category by the target's mean for each value.

    Attributes:
        table: the encoding of each code, [codes, columns]; one column, or one per class where there are three or more.
        scalings: of each column.
    """

    kind: Literal["target"] = "target"
    category: CategoryState
    options: TargetEncoding
    table: JsonArray
    scalings: tuple[Scaling, ...]

    @classmethod
    def fit(cls, category: CategoryState, options: TargetEncoding, frame: pl.DataFrame, answers: TargetValues) -> Self:
        """Learn the encoding of each code from the training rows."""
        codes = category.codes(frame)
        encoder = _target_encoder(options, answers).fit(codes[:, None], answers.values)
        width = len(encoder.encodings_)
        table = np.tile(np.atleast_1d(encoder.target_mean_), (category.size, 1)).astype(np.float32)
        for column in range(width):
            table[encoder.categories_[0], column] = encoder.encodings_[column]
        scalings = tuple(Standard().fit(table[codes, column].astype(np.float64)) for column in range(width))
        return cls(category=category, options=options, table=JsonArray.from_numpy(table), scalings=scalings)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return (self.category.column,)

    @property
    def names(self) -> tuple[str, ...]:
        width = len(self.scalings)
        return tuple(f"{self.category.column} target" + (f" {i}" if width > 1 else "") for i in range(width))

    def apply(self, frame: pl.DataFrame, answers: TargetValues | None) -> np.ndarray:
        """Return the encoding, [rows, columns] float32.

        Cross-fitted for the training rows, whose targets are given.
        """
        codes = self.category.codes(frame)
        if answers is None:
            return self.of_codes(codes)
        return self._scaled(_cross_fitted(self.options, codes[:, None], answers))

    def of_codes(self, codes: np.ndarray) -> np.ndarray:
        """Return the encoding of codes, [rows, columns] float32."""
        return self._scaled(self.table.array[codes])

    def _scaled(self, encoded: np.ndarray) -> np.ndarray:
        return np.stack(
            [scaling.apply(encoded[:, column]) for column, scaling in enumerate(self.scalings)], axis=1
        ).astype(np.float32)


def _cross_fitted(options: TargetEncoding, codes: np.ndarray, answers: TargetValues) -> np.ndarray:
    """Encode each training row as learned from the other folds, [rows, columns]."""
    from sklearn.model_selection import KFold, StratifiedKFold

    seed = answers.seed.derive("target-encoding").value % 2**32
    folds = (KFold if answers.continuous else StratifiedKFold)(options.folds, shuffle=True, random_state=seed)
    encoded: np.ndarray | None = None
    for others, held in folds.split(codes, answers.values):
        found = _target_encoder(options, answers).fit(codes[others], answers.values[others]).transform(codes[held])
        encoded = np.empty((len(codes), found.shape[1])) if encoded is None else encoded
        encoded[held] = found
    assert encoded is not None
    return encoded


def _target_encoder(options: TargetEncoding, answers: TargetValues) -> "TargetEncoder":
    from sklearn.preprocessing import TargetEncoder

    kind = "continuous" if answers.continuous else "binary" if answers.values.max() <= 1 else "multiclass"
    return TargetEncoder(target_type=kind, smooth=options.smoothing)
