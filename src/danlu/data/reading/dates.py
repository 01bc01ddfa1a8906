"""Dates and times as people and programs write them.

A layout is the date's part of a format, such as `%d/%m/%Y`; a time of day may stand behind it, with or without a zone.
A layout that has a time of day itself is a whole format, and nothing else is read. The letters are strptime's, and two
more: `%Y-Q%q` for quarters and `%G-W%V` for ISO weeks. Two digits of a year are 1969 to 2068, as POSIX has it.
"""

import re
from collections.abc import Mapping

import polars as pl

from danlu.data.reading.date_patterns import MONTH_NUMBERS, bare, date_pattern, pattern_of, pattern_of_any

# Which of them is meant is asked about where several fit all words and disagree.
LAYOUTS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%Y年%m月%d日", "%Y년 %m월 %d일"),
    *("%m/%d/%Y", "%d/%m/%Y", "%m-%d-%Y", "%d-%m-%Y", "%d.%m.%Y", "%d %m %Y"),
    *("%m/%d/%y", "%d/%m/%y", "%m-%d-%y", "%d-%m-%y", "%y-%m-%d", "%d.%m.%y"),
    *(f"%d{sign}%{letter}{sign}%Y" for letter in "bB" for sign in ("-", " ", "/", ".", "")),
    *(f"%d. %{letter} %Y" for letter in "bB"),
    *("%d. %B %Y.", "%Y. %B %d.", "%d. %m. %Y", "%d. %m. %Y.", "%d.%m.%Y.", "%Y. %m. %d.", "%Y.%m.%d."),
    *(f"%d of %{letter} %Y" for letter in "bB"),
    *(f"%Y{sign}%{letter}{sign}%d" for letter in "bB" for sign in ("-", " ")),
    *("%b %d, %Y", "%B %d, %Y", "%b-%d-%Y", "%B-%d-%Y"),
    *(f"%d{sign}%b{sign}%y" for sign in ("-", " ", "/", "")),
    *("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y", "%Y%m%dT%H%M%S", "%Y%m%dT%H%M%S%z"),
    *("%Y-%m", "%Y/%m", "%m/%Y", "%m-%Y", "%Y年%m月", "%Y년 %m월"),
    *("%b %Y", "%B %Y", "%b-%Y", "%B-%Y", "%Y-%b", "%Y-%B", "%Y %b", "%Y %B", "%b-%y", "%b %y"),
    *("%Y-Q%q", "Q%q-%Y", "%qQ%Y", "%G-W%V"),
)
# Hardly anybody writes so where the order above fits as well; they count only where nothing else fits.
UNUSUAL = ("%Y-%d-%m", "%Y/%d/%m", "%m.%d.%Y", "%y/%m/%d", "%y.%m.%d", "%m.%d.%y")
# Read in any file, whatever layout the model's own column has: no two of them read a word differently.
UNAMBIGUOUS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%Y年%m月%d日", "%Y%m%dT%H%M%S", "%Y%m%dT%H%M%S%z"),
    *("%d-%B-%Y", "%d %B %Y", "%d/%B/%Y", "%d%B%Y", "%B %d, %Y", "%Y-%B-%d"),
    *("%Y-%m", "%Y年%m月", "%B %Y", "%B-%Y", "%Y-Q%q", "%G-W%V"),
)
# So little of a date that codes and numbers look like it; only years that dates have count when layouts are found.
BARE = frozenset({"%Y%m%d", "%Y-%m", "%Y/%m", "%m/%Y", "%m-%Y", "%d %m %Y"})
EIGHT_DIGITS, ISO = "%Y%m%d", "%Y-%m-%d"  # of numbers, and of words, where nothing else is said
EARLIEST, LATEST = 19000101, 21001231  # of numbers that are dates
EARLIEST_MILLISECONDS, LATEST_MILLISECONDS = -2_208_988_800_000, 4_133_980_800_000  # 1900 to 2100, since 1970
MAYBE_SECONDS = 100_000_000_000  # as milliseconds less than four years from 1970, as seconds thousands
MILLISECONDS_A_DAY = 86_400_000
TRIED_WORDS = 8  # looked at before the whole column is
LARGEST_OFFSET = 14  # hours, as in Kiritimati
PIVOT = 69  # the first of two-digit years in the twentieth century

Groups = Mapping[str, pl.Expr]


