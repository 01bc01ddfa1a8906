"""Tables: columns of numbers, categories and dates -> two tensors. Fitted on the training split alone.

Missing numbers become the training median, rare and unseen categories share one code, dates become numbers.
"""

from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import polars as pl

from danlu.core.component import Frozen
from danlu.core.errors import DataError
from danlu.data.columns import parse_dates
from danlu.data.dataset import Dataset
from danlu.data.place import Hints, Place
from danlu.data.scaling import Scaler, Scaling
from danlu.data.specs import TabularInputs
from danlu.data.splits import TrainSplit
from danlu.recipe.sections import Data

if TYPE_CHECKING:
    from danlu.data.examples import Examples, Feature

MISSING, OTHER = 0, 1  # the first two codes of every category
RARE = 2  # a category with fewer training rows than this shares OTHER, which thereby is trained

DAYS = 86_400 * 1_000_000  # microseconds a day
DATE_PARTS = ("elapsed", "year-sin", "year-cos", "week-sin", "week-cos", "day-sin", "day-cos")


class NumberState(Frozen):
    """A numeric feature: what stands for a missing value, and the scaling."""

    column: str
    part: str | None = None
    fill: float
    scaling: Scaling


class CategoryState(Frozen):
    """A category: its values; the code of the i-th is i + 2."""

    column: str
    values: tuple[str, ...]


class TabularPreprocessor(Frozen):
    """What was learned of a table's columns, and its application to any table with these columns."""

    kind: Literal["tabular"] = "tabular"
    numbers: tuple[NumberState, ...]
    categories: tuple[CategoryState, ...]

    @classmethod
    def fit(cls, train: TrainSplit, dataset: Dataset, section: Data, hints: Hints) -> Self:
        """Learn from the training split's rows."""
        scaler = section.scale
        assert isinstance(scaler, Scaler)
        numbers: list[NumberState] = []
        categories: list[CategoryState] = []
        for column in dataset.used:
            values = train.frame[column.name]
            if column.type == "category":
                categories.append(CategoryState(column=column.name, values=_vocabulary(values)))
                continue
            parts = DATE_PARTS if column.type == "datetime" else (None,)
            for part in parts:
                numbers.append(_fit_number(column.name, part, _numeric(values, part, dataset.origin), scaler))
        return cls(numbers=tuple(numbers), categories=tuple(categories))

    @property
    def inputs(self) -> TabularInputs:
        cardinalities = tuple(len(state.values) + 2 for state in self.categories)
        return TabularInputs(numeric=len(self.numbers), cardinalities=cardinalities)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that `transform` reads."""
        names = [*(state.column for state in self.numbers), *(state.column for state in self.categories)]
        return tuple(dict.fromkeys(names))

    def arrays(self, frame: pl.DataFrame, origin: str) -> tuple[np.ndarray, np.ndarray]:
        """Numbers [rows, numeric] float32 and category codes [rows, categories] int64.

        Raises:
            DataError: a value that is not a number stands where one should.
        """
        numeric = np.empty((frame.height, len(self.numbers)), dtype=np.float32)
        for index, state in enumerate(self.numbers):
            values = _numeric(frame[state.column], state.part, origin)
            numeric[:, index] = state.scaling.apply(np.where(np.isnan(values), state.fill, values))
        codes = np.empty((frame.height, len(self.categories)), dtype=np.int64)
        for index, category in enumerate(self.categories):
            codes[:, index] = _codes(frame[category.column], category.values)
        return numeric, codes

    def transform(self, frame: pl.DataFrame, place: Place) -> "Examples":
        """A table as model inputs, one sample a row, in order."""
        import torch

        from danlu.data.examples import Dense, Examples

        numeric, codes = self.arrays(frame, place.origin)
        features: list[Feature] = []
        if self.numbers:
            features.append(Dense("numeric", torch.from_numpy(numeric)))
        if self.categories:
            features.append(Dense("categories", torch.from_numpy(codes)))
        return Examples(tuple(features))


def _vocabulary(values: pl.Series) -> tuple[str, ...]:
    counts = values.drop_nulls().cast(pl.String).rename("value").value_counts()
    return tuple(sorted(name for name, count in counts.rows() if count >= RARE))


def _codes(values: pl.Series, vocabulary: tuple[str, ...]) -> np.ndarray:
    if values.dtype.is_nested() or values.dtype == pl.Binary:
        raise DataError(f"column {values.name!r} holds {values.dtype}, not words")
    words = values.cast(pl.String)
    known = pl.Series(vocabulary, dtype=pl.String)
    codes = pl.Series(np.arange(len(vocabulary), dtype=np.int64) + 2)
    found = words.replace_strict(known, codes, default=OTHER, return_dtype=pl.Int64)
    return found.set(words.is_null(), MISSING).to_numpy()


def _fit_number(column: str, part: str | None, values: np.ndarray, scaler: Scaler) -> NumberState:
    present = values[~np.isnan(values)]
    if len(present) == 0:  # all missing among the training rows: nothing to learn, always 0
        return NumberState(column=column, part=part, fill=0.0, scaling=Scaling())
    fill = float(np.median(present))
    filled = np.where(np.isnan(values), fill, values)
    return NumberState(column=column, part=part, fill=fill, scaling=scaler.fit(filled))


def _numeric(values: pl.Series, part: str | None, origin: str) -> np.ndarray:
    """A column (or one part of a date) as [rows] float64; missing and infinite values are NaN."""
    if part is not None:
        return _date_part(values, part, origin)
    if values.dtype == pl.String:
        numbers = values.str.strip_chars().cast(pl.Float64, strict=False)
        _refuse_unparsed(values, numbers, origin, "a number")
    elif values.dtype in (pl.Duration, pl.Time):
        numbers = values.cast(pl.Duration("us")).cast(pl.Int64) / 1e6  # seconds, in whatever unit they came
    elif values.dtype.is_temporal() or values.dtype.is_nested() or values.dtype == pl.Binary:
        raise DataError(f"{origin}: column {values.name!r} holds {values.dtype}, not numbers")
    else:
        numbers = values.cast(pl.Float64)
    found = numbers.fill_null(float("nan")).to_numpy()
    return np.where(np.isfinite(found), found, np.nan)


def _date_part(values: pl.Series, part: str, origin: str) -> np.ndarray:
    """Days since 1970, or the sine or cosine of where in the year, week or day a time lies, [rows] float64."""
    if values.dtype == pl.String:
        parsed = parse_dates(values)
        if parsed is None:
            parsed = values.str.to_datetime(strict=False)
            _refuse_unparsed(values, parsed, origin, "a date")
        values = parsed
    microseconds = values.cast(pl.Datetime("us")).cast(pl.Int64).cast(pl.Float64).fill_null(float("nan")).to_numpy()
    days = microseconds / DAYS
    if part == "elapsed":
        return days
    cycle, _, wave = part.partition("-")
    angle = 2 * np.pi * days / {"year": 365.2425, "week": 7.0, "day": 1.0}[cycle]
    return np.sin(angle) if wave == "sin" else np.cos(angle)


def _refuse_unparsed(values: pl.Series, parsed: pl.Series, origin: str, wanted: str) -> None:
    wrong = parsed.is_null() & values.is_not_null()
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        raise DataError(f"{origin}: column {values.name!r}, row {row + 1}: {values[row]!r} is not {wanted}")
