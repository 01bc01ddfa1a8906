"""Times of day and durations are seconds, however a program writes them."""

import polars as pl
import pytest

from danlu.data.reading.spans import parse_spans


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
