"""Words that stand for a missing value, taken out wherever a table comes from: as text, numbers, truth values, times.

`-999` in a column of whole numbers is a missing value as it is among words; of a file that has missing values of its
own it is taken out too.
"""

from collections.abc import Sequence
from datetime import datetime, time
from typing import Any, Literal

import numpy as np
import polars as pl

from danlu.data.file_form import spelled_missing
from danlu.data.frames import DiskFrame, Table, collect_like

WORDED = (pl.String, pl.Categorical, pl.Enum)
TRUTHS = {"true": True, "false": False}


def without_missing(
    table: Table, words: Sequence[str], text_is_clean: bool = False
) -> tuple[Table, dict[str, tuple[str, ...]]]:
    """Replace values that stand for a missing one by null.

    Args:
        table: the rows.
        words: that stand for a missing value; an empty one also stands for white space alone.
        text_is_clean: whether they were taken out of columns of text before.

    Returns:
        the table, and the words that occurred in each column.
    """
    schema = {name: dtype for name, dtype in table.schema.items() if not (text_is_clean and dtype == pl.String)}
    held = {dtype: _held(dtype, words) for dtype in set(schema.values())}
    absent = {name: _marked(name, dtype, held[dtype]) for name, dtype in schema.items() if held[dtype]}
    if not absent:
        return table, {}
    lazy = table.lazy()
    seen = [pl.col(name).filter(marks).cast(pl.String).unique().implode() for name, marks in absent.items()]
    engine: Literal["streaming", "in-memory"] = "streaming" if isinstance(table, DiskFrame) else "in-memory"
    found = lazy.select(seen).collect(engine=engine).row(0, named=True)
    occurring = {name: tuple(sorted({word.strip() for word in held})) for name, held in found.items() if held}
    if not occurring:
        return table, {}
    changed = lazy.with_columns(pl.when(~absent[name]).then(pl.col(name)).alias(name) for name in occurring)
    return collect_like(table, changed), occurring


def _held(dtype: pl.DataType, words: Sequence[str]) -> list[Any]:
    """Return the values of a type that stand for a missing one."""
    if dtype in WORDED:
        return list(spelled_missing(words)) if words else []
    return [value for word in words if (value := _as_type(word.strip(), dtype)) is not None]


def _marked(name: str, dtype: pl.DataType, held: list[Any]) -> pl.Expr:
    """Return which values of a column stand for a missing one."""
    values = pl.col(name)
    if dtype in WORDED:
        return values.cast(pl.String).is_in(held).fill_null(False)
    return values.is_in(pl.lit(pl.Series(held, dtype=dtype)).implode()).fill_null(False)


def _as_type(word: str, dtype: pl.DataType) -> object | None:
    """Return a word as a value of this type; None where it is none."""
    if dtype == pl.Boolean:
        return TRUTHS.get(word.lower())
    if dtype in (pl.Date, pl.Datetime, pl.Time):
        try:
            moment = time.fromisoformat(word) if dtype == pl.Time else datetime.fromisoformat(word)
        except ValueError:
            return None
        return moment.date() if dtype == pl.Date and isinstance(moment, datetime) else moment
    if not dtype.is_numeric():
        return None
    try:
        number = float(word)
    except ValueError:
        return None
    if number != number or (dtype.is_integer() and not number.is_integer()):
        return None
    found = pl.Series([number]).cast(dtype, strict=False)[0]
    same = found is not None and (float(found) == number or (dtype == pl.Float32 and np.isfinite(found)))
    return found if same else None
