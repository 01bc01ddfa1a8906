"""Words become values: each column of a table by its reading, at training and for every later file."""

from collections.abc import Mapping

import polars as pl

from danlu.data.frames import Table, collect_like
from danlu.data.reading.dates import EIGHT_DIGITS, parse_dates
from danlu.data.reading.infinity import parse_infinity
from danlu.data.reading.numbers import NumberFormat
from danlu.data.reading.reading import Reading
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
        return pl.coalesce(plain.parse(words), parse_infinity(words), truth).alias(name)
    if type_ == "datetime" and dtype == pl.String and reading.format is not None:
        return parse_dates(words, reading.format).alias(name)
    if type_ == "datetime" and dtype.is_numeric():  # with a gap they arrive as floating-point numbers
        return parse_dates(words.cast(pl.Int64, strict=False).cast(pl.String), reading.format or EIGHT_DIGITS).alias(
            name
        )
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


def describe_wanted(type_: str, reading: Reading) -> str:
    """Describe what a word should be: `a number like 1.100,5`."""
    if type_ == "datetime":
        return f"a date like {reading.format or EIGHT_DIGITS}"
    return "a number" if reading.number is None else f"a number like {reading.number.example}"
