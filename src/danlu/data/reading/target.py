"""Targets that are words: numbers as people write them, and truth values of several labels.

A class keeps the spelling of the file; a number to learn becomes a value.
"""

from collections.abc import Sequence

import polars as pl

from danlu.data.frames import DiskFrame, Table
from danlu.data.reading.formats import Formats, allowed, formats_of_numbers, said_formats
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
    return changed.collect() if isinstance(table, pl.DataFrame) else DiskFrame(changed, table.height)