def date_layouts(words: pl.Series) -> tuple[str, ...]:
    """Return the layouts in which all words are dates.

    Two or more where it is ambiguous. Layouts that read all words alike count once.

    Args:
        words: distinct ones, without missing ones.
    """
    if not all(_has_digit(str(word)) for word in words.head(TRIED_WORDS)):
        return ()  # compiling all patterns takes longer than many a file
    return _fitting(words, LAYOUTS) or _fitting(words, UNUSUAL)


def dates_among(words: pl.Series) -> str | None:
    """Return the layout in which at least half of some words are dates.

    None without one.
    """
    tried = [str(word) for word in words.head(TRIED_WORDS)]
    if sum(map(_has_digit, tried)) * 2 < len(tried):
        return None
    for layout in LAYOUTS:
        pattern = pattern_of(_guarded(layout)) or ""
        if sum(re.match(pattern, word) is not None for word in tried) * 2 >= max(1, len(tried)):
            times = words.to_frame("word").select(parse_dates(pl.col("word"), _guarded(layout))).to_series()
            if times.null_count() * 2 <= len(words):
                return layout
    return None


def _has_digit(word: str) -> bool:
    return any(character.isdigit() for character in word)


def _fitting(words: pl.Series, layouts: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of some layouts that fit all words and differ in what they read."""
    tried = [str(word) for word in words.head(TRIED_WORDS)]
    found: dict[str, pl.Series] = {}
    for layout in layouts if tried else ():
        if not all(re.match(pattern_of(_guarded(layout)) or "", word) for word in tried):
            continue  # most columns are no dates, and their first words tell
        times = words.to_frame("word").select(parse_dates(pl.col("word"), _guarded(layout))).to_series()
        if not times.has_nulls() and not any(times.equals(other) for other in found.values()):
            found[layout] = times
    return tuple(found)


def are_dates(numbers: pl.Series) -> bool:
    """Return whether numbers are all dates of eight digits, as 20240115.

    Args:
        numbers: without missing ones.
    """
    ends = numbers.min(), numbers.max()
    if not (ends[0] >= EARLIEST and ends[1] <= LATEST):  # type: ignore[operator]
        return False
    whole = numbers.unique().cast(pl.Int64)
    if numbers.dtype.is_float() and not bool((numbers == numbers.round()).all()):
        return False
    times = whole.cast(pl.String).to_frame("word").select(parse_dates(pl.col("word"), EIGHT_DIGITS)).to_series()
    return not times.has_nulls()


def parse_dates(words: pl.Expr, layout: str) -> pl.Expr:
    """Return the words as Datetime("us") in UTC, null where one is no date.

    Args:
        words: strings.
        layout: as `date_layouts` gives it, or a whole format with a time of day, such as `%d/%m/%Y %H:%M`.
    """
    pattern, own = pattern_of(layout), date_pattern(layout)
    if pattern is None:
        return _strptime(words, layout)
    if not re.fullmatch(r"%[Ymd]\W%[Ymd]\W%[Ymd]", layout):
        return _from_groups(words, pattern)
    # Days alone are most words, and polars' own parser is quicker; but it takes 95 for the year 95, unless looked at.
    plain = words.str.contains(f"^{own}$")
    return pl.coalesce(
        _strptime(pl.when(plain).then(words), layout), _from_groups(pl.when(~plain).then(words), pattern)
    )


def parse_numbered_dates(numbers: pl.Expr, layout: str) -> pl.Expr:
    """Return numbers as Datetime("us") in UTC, null where one is no date.

    Digits in a layout, such as 20240115, or milliseconds since 1970, as pandas writes dates into JSON. Around 1970 only
    midnights are taken for milliseconds: other numbers of their size may be seconds.

    Args:
        numbers: whole ones; with a gap they arrive as floating-point numbers.
        layout: as for `parse_dates`.
    """
    whole = numbers.cast(pl.Int64, strict=False)
    clear = whole.is_between(EARLIEST_MILLISECONDS, LATEST_MILLISECONDS) & (
        ~whole.is_between(-MAYBE_SECONDS, MAYBE_SECONDS) | (whole % MILLISECONDS_A_DAY == 0)
    )
    since = pl.when(clear & (whole == numbers)).then(whole).cast(pl.Datetime("ms")).cast(pl.Datetime("us"))
    words = whole.cast(pl.String)
    eight = parse_dates(pl.when(whole.is_between(EARLIEST, LATEST)).then(words), EIGHT_DIGITS)
    return pl.coalesce(parse_dates(words, layout), eight, since)


def parse_any_date(words: pl.Expr, layout: str) -> pl.Expr:
    """Parse words by a layout; those that it does not fit, by unambiguous ones.

    Unambiguous layouts read a word in one way only.

    Args:
        words: strings.
        layout: as for `parse_dates`.
    """
    word, time = pl.field("word"), pl.field("time")
    tried = pl.struct(words.alias("word"), parse_dates(words, layout).alias("time"))
    others = _from_groups(pl.when(time.is_null()).then(word), pattern_of_any(tuple(map(_guarded, UNAMBIGUOUS))))
    return tried.struct.with_fields(pl.coalesce(time, others).alias("time")).struct.field("time")


def _guarded(layout: str) -> str:
    """Return a layout that takes no codes and numbers for dates."""
    return bare(layout) if layout in BARE else layout


def _strptime(words: pl.Expr, layout: str) -> pl.Expr:
    """Parse words by polars' own parser, a zone turned to UTC."""
    return words.str.strptime(pl.Datetime("us"), layout, strict=False).dt.replace_time_zone(None)


def _from_groups(words: pl.Expr, pattern: str) -> pl.Expr:
    """Compute the times of words from the groups that a pattern finds in them."""
    names: dict[str, list[pl.Expr]] = {}
    for name in re.compile(pattern).groupindex:
        names.setdefault(name.partition("_")[0], []).append(pl.field(name))
    groups = {letter: pl.coalesce(ways) for letter, ways in names.items()}
    day = pl.coalesce(_day(groups), _week(groups)) if "V" in groups else _day(groups)
    time = day + _time(groups) if "H" in groups else day
    # As fields of one struct, or polars would search the words again for every mention of a group.
    return words.str.extract_groups(pattern).struct.with_fields(time.alias("time")).struct.field("time")


def _day(groups: Groups) -> pl.Expr:
    """Compute midnight of a day.

    It is the first of the month, quarter or year where no day is given.
    """
    months = [_number(groups, "m", 1)] if not {"b", "q"} & set(groups) else [_number(groups, "m")]
    if "q" in groups:
        months.append(_number(groups, "q") * 3 - 2)
    if "b" in groups:
        name = groups["b"].str.to_lowercase().str.strip_suffix(".")
        months.append(name.replace_strict(MONTH_NUMBERS, default=None, return_dtype=pl.Int64))
    month = pl.coalesce(months)
    day = pl.concat_str(_year(groups), month, _number(groups, "d", 1), separator="-")
    return day.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))


