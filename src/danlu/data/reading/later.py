"""Rows of a later file, read as the training file was: whatever wrote them, one row is answered alike.

The training file's way of writing numbers and dates comes first, even where this file's words fit another one, unless
its other columns surely have another decimal sign and only that gives values as training had them. Numbers that this
file writes in another one way are read so; of several ways the one that the other columns have, or that alone gives
values as training had them. A date
may be spelled in any way that is not ambiguous. A word that is no value of its column is an error
of its row alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from danlu.data.descriptors import RawData
from danlu.data.file_form import MISSING_WORDS
from danlu.data.frames import Table, collect_like, collect_streaming
from danlu.data.reading.apply import describe_wanted, typed
from danlu.data.reading.dates import parse_any_date
from danlu.data.reading.formats import (
    POINT,
    SHOWN_POINT,
    Formats,
    formats_of_numbers,
    plain_if_unsettled,
    settle_by_others,
    styles_shown,
)
from danlu.data.reading.infinity import LARGEST
from danlu.data.reading.missing import without_missing
from danlu.data.reading.numbers import NumberFormat, are_plain_numbers
from danlu.data.reading.reading import Reading
from danlu.data.reading.spans import MILLISECONDS, unit_of_numbers

Range = tuple[float, float]
FEW, MOST = 0.5, 0.9  # shares of values near those of the training that count against a way of writing, and for it
NARROW = 0.1  # of the training's range: so far beyond it values speak against another reading than the model's own
READ = "\0read "  # before a column's name: the column once it is read, beside its words
ROW_ERROR = "\0error"  # a column beside the rows: why a row cannot be answered, with its code


def read_as_trained(
    source: RawData,
    columns: Sequence[Mapping[str, Any]],
    missing_values: Sequence[str],
    ranges: Mapping[str, Range] | None = None,
) -> RawData:
    """Convert the columns of later rows to values, as a bundle says.

    Args:
        source: the rows as they were read or handed over.
        columns: of the bundle: `name`, `type` and `reading`; those without a reading are left as they are.
        missing_values: words that stand for a missing value.
        ranges: the least and the largest training value of each column of numbers, where they are known.

    Returns:
        the rows; where one of them cannot be read, with a column ROW_ERROR that is null for all others. A table on disk
        may have it without any.
    """
    if source.layout != "table":
        return source
    frame, _ = without_missing(source.frame, missing_values, source.form.text_is_clean)
    held = set(frame.columns)
    known = [column for column in columns if "reading" in column and column["name"] in held]
    readings = {column["name"]: (column["type"], Reading.model_validate(column["reading"])) for column in known}
    changes = _changes(frame, readings, ranges or {}, source.form.separator is not None)
    spans, unclear = _spans(frame, readings, ranges or {}, source.form.is_json)
    changes |= spans
    errors = [
        pl.when(pl.col(name) != 0).then(
            pl.concat_str(
                pl.lit(f"DL211: column {name!r}: "),
                name,
                pl.lit(" may be seconds, or milliseconds as pandas writes durations into JSON; write it as 00:01:30"),
            )
        )
        for name in unclear
    ]
    errors += [
        pl.when(pl.col(READ + name).is_null() & pl.col(name).is_not_null()).then(
            pl.concat_str(
                pl.lit(f"DL211: column {name!r}: "), name, pl.lit(f" is not {describe_wanted(*readings[name])}")
            )
        )
        for name in changes
    ]
    schema = frame.schema  # asked once: polars makes it anew each time, for all columns
    numbers = {
        name: pl.col(READ + name if name in changes else name).cast(pl.Float64)  # decimals know no infinity
        for name, (type_, _) in readings.items()
        if type_ == "number" and (name in changes or schema[name].is_numeric())
    }
    errors += [
        pl.when(values.is_finite() & (values.abs() > LARGEST)).then(
            pl.concat_str(pl.lit(f"DL211: column {name!r}: "), pl.col(name), pl.lit(" is beyond any number of 32 bits"))
        )
        for name, values in numbers.items()
    ]
    if not errors:
        return replace(source, frame=frame)
    # Each column is read once, and the errors look at what was read: a plan in which all errors hold all ways of
    # reading takes polars far longer than the rows of a request do.
    read = frame.lazy().with_columns(change.alias(READ + name) for name, change in changes.items())
    told = read.with_columns(pl.coalesce(errors).alias(ROW_ERROR))
    values = (pl.col(READ + name).alias(name) if name in changes else pl.col(name) for name in schema)
    together = collect_like(frame, told.select(*values, ROW_ERROR))
    # On disk nobody knows before the rows are read, for which polars would hold the whole column.
    if isinstance(together, pl.DataFrame) and together[ROW_ERROR].null_count() == together.height:
        together = together.select([name for name in together.columns if name != ROW_ERROR])
    return replace(source, frame=together)


def saved_missing_values(reading: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a bundle's words for a missing value.

    Of a bundle that says nothing of it, the usual ones.
    """
    return tuple(reading.get("missing_values", MISSING_WORDS))


