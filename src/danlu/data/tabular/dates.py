"""Dates and times as numbers: elapsed time, and the position in the year, the week and the day.

A cycle becomes a point on a circle, so that December lies beside January.
"""

import numpy as np
import polars as pl

from danlu.core.errors import DataError
from danlu.data.columns import DATE_FORMATS, date_format

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
    days = microseconds / MICROSECONDS_A_DAY
    if part == "elapsed":
        return np.asarray(days)
    cycle, _, wave = part.partition("-")
    angle = 2 * np.pi * days / CYCLE_DAYS[cycle]
    return np.sin(angle) if wave == "sin" else np.cos(angle)


def _parsed(values: pl.Series, form: str | None, origin: str) -> pl.Series:
    form = form or date_format(values) or DATE_FORMATS[0]
    parsed = values.str.strptime(pl.Datetime("us"), form, strict=False)
    refuse_unparsed(values, parsed, origin, f"a date like {form}")
    return parsed


def refuse_unparsed(values: pl.Series, parsed: pl.Series, origin: str, wanted: str) -> None:
    """Raise DataError at the first present value that could not be parsed."""
    wrong = parsed.is_null() & values.is_not_null()
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        raise DataError(f"{origin}: column {values.name!r}, row {row + 1}: {values[row]!r} is not {wanted}")