def _year(groups: Groups) -> pl.Expr:
    if "y" not in groups:
        return _number(groups, "Y")
    short = _number(groups, "y")
    return short + pl.when(short < PIVOT).then(2000).otherwise(1900)


def _week(groups: Groups) -> pl.Expr:
    """Compute the Monday of an ISO week; null where the year has no such week."""
    week = _number(groups, "V")
    # The fourth of January is always in the first week.
    fourth = pl.concat_str(groups["G"], pl.lit("-01-04")).str.to_date("%Y-%m-%d", strict=False)
    monday = fourth.dt.truncate("1w") + pl.duration(weeks=week - 1)
    return pl.when(monday.dt.week() == week).then(monday).cast(pl.Datetime("us"))


def _time(groups: Groups) -> pl.Expr:
    """Compute the time since midnight in UTC; null where there is no such time."""
    hour, minute, second = (_number(groups, letter, 0) for letter in "HMS")
    possible = (hour < 24) & (minute < 60) & (second < 60)
    if "p" in groups:
        half = groups["p"].str.to_lowercase()
        alone = groups["H"].is_not_null() & groups["M"].is_null()
        possible &= pl.when(half.is_null()).then(~alone).otherwise(hour.is_between(1, 12))
        hour = pl.when(half.is_null()).then(hour).otherwise(hour % 12 + 12 * (half == "p").cast(pl.Int64))
    seconds = (hour * 60 + minute) * 60 + second
    if "zh" in groups:
        hours, minutes = _number(groups, "zh", 0), _number(groups, "zm", 0)
        possible &= (hours <= LARGEST_OFFSET) & (minutes < 60)
        east = pl.when(groups["sign"] == "-").then(-1).otherwise(1)
        seconds = seconds - east * (hours * 60 + minutes) * 60
    microseconds = seconds * 1_000_000
    if "f" in groups:  # digits beyond microseconds are dropped
        microseconds += groups["f"].str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64).fill_null(0)
    return pl.duration(microseconds=pl.when(possible).then(microseconds))


def _number(groups: Groups, letter: str, otherwise: int | None = None) -> pl.Expr:
    """Return a part as a whole number."""
    if letter not in groups:
        return pl.lit(otherwise, dtype=pl.Int64)
    found = groups[letter].cast(pl.Int64)
    return found if otherwise is None else found.fill_null(otherwise)