def _changes(
    frame: Table, readings: Mapping[str, tuple[str, Reading]], ranges: Mapping[str, Range], signed: bool
) -> dict[str, pl.Expr]:
    """Return how the columns that hold words become values.

    Args:
        frame: the rows.
        readings: type and reading by column.
        ranges: of the training values.
        signed: whether numbers stand in the file as words, with a decimal sign of their own.
    """
    schema = frame.schema
    written = {
        name: _formats(frame, name, reading)
        for name, (type_, reading) in readings.items()
        if type_ == "number" and schema[name] == pl.String
    }
    styles = styles_shown((formats, _with_point(frame, name)) for name, formats in written.items())
    own = {name: reading.number or NumberFormat() for name, (type_, reading) in readings.items() if type_ == "number"}
    pointed = {name for name in own if signed and schema[name].is_float()}
    styles |= {POINT} if pointed else set()
    settled = {name: settle_by_others(formats, styles) for name, formats in written.items()}
    settled = {
        name: plain_if_unsettled(_as_in_training(frame, name, formats, ranges.get(name)))
        for name, formats in settled.items()
    }
    shown = {formats[0].decimal for name, formats in settled.items() if _differs(formats, own[name])}  # type: ignore[union-attr]
    if any(own[name].decimal == "," for name in pointed):
        shown.add(".")
    if len(shown) == 1:  # the file surely has another sign than the training file
        (decimal,) = shown
        settled = {
            name: _otherwise(frame, name, formats, decimal, ranges.get(name)) for name, formats in settled.items()
        }
    changes: dict[str, pl.Expr] = {}
    for name, (type_, reading) in readings.items():
        change = typed(name, schema[name], type_, reading)
        if change is None:
            continue
        form = settled[name][0] if len(settled.get(name, ())) == 1 else None
        if isinstance(form, NumberFormat):
            other = typed(name, schema[name], type_, reading.model_copy(update={"number": form}))
            change = change if other is None else other
        elif type_ == "datetime" and schema[name] == pl.String and reading.format is not None:
            change = parse_any_date(pl.col(name), reading.format).alias(name)
        changes[name] = change
    return changes


def _spans(
    frame: Table, readings: Mapping[str, tuple[str, Reading]], ranges: Mapping[str, Range], is_json: bool
) -> tuple[dict[str, pl.Expr], list[str]]:
    """Return how numbers for durations become seconds, and the columns whose unit is not clear."""
    schema = frame.schema
    units = {
        name: unit_of_numbers(frame, name, ranges[name], is_json)
        for name, (type_, reading) in readings.items()
        if type_ == "number" and reading.spans and schema[name].is_numeric() and name in ranges
    }
    shorter = {name: (pl.col(name) / MILLISECONDS).alias(name) for name, unit in units.items() if unit == "ms"}
    return shorter, [name for name, unit in units.items() if unit is None]


def _differs(formats: Formats, own: NumberFormat) -> bool:
    """Return whether a column is surely written with another decimal sign than in training."""
    return len(formats) == 1 and isinstance(formats[0], NumberFormat) and formats[0].decimal != own.decimal


def _otherwise(frame: Table, name: str, formats: Formats, decimal: str, trained: Range | None) -> Formats:
    """Return the format with a decimal sign where it alone fits the training values.

    As of `6.275` beside `0,5`, to a model that learned from 6275. Else the column's own formats.
    """
    if len(formats) != 1 or trained is None:
        return formats
    found = formats_of_numbers(_distinct(frame, name))
    others = tuple(form for form in found if form.decimal == decimal and form not in formats)
    likely = _as_in_training(frame, name, (*formats, *others), trained, NARROW) if others else ()
    return likely if len(likely) == 1 else formats


def _as_in_training(frame: Table, name: str, formats: Formats, trained: Range | None, beyond: float = 1.0) -> Formats:
    """Return the one format whose values lie where the training values did.

    All of them where no single one does.

    Args:
        frame, name: a column of words.
        formats: that read them.
        trained: the range of the training values.
        beyond: how far values may lie beyond it, as a share of its width.
    """
    if len(formats) < 2 or trained is None:
        return formats
    room = beyond * (trained[1] - trained[0])
    shares = []
    for form in formats:
        assert isinstance(form, NumberFormat)
        inside = form.parse(pl.col(name)).drop_nulls().is_between(trained[0] - room, trained[1] + room)
        shares.append(float(collect_streaming(frame, frame.lazy().select(inside.mean())).item() or 0.0))
    likely = [form for form, share in zip(formats, shares, strict=True) if share > FEW]
    return tuple(likely) if len(likely) == 1 and max(shares) > MOST else formats


def _formats(frame: Table, name: str, reading: Reading) -> Formats:
    """Return the ways in which a later file may write a column's numbers.

    The training file's way wherever it fits. Several where the file is not clear; its other columns may tell.
    """
    own = reading.number or NumberFormat()
    if (
        isinstance(frame, pl.DataFrame)
        and own == NumberFormat()
        and are_plain_numbers(frame[name].drop_nulls().unique())
    ):
        return (own,)
    failed = _distinct(frame, name, own.parse(pl.col(name)).is_null())
    others = formats_of_numbers(failed.filter(failed.str.contains(r"\d"))) if len(failed) else ()
    if not others:
        return (own,)
    words = _distinct(frame, name)

    def read(form: NumberFormat) -> int:
        return len(words) - int(words.to_frame("word").select(form.parse(pl.col("word")).null_count()).item())

    better = tuple(form for form in others if read(form) > len(words) - len(failed))
    return better or (own,)


def _distinct(frame: Table, name: str, where: pl.Expr | None = None) -> pl.Series:
    """Return the distinct words of a column, some of them where a condition says which."""
    lazy = frame.lazy().select(name)
    kept = lazy if where is None else lazy.filter(where)
    return collect_streaming(frame, kept.drop_nulls().unique()).to_series()


def _with_point(frame: Table, name: str) -> pl.Series:
    """Return a word of a column that shows a decimal point, if there is one."""
    shows = pl.col(name).str.contains(SHOWN_POINT)
    return collect_streaming(frame, frame.lazy().select(name).filter(shows).head(1)).to_series()
