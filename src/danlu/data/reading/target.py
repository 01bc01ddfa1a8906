"""Targets that are words: numbers as people write them, and truth values of several labels.

A class keeps the spelling of the file; a number to learn becomes a value.
"""

from collections.abc import Callable, Sequence

import polars as pl

from danlu.data.frames import Table, collect_like
from danlu.data.questions import Question
from danlu.data.reading.apply import read_columns
from danlu.data.reading.formats import Formats, allowed, ask, formats_of_numbers, reading_of, said_formats
from danlu.data.reading.reading import Reading
from danlu.data.reading.spelling import TRUTHS, canonical
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


def as_numbers(
    table: Table, names: Sequence[str], options: Callable[[str], ColumnOptions], origin: str
) -> tuple[Table, dict[str, Reading], tuple[Question, ...]]:
    """Return a table with several columns to predict as numbers.

    Columns with other words stay as they are. Also how these columns are read, and a question for each that can be
    read in several ways.
    """
    found = {name: target_formats(table[name], options(name)) for name in names}
    readings = {name: reading_of(formats) for name, formats in found.items() if formats}
    questions = tuple(ask(name, each, table[name].drop_nulls()) for name, each in found.items() if len(each) > 1)
    changed = read_columns(table, {name: ("number", reading) for name, reading in readings.items()}, origin)
    return changed, readings, questions


def as_labels(table: Table, names: Sequence[str]) -> Table:
    """Return a table with columns of the words true and false as truth values.

    It does not matter how the words are written.
    """
    worded = [name for name in names if table.schema.get(name) == pl.String]
    if not worded:
        return table
    forms = {name: canonical(pl.col(name)) for name in worded}
    lazy = table.lazy()
    fits = lazy.select(form.is_in(list(TRUTHS)).all().alias(name) for name, form in forms.items())
    truths = [name for name, fit in fits.collect(engine="streaming").row(0, named=True).items() if fit]
    changed = lazy.with_columns((forms[name] == "true").alias(name) for name in truths)
    return collect_like(table, changed)
