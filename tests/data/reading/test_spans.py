"""Times of day and durations are seconds, however a program writes them."""

import polars as pl
import pytest

from danlu.data.reading.spans import parse_spans, unit_of_numbers


@pytest.mark.parametrize(
    ("word", "seconds"),
    [
        ("08:30:00", 30_600.0),
        (" 8:30 ", 30_600.0),
        ("8:30 PM", 73_800.0),
        ("12:00 a.m.", 0.0),
        ("00:00:00.250000", 0.25),
        ("-01:30:00", -5_400.0),
        ("0 days 08:30:00", 30_600.0),  # pandas
        ("-1 days +23:59:00", -60.0),  # pandas: a minute before
        ("1 day, 2:03:04.5", 93_784.5),  # Python
        ("2 days", 172_800.0),
        ("PT8H30M", 30_600.0),  # ISO 8601, polars
        ("P1DT2H3M4.5S", 93_784.5),
        ("-PT5S", -5.0),
        ("13:00 PM", None),
        ("08:61", None),
        ("P", None),
        ("5", None),
        ("soon", None),
    ],
)
def test_a_span_is_its_seconds(word: str, seconds: float | None) -> None:
    assert pl.select(parse_spans(pl.lit(word))).item() == seconds


@pytest.mark.parametrize(
    ("values", "is_json", "unit"),
    [
        ([90_000, 180_000, None], True, "ms"),  # pandas
        ([90_000, 180_000], False, "ms"),  # the same records in memory
        ([60 * (row + 1) for row in range(50)], True, "s"),
        ([60_000 * (row + 1) for row in range(50)], True, "ms"),
        ([5_000, 4_000], True, None),
        ([5_000, 4_000], False, "s"),
        ([5.5, 7.25], True, "s"),
        ([0, 0], True, "s"),
        ([None, None], True, "s"),
    ],
)
def test_numbers_for_durations_are_milliseconds_where_only_these_are_like_the_training(
    values: list[float | None], is_json: bool, unit: str | None
) -> None:
    table = pl.DataFrame({"x": pl.Series(values, dtype=pl.Float64)})
    assert unit_of_numbers(table, "x", (0.0, 10_710.0), is_json) == unit
