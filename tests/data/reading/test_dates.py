"""Dates as people and programs write them, against Python's and pandas' own readings."""

from datetime import UTC, datetime, timedelta, timezone

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.data.reading.dates import (
    LAYOUTS,
    UNAMBIGUOUS,
    UNUSUAL,
    date_layouts,
    parse_any_date,
    parse_dates,
    parse_numbered_dates,
)

DAYS = st.datetimes(datetime(1970, 1, 1), datetime(2068, 12, 31)).map(lambda time: time.replace(microsecond=0))


def layouts_of(*words: str) -> tuple[str, ...]:
    return date_layouts(pl.Series("d", words, dtype=pl.String))


def read(layout: str, *words: str | None) -> list[datetime | None]:
    return _column(*words).select(parse_dates(pl.col("d"), layout)).to_series().to_list()


def read_any(layout: str, *words: str | None) -> list[datetime | None]:
    return _column(*words).select(parse_any_date(pl.col("d"), layout)).to_series().to_list()


def _column(*words: str | None) -> pl.DataFrame:
    return pl.DataFrame({"d": pl.Series(words, dtype=pl.String)})


@pytest.mark.parametrize(
    ("words", "layout"),
    [
        (["2024-01-15"], "%Y-%m-%d"),
        (["2024/01/15"], "%Y/%m/%d"),
        (["2024.01.15"], "%Y.%m.%d"),
        (["20240115"], "%Y%m%d"),
        (["15.01.2024", "1.2.2024"], "%d.%m.%Y"),
        (["01/15/2024"], "%m/%d/%Y"),
        (["15/01/2024"], "%d/%m/%Y"),
        (["15-01-2024"], "%d-%m-%Y"),
        (["01-15-2024"], "%m-%d-%Y"),
        (["15-Jan-2024", "01-DEC-2024"], "%d-%b-%Y"),
        (["15 Jan 2024", "1 sept 2024"], "%d %b %Y"),
        (["15 January 2024", "1st March 2024", "3 May 2024"], "%d %B %Y"),
        (["15JAN2024:10:00:00"], "%d%b%Y"),
        (["15/Jan/2024:10:00:00 +0000"], "%d/%b/%Y"),
        (["Jan 15, 2024", "Feb. 3 2024"], "%b %d, %Y"),
        (["January 15, 2024", "May 3rd, 2024"], "%B %d, %Y"),
        (["Mon, 15 Jan 2024 10:00:00 GMT"], "%d %b %Y"),
        (["Mon Jan 15 10:00:00 2024"], "%a %b %d %H:%M:%S %Y"),
        (["Mon Jan 15 10:00:00 +0000 2024"], "%a %b %d %H:%M:%S %z %Y"),
        (["2024-01"], "%Y-%m"),
        (["01/2024"], "%m/%Y"),
        (["Jan 2024"], "%b %Y"),
        (["2024Q1"], "%Y-Q%q"),
        (["2024-Q1", "2024q4"], "%Y-Q%q"),
        (["2024-W03", "2024W10"], "%G-W%V"),
        (["2024年1月15日", "2024 年 1 月 15 日"], "%Y年%m月%d日"),
        (["2024年1月"], "%Y年%m月"),
        (["2024년 1월 15일"], "%Y년 %m월 %d일"),
        (["2024. 1. 15."], "%Y. %m. %d."),
        (["15. 1. 2024."], "%d. %m. %Y."),
        (["15/01/95", "22/04/95"], "%d/%m/%y"),
        (["01/15/95"], "%m/%d/%y"),
        (["15.01.95"], "%d.%m.%y"),
        (["95-01-15"], "%y-%m-%d"),
        (["15-Jan-24"], "%d-%b-%y"),
        (["20240115T100000Z"], "%Y%m%dT%H%M%S%z"),
        (["2024-13-01"], "%Y-%d-%m"),
        (["01.15.2024"], "%m.%d.%Y"),
    ],
)
def test_one_layout_fits(words: list[str], layout: str) -> None:
    assert layouts_of(*words) == (layout,)
    assert None not in read(layout, *words)


@pytest.mark.parametrize(
    "words",
    [
        ["2024", "2023"],
        ["123456"],
        ["12345678"],  # no month 56
        ["18990101"],  # a date, but as likely a number
        ["30.02.2024"],
        ["2023-02-29"],
        ["0095-01-02"],
        ["2024-01-15", "soon"],
        ["2024-01-15 25:00"],
        ["2024-01-15 10"],
        ["2024-01-15 13:00 PM"],
        ["2024-01-15 10:00+15:00"],
        ["1.2.3"],
        ["10-12", "5-10"],
        ["192.168.0.1"],
        ["1001-12", "3207-11"],
        ["2023-W53"],
        ["20240115T1000"],  # of hour, minute and second, two digits each
        ["May", "June"],
        ["", " "],
        [],
    ],
)
def test_no_dates(words: list[str]) -> None:
    assert layouts_of(*words) == ()


