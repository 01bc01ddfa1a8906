"""Words become values: each column of a table by its reading, at training and for every later file."""

from collections.abc import Mapping, Sequence

import polars as pl

from danlu.data.frames import Table, collect_like, describe_columns
from danlu.data.reading.dates import EIGHT_DIGITS, ISO, parse_any_date, parse_dates, parse_numbered_dates
from danlu.data.reading.infinity import LARGEST, parse_infinity
from danlu.data.reading.numbers import NumberFormat
from danlu.data.reading.reading import Reading
from danlu.data.reading.spans import parse_spans
from danlu.errors import DataError

TRUTHS = {"true": 1.0, "false": 0.0}


def typed(name: str, dtype: pl.DataType, type_: str, reading: Reading) -> pl.Expr | None:
    """Return a column as values of its type, null where a word is none.

    None where the column holds values already.
    """
    words = pl.col(name)
    if type_ == "number" and dtype == pl.String:
        plain = reading.number or NumberFormat()
        truth = words.str.strip_chars().str.to_lowercase().replace_strict(TRUTHS, default=None, return_dtype=pl.Float64)
        ways = [plain.parse(words), parse_infinity(words), truth, *([parse_spans(words)] if reading.spans else ())]
        return pl.coalesce(ways).alias(name)
    if type_ == "datetime" and dtype == pl.String:
        told = reading.format
        return (parse_any_date(words, ISO) if told is None else parse_dates(words, told)).alias(name)
    if type_ == "datetime" and dtype.is_numeric():
        return parse_numbered_dates(words, reading.format or EIGHT_DIGITS).alias(name)
    return None


def read_columns(table: Table, readings: Mapping[str, tuple[str, Reading]], origin: str) -> Table:
    """Convert the columns of a table that hold words.

    Args:
        table: the rows as they were read.
        readings: type and reading by column.
        origin: where they came from, for errors.

    Raises:
        DataError: a word is not of its column's type.
    """
    schema = table.schema  # asked once: polars makes it anew each time, for all columns
    changes = {
        name: change
        for name, (type_, reading) in readings.items()
        if (change := typed(name, schema[name], type_, reading)) is not None
    }
    if not changes:
        return table
    changed = collect_like(table, table.lazy().with_columns(changes.values()))
    for name in changes:
        words = table[name]
        wrong = changed[name].is_null() & words.is_not_null()
        if wrong.any():
            row = int(wrong.arg_max() or 0)
            raise DataError(
                f"{origin}: column {name!r}, row {row + 1}: {words[row]!r} is not {describe_wanted(*readings[name])}; "
                "correct it, or add it to data.missing_values if it means missing",
                code="DL211",
            )
    return changed


def refuse_beyond_float32(table: Table, names: Sequence[str], origin: str) -> None:
    """Refuse columns with finite numbers that models cannot hold.

    Args:
        table: the rows, as values.
        names: the columns of numbers that are given to the model.
        origin: where they came from, for errors.

    Raises:
        DataError: such a number stands in a row.
    """
    schema = table.schema
    floats = [name for name in names if schema[name] == pl.Float64]
    sizes = describe_columns(table, floats, lambda values: values.abs().max())
    for name in (name for name, size in sizes.items() if size is not None and size > LARGEST):
        numbers = table[name]
        beyond = numbers.is_finite() & (numbers.abs() > LARGEST)
        if not beyond.any():
            continue  # infinite ones alone
        row = int(beyond.arg_max() or 0)
        raise DataError(
            f"{origin}: column {name!r}, row {row + 1}: {numbers[row]:g} is beyond any number of 32 bits, in which "
            "models calculate; correct it, add it to data.missing_values if it means missing, or give the column "
            "another unit",
            code="DL211",
        )


def describe_wanted(type_: str, reading: Reading) -> str:
    """Describe what a word should be: `a number like 1.100,5`."""
    if type_ == "datetime":
        return f"a date like {reading.format or '2024-01-31'}"
    if reading.spans:
        return "a number of seconds, or a time like 08:30:00"
    return "a number" if reading.number is None else f"a number like {reading.number.example}"
