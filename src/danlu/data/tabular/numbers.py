"""Numeric features: one column, or one part of a date, with its limits, its fill value and its scaling.

A date becomes elapsed time and positions in the year, the week and the day; a cycle becomes a point on a circle, so
that December lies beside January.
"""

from collections.abc import Callable
from typing import Literal, Self

import numpy as np
import polars as pl

from danlu.core.component import Frozen
from danlu.data.reading.dates import ISO, parse_any_date
from danlu.data.tabular.scaling import Scaler, Scaling
from danlu.errors import DataError

Fill = Literal["median", "mean", "most-frequent", "constant", "keep"]
Limits = tuple[float, float]


def _most_frequent(values: np.ndarray) -> float:
    """Return the smallest of the most frequent values."""
    distinct, counts = np.unique(values, return_counts=True)
    return float(distinct[counts.argmax()])


def quantile(values: np.ndarray, fraction: float) -> float:
    """Return a linearly interpolated quantile of [rows] float64 without NaN.

    polars finds it four times as fast as numpy.
    """
    return float(pl.Series(values).quantile(fraction, interpolation="linear"))  # type: ignore[arg-type]


FILLS: dict[str, Callable[[np.ndarray], float]] = {
    "median": lambda values: quantile(values, 0.5),
    "mean": lambda values: float(values.mean()),
    "most-frequent": _most_frequent,
}


class NumberState(Frozen):
    """Hold the fitted state of a numeric feature.

    Attributes:
        column: where it is read from.
        part: which part of a date, None for a number.
        form: the format of dates that are strings, of bundles before columns had a reading.
        limits: values beyond are clipped to them; None leaves values as they are.
        fill: replaces a missing value, in the column's own units; None leaves it missing.
        scaling: applied last.
    """

    column: str
    part: str | None = None
    form: str | None = None
    limits: Limits | None = None
    fill: float | None
    scaling: Scaling

    @classmethod
    def fit(
        cls,
        column: str,
        part: str | None,
        values: np.ndarray,
        fill: Fill,
        constant: float,
        scaler: Scaler,
        limits: Limits | None,
    ) -> Self:
        """Learn from the training split's values, [rows] float64, NaN where missing."""
        if limits is not None:
            values = np.clip(values, *limits)
        absent = np.isnan(values)
        present = values[~absent] if absent.any() else values
        if len(present) == 0:  # all missing among the training rows: nothing to learn, always 0
            return cls(column=column, part=part, fill=0.0, scaling=Scaling())
        if fill == "keep":
            return cls(column=column, part=part, limits=limits, fill=None, scaling=scaler.fit(present))
        stand_in = constant if fill == "constant" else FILLS[fill](present)
        filled = values.copy()
        filled[absent] = stand_in
        return cls(column=column, part=part, limits=limits, fill=stand_in, scaling=scaler.fit(filled))

    @property
    def name(self) -> str:
        return self.column if self.part is None else f"{self.column} {self.part}"

    def read(self, frame: pl.DataFrame, origin: str) -> np.ndarray:
        """Return the raw values, [rows] float64, NaN where missing."""
        return read_numbers(frame[self.column], self.part, origin, self.form)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Clip and scale raw values, [rows] float64; a missing one stays NaN."""
        if self.limits is not None:
            values = np.clip(values, *self.limits)
        return self.scaling.apply(values)

    @property
    def scaled_fill(self) -> float:
        """The scaled fill value of a missing one; NaN where it stays missing."""
        if self.fill is None:
            return float("nan")
        return float(self.scaling.apply(np.array([self.fill]))[0])


def read_numbers(values: pl.Series, part: str | None, origin: str, form: str | None = None) -> np.ndarray:
    """Read a column (or one part of a date) as [rows] float64.

    Missing and infinite values are NaN.

    Raises:
        DataError: a string is not a number, or not a date.
    """
    if part is not None:
        return date_part(values, part, form, origin)
    if values.dtype == pl.String:
        numbers = values.str.strip_chars().cast(pl.Float64, strict=False)
        refuse_unparsed(values, numbers, origin, "a number")
    elif values.dtype in (pl.Duration, pl.Time):
        numbers = values.cast(pl.Duration("us")).cast(pl.Int64) / 1e6  # seconds, whatever the unit in the file
    elif values.dtype.is_temporal() or values.dtype.is_nested() or values.dtype == pl.Binary:
        raise DataError(f"{origin}: column {values.name!r} holds {values.dtype}, not numbers", code="DL211")
    else:
        numbers = values.cast(pl.Float64)
    found = (numbers.fill_null(float("nan")) if numbers.null_count() else numbers).to_numpy()
    infinite = np.isinf(found)
    return np.where(infinite, np.nan, found) if infinite.any() else found


MICROSECONDS_A_DAY = 86_400 * 1_000_000
CYCLE_DAYS = {"year": 365.2425, "week": 7.0, "day": 1.0}
DATE_PARTS = ("elapsed", "year-sin", "year-cos", "week-sin", "week-cos", "day-sin", "day-cos")


def date_part(values: pl.Series, part: str, form: str | None, origin: str) -> np.ndarray:
    """Return days since 1970, or sine or cosine of the position in a cycle.

    NaN where the time is missing.

    Args:
        values: dates, datetimes or words that are dates, [rows].
        part: one of DATE_PARTS.
        form: the format of dates that are strings, as in training: 03/04 alone does not say which is the month.
        origin: where the values came from, for errors.

    Returns:
        [rows] float64.

    Raises:
        DataError: a word is no date.
    """
    if values.dtype == pl.String:
        values = _parsed(values, form, origin)
    microseconds = values.cast(pl.Datetime("us")).cast(pl.Int64).cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return part_of_time(microseconds, part)


def part_of_time(microseconds: np.ndarray, part: str) -> np.ndarray:
    """Return days since 1970, or sine or cosine of the position in a cycle.

    Args:
        microseconds: since 1970, [rows] float64, NaN where the time is missing.
        part: one of DATE_PARTS.
    """
    if part == "elapsed":
        return np.asarray(microseconds / MICROSECONDS_A_DAY)
    cycle, _, wave = part.partition("-")
    # The rest comes first: it is exact, so that all Mondays are one point on the circle.
    period = CYCLE_DAYS[cycle] * MICROSECONDS_A_DAY
    angle = 2 * np.pi * np.mod(microseconds, period) / period
    return np.asarray(np.sin(angle) if wave == "sin" else np.cos(angle))


def _parsed(values: pl.Series, form: str | None, origin: str) -> pl.Series:
    form = form or ISO
    parsed = values.to_frame().select(parse_any_date(pl.col(values.name), form)).to_series()
    refuse_unparsed(values, parsed, origin, f"a date like {form}")
    return parsed


def refuse_unparsed(values: pl.Series, parsed: pl.Series, origin: str, wanted: str) -> None:
    """Raise DataError at the first present value that could not be parsed."""
    wrong = parsed.is_null() & values.is_not_null()
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        raise DataError(
            f"{origin}: column {values.name!r}, row {row + 1}: {values[row]!r} is not {wanted}", code="DL211"
        )