def test_a_column_of_words_is_no_dates_though_it_begins_with_some() -> None:
    assert layouts_of(*["2024-01-15"] * 9, "2024-01-16", "unknown") == ()


@pytest.mark.parametrize(
    ("words", "layouts"),
    [
        (["01/02/2012", "01/03/2012"], ("%m/%d/%Y", "%d/%m/%Y")),
        (["01-02-2012"], ("%m-%d-%Y", "%d-%m-%Y")),
        (["01-02-03"], ("%m-%d-%y", "%d-%m-%y", "%y-%m-%d")),
        (["01/02/95"], ("%m/%d/%y", "%d/%m/%y")),
        (["15-01-24"], ("%d-%m-%y", "%y-%m-%d")),
        (["01/02/2024 10:00 AM"], ("%m/%d/%Y", "%d/%m/%Y")),
    ],
)
def test_ambiguous_layouts_are_all_returned(words: list[str], layouts: tuple[str, ...]) -> None:
    assert layouts_of(*words) == layouts


def test_layouts_that_read_all_words_alike_count_once() -> None:
    assert len(layouts_of("01/01/2024", "02/02/2024")) == 1
    assert layouts_of("1-May-2024") == ("%d-%b-%Y",)


def test_times_behind_days_become_utc() -> None:
    words = ["2024-01-15", "2024-01-15 10:00", "2024-01-15T10:00:30.5Z", "2024-01-15 10:00:00 UTC"]
    words += ["2024-01-15 10:00:00+00:00", "2024-01-15 10:00+0800", "2024-01-15 10:00:00.123456789-05"]
    words += ["2024-01-15 12:30 AM", "2024-01-15 12:30 p.m.", "2024-01-15 9pm", "2024-01-15T10:00+05:30[Asia/Kolkata]"]
    assert layouts_of(*words) == ("%Y-%m-%d",)
    day = datetime(2024, 1, 15)
    assert read("%Y-%m-%d", *words) == [
        day,
        day.replace(hour=10),
        day.replace(hour=10, second=30, microsecond=500_000),
        day.replace(hour=10),
        day.replace(hour=10),
        day.replace(hour=2),
        day.replace(hour=15, microsecond=123_456),
        day.replace(minute=30),
        day.replace(hour=12, minute=30),
        day.replace(hour=21),
        day.replace(hour=4, minute=30),
    ]


def test_a_zone_can_move_a_time_to_the_next_day() -> None:
    assert read("%d/%m/%Y", "31/12/2023 23:00-05:00") == [datetime(2024, 1, 1, 4)]


def test_two_digit_years_are_never_of_the_first_century() -> None:
    assert [time.year for time in read("%d/%m/%y", "01/01/69", "01/01/99", "01/01/00", "01/01/68") if time] == [
        1969,
        1999,
        2000,
        2068,
    ]
    assert read("%Y-%m-%d", "95-01-02") == [None]
    assert read("%d/%m/%Y", "01/02/95", "01/02/095 10:00") == [None, None]


def test_quarters_and_weeks_begin_on_their_first_day() -> None:
    assert read("%Y-Q%q", "2024Q1", "2024-Q4", "2024Q5") == [datetime(2024, 1, 1), datetime(2024, 10, 1), None]
    assert read("%G-W%V", "2020-W53", "2021-W01") == [datetime(2020, 12, 28), datetime(2021, 1, 4)]


def test_a_whole_format_is_used_as_it_is() -> None:
    words = ["15/01/2024 10:30", "15/01/2024", "15/01/2024 10:30:00"]
    assert read("%d/%m/%Y %H:%M", *words) == [datetime(2024, 1, 15, 10, 30), None, None]
    assert read("%d/%m/%y %I:%M %p", "15/01/24 12:05 am") == [datetime(2024, 1, 15, 0, 5)]
    assert read("%Y-%m-%dT%H:%M:%S%.f%z", "2024-01-15T10:00:00.25+02:00") == [datetime(2024, 1, 15, 8, 0, 0, 250_000)]
    assert read("%Y-%j", "2024-015") == [datetime(2024, 1, 15)]  # polars' own letters are allowed


def test_missing_words_stay_missing() -> None:
    assert read("%Y-%m-%d", None, "2024-01-15", "") == [None, datetime(2024, 1, 15), None]


def test_any_unambiguous_spelling_is_read_beside_the_column_s_own() -> None:
    words: list[str | None] = ["03/01/2024", "2024-01-03", "2024-01-03 00:00:00", "2024-01-03T00:00:00Z", "3-Jan-2024"]
    words += ["January 3, 2024", "20240103", "2024/1/3", "2024年1月3日", None, "01/15/2024", "12345678"]
    third = datetime(2024, 1, 3)
    assert read_any("%d/%m/%Y", *words) == [third] * 9 + [None, None, None]


