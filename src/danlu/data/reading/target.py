"""Targets that are words: numbers as people write them, and truth values of several labels.

A class keeps the spelling of the file; a number to learn becomes a value.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

import polars as pl

from danlu.data.frames import Table, collect_like, describe_columns
from danlu.data.questions import Question
from danlu.data.reading.apply import read_columns
from danlu.data.reading.formats import (
    POINT,
    Formats,
    allowed,
    ask,
    formats_of_numbers,
    reading_of,
    said_formats,
    settled,
    styles_shown,
)
from danlu.data.reading.numbers import NumberFormat
from danlu.data.reading.reading import Reading
from danlu.data.reading.spelling import canonical
from danlu.data.reading.word_spelling import TRUTHS
from danlu.recipe.sections.data import ColumnOptions


def target_formats(values: pl.Series, options: ColumnOptions) -> Formats:
    """Return the ways in which a target of words is numbers.

    Empty where it is other words, or holds numbers already.
    """
    if values.dtype != pl.String:
        return ()
    words = values.drop_nulls().unique(maintain_order=True)
    if options.type == "number":
        return said_formats(words, "number", options)
    return () if options.type else allowed(formats_of_numbers(words), options)


def styles_of(table: Table, names: Sequence[str], options: Callable[[str], ColumnOptions], written: bool) -> set[str]:
    """Return the styles of writing that a file surely shows.

    Args:
        table: the file's columns.
        names: those whose words are looked at.
        options: what the recipe says of a column.
        written: whether numbers stand in the file as words, with a decimal sign of their own.
    """
    schema = table.schema
    words = {name: table[name].drop_nulls().unique(maintain_order=True) for name in names if schema[name] == pl.String}
    shown = styles_shown((target_formats(values, options(name)), values) for name, values in words.items())
    pointed = written and any(dtype.is_float() for dtype in schema.values())
    return shown | {POINT} if pointed else shown


def settled_target(formats: Formats, styles: Callable[[], Collection[str]]) -> Formats:
    """Settle a target of several readings by the styles of its file.

    These are computed only where they are needed.
    """
    return settled(formats, styles()) if len(formats) > 1 else formats


def as_numbers(
    table: Table, found: Mapping[str, Formats], origin: str
) -> tuple[Table, dict[str, Reading], tuple[Question, ...]]:
    """Return a table with several columns to predict as numbers.

    Columns with other words stay as they are. Also how these columns are read, and a question for each that can be
    read in several ways.

    Args:
        table: the rows.
        found: the ways in which the columns are numbers.
        origin: where the rows came from, for errors.
    """
    readings = {name: reading_of(formats) for name, formats in found.items() if formats}
    questions = tuple(ask(name, each, table[name].drop_nulls()) for name, each in found.items() if len(each) > 1)
    changed = read_columns(table, {name: ("number", reading) for name, reading in readings.items()}, origin)
    return changed, readings, questions


def as_ordered(table: Table, name: str, formats: Formats) -> Table:
    """Return a table whose classes are an Enum in the order of their numbers.

    Args:
        table: the rows.
        name: the column of classes.
        formats: the ways in which its words are numbers; nothing changes where it is not one.
    """
    if table.schema[name] != pl.String or len(formats) != 1 or not isinstance(formats[0], NumberFormat):
        return table
    words = table[name].drop_nulls().unique(maintain_order=True)
    numbers = words.to_frame("word").with_columns(number=formats[0].parse(pl.col("word")))
    order = pl.Enum(numbers.sort("number", "word")["word"])
    return collect_like(table, table.lazy().with_columns(pl.col(name).cast(order)))


def as_labels(table: Table, names: Sequence[str]) -> Table:
    """Return a table with columns of the words true and false as truth values.

    It does not matter how the words are written.
    """
    worded = [name for name in names if table.schema.get(name) == pl.String]
    if not worded:
        return table
    fits = describe_columns(table, worded, lambda values: canonical(values).is_in(list(TRUTHS)).all())
    truths = [name for name, fit in fits.items() if fit]
    changed = table.lazy().with_columns(canonical(pl.col(truths)) == "true")
    return collect_like(table, changed)
