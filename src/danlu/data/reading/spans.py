"""Times of day and durations as programs write them, in seconds.

`08:30:00`, `8:30 PM`, `1 days 02:03:04` (pandas), `1 day, 2:03:04` (Python), `P1DT2H3M4.5S` (ISO 8601). In: words; out:
numbers. Files with a type for them need none of this.
"""

from typing import Literal

import polars as pl

from danlu.data.frames import Table, collect_streaming

Unit = Literal["s", "ms"]
MILLISECONDS = 1000.0
SEVERAL = 10  # values, of which the largest is like the largest of the training

CLOCK = (
    r"^\s*(?:(?P<days>-?\d+) days?,?(?:\s+\+?|\s*$))?"
    r"(?:(?P<minus>-)?(?P<hours>\d{1,4}):(?P<minutes>[0-5]\d)(?::(?P<seconds>[0-5]\d(?:\.\d+)?))?)?"
    r"(?:\s*(?P<half>[AaPp])\.?[Mm]\.?)?\s*$"
)
ISO = (
    r"^\s*(?P<minus>-)?P(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?\s*$"
)


def parse_spans(words: pl.Expr) -> pl.Expr:
    """Return words as seconds, Float64; null where one is neither time nor duration."""
    return pl.coalesce(_seconds(words, CLOCK), _seconds(words, ISO))


def unit_of_numbers(table: Table, name: str, trained: tuple[float, float], is_json: bool) -> Unit | None:
    """Return the unit of numbers for durations: seconds or milliseconds.

    Milliseconds, as pandas writes them into JSON, where only these lie in the range of the training. None where numbers
    in JSON may be either.

    Args:
        table, name: a column of numbers, as they were read.
        trained: the least and the largest training value, in seconds.
        is_json: whether they come from JSON.
    """
    low, high = trained
    room = high - low
    number = pl.col(name)
    asked = (
        table.lazy()
        .select(number.cast(pl.Float64))
        .filter(number.is_not_null() & number.is_not_nan() & (number != 0))
        .select(
            pl.len().alias("count"),
            (number == number.round()).all().alias("whole"),
            number.is_between(low - room, high + room).mean().alias("s"),
            (number / MILLISECONDS).is_between(low - room, high + room).mean().alias("ms"),
            number.abs().max().alias("most"),
        )
    )
    told = collect_streaming(table, asked).row(0, named=True)
    if not told["count"] or not told["whole"]:
        return "s"
    as_seconds, as_milliseconds = told["s"], told["ms"]
    if as_milliseconds <= 0.9 or (not is_json and as_seconds > 0.5):
        return "s"
    if as_seconds <= 0.5:
        return "ms"
    if told["count"] >= SEVERAL:
        times = told["most"] / max(abs(low), abs(high))
        if 0.1 < times < 10:
            return "s"
        if 0.1 < times / MILLISECONDS < 10:
            return "ms"
    return None


def _seconds(words: pl.Expr, pattern: str) -> pl.Expr:
    def part(name: str) -> pl.Expr:
        return pl.field(name).cast(pl.Float64)

    hours = part("hours")
    if "half" in pattern:
        half = pl.field("half").str.to_lowercase()
        in_half = pl.when(hours.is_between(1, 12)).then(hours % 12 + pl.when(half == "p").then(12.0).otherwise(0.0))
        hours = pl.when(half.is_null()).then(hours).otherwise(in_half)
        impossible = half.is_not_null() & hours.is_null()
    else:
        impossible = pl.lit(False)
    clock = hours.fill_null(0.0) * 3600 + part("minutes").fill_null(0.0) * 60 + part("seconds").fill_null(0.0)
    sign = pl.when(pl.field("minus").is_null()).then(1.0).otherwise(-1.0)
    days = part("days").fill_null(0.0) * 86_400
    # pandas writes -1 days +23:59:00 for a minute before; of ISO's the sign is that of the whole.
    together = days + sign * clock if pattern == CLOCK else sign * (days + clock)
    said = pl.any_horizontal(pl.field(name).is_not_null() for name in ("days", "hours", "minutes", "seconds"))
    seconds = pl.when(said & ~impossible).then(together)
    return words.str.extract_groups(pattern).struct.with_fields(seconds.alias("span")).struct.field("span")