def test_no_word_has_two_unambiguous_readings() -> None:
    time = datetime(2011, 10, 12)
    for layout in UNAMBIGUOUS:
        word = _written(time, layout)
        readings = {read(other, word)[0] for other in UNAMBIGUOUS} - {None}
        assert len(readings) == 1, layout


@given(DAYS, st.sampled_from([layout for layout in (*LAYOUTS, *UNUSUAL) if "%q" not in layout and "%V" not in layout]))
@settings(max_examples=200, deadline=None)
def test_what_strftime_writes_is_read_back(time: datetime, layout: str) -> None:
    word = time.strftime(layout.replace("%z", "+0000"))
    known = datetime.strptime(word, layout)
    assert read(layout, word) == [known.replace(tzinfo=None)]
    if layout in LAYOUTS:  # the unusual ones give way to them
        assert any(read(found, word) == [known.replace(tzinfo=None)] for found in layouts_of(word))


@given(st.lists(st.datetimes(datetime(1900, 1, 1), datetime(2099, 1, 1)), min_size=1), st.integers(-14 * 60, 14 * 60))
@settings(deadline=None)
def test_what_pandas_writes_is_read_back(times: list[datetime], offset: int) -> None:
    zone = timezone(timedelta(minutes=offset))
    words = pd.Series([time.replace(tzinfo=zone) for time in times]).astype(str).tolist()
    assert layouts_of(*words) == ("%Y-%m-%d",)
    expected = pd.to_datetime(pd.Series(words), utc=True, format="ISO8601").dt.tz_localize(None)
    assert read("%Y-%m-%d", *words) == [time.to_pydatetime() for time in expected]


@given(DAYS, st.sampled_from(["%I:%M %p", "%I:%M:%S %p", "%H:%M", "%H:%M:%S"]))
@settings(deadline=None)
def test_times_of_day_are_read_as_strptime_does(time: datetime, clock: str) -> None:
    word = time.strftime(f"%m/%d/%Y {clock}")
    assert read("%m/%d/%Y", word) == [datetime.strptime(word, f"%m/%d/%Y {clock}")]


@given(st.text("0123456789-/.: TZ+年月日QJan pm", max_size=14) | st.text(max_size=12))
@settings(deadline=None)
def test_any_word_is_a_date_or_not_but_never_an_error(word: str) -> None:
    found = layouts_of(word)
    assert all(read(layout, word) != [None] for layout in found)
    read_any("%d/%m/%Y", word)


def test_the_expression_streams() -> None:
    frame = pl.LazyFrame({"d": ["2024-01-15 10:00+01:00", "15.01.2024"] * 1000})
    found = frame.select(parse_any_date(pl.col("d"), "%d.%m.%Y")).collect(engine="streaming").to_series()
    assert found.to_list() == [datetime(2024, 1, 15, 9), datetime(2024, 1, 15)] * 1000
    assert found.dtype == pl.Datetime("us")


def _written(time: datetime, layout: str) -> str:
    quarter = str((time.month + 2) // 3)
    return time.replace(tzinfo=UTC).strftime(layout.replace("%q", quarter))


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1_704_067_200_000, "2024-01-01 00:00:00"),  # pandas' milliseconds
        (1_704_096_000_500, "2024-01-01 08:00:00.500"),
        (-86_400_000, "1969-12-31 00:00:00"),
        (0, "1970-01-01 00:00:00"),
        (20_240_115, "2024-01-15 00:00:00"),
        (1_704_067_200, None),  # seconds, or a time in January 1970
        (1_704_067_200_000_000, None),
        (5, None),
    ],
)
@pytest.mark.parametrize("kind", [pl.Int64, pl.Float64])
def test_numbers_are_dates_where_they_can_be_one_date_alone(number: int, expected: str | None, kind: type) -> None:
    for layout in ("%Y%m%d", "%d/%m/%Y"):
        found = pl.select(parse_numbered_dates(pl.lit(number, dtype=kind), layout)).item()
        assert found == (None if expected is None else datetime.fromisoformat(expected)), layout


@pytest.mark.parametrize(
    ("words", "layout"),
    [
        (["15. ledna 2024", "3. listopadu 2023"], "%d. %B %Y"),  # Czech
        (["15. siječnja 2024.", "3. studenoga 2023."], "%d. %B %Y."),  # Croatian
        (["2024. január 15.", "2023. nov. 3."], "%Y. %B %d."),  # Hungarian
        (["2024년 1월 15일", "2023년 11월 3일"], "%Y년 %m월 %d일"),
    ],
)
def test_months_of_languages_with_a_point_or_a_sign_behind_each_part(words: list[str], layout: str) -> None:
    assert layouts_of(*words) == (layout,)
    assert read(layout, *words) == read("%Y-%m-%d", "2024-01-15", "2023-11-03")


def test_a_month_that_is_another_in_another_language_is_read_by_its_language() -> None:
    assert read("%d. %B %Y.", "3. listopada 2023.") == read("%Y-%m-%d", "2023-10-03")  # Croatian
    assert layouts_of("15 listopada 2024") == ()  # Polish, November
