"""Types of columns that were read as words: whole numbers, numbers, truth values, where nothing of them is lost.

Words such as `1.234` stay words: the other columns tell whether the point stands before a fraction; see `columns`.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from danlu.data.reading.numbers import GROUPED

NUMBERS: tuple[type[pl.DataType], ...] = (pl.Int64, pl.Int128, pl.Float64)
FEW_ROWS = 500  # that suggest a type
CELLS_AT_ONCE = 2**19
FIRST_ROWS = 50  # by which most columns are told to be no such numbers
CODE = r"^\s*(?:[+-]?0\d|\+\d{8,15}\s*$)"  # leading zeros, a telephone number: as a number it would lose something


def suggested_types(sample: pl.DataFrame) -> dict[str, type[pl.DataType]]:
    """Return the type of each column of words, null where missing.

    String where no other fits.
    """
    if not sample.columns:
        return {}
    first = _types(sample.head(FEW_ROWS))
    if sample.height <= FEW_ROWS:
        return first
    # Most columns are what their first rows are, which is quicker to verify than to find out.
    wrong = [name for name, dtype in first.items() if not _holds(sample[name], dtype)]
    return first | _types(sample.select(wrong))


def _types(sample: pl.DataFrame) -> dict[str, type[pl.DataType]]:
    """Return the type of each column.

    The words of many columns are asked behind one another: polars takes as long for an operation as for thousands of
    words.
    """
    types: dict[str, type[pl.DataType]] = {}
    at_once = max(1, CELLS_AT_ONCE // max(1, sample.height))
    for start in range(0, sample.width, at_once):
        some = sample[:, start : start + at_once]
        words = some.unpivot()["value"]
        shape = some.width, some.height

        def every(true: pl.Series, shape: tuple[int, int] = shape) -> np.ndarray:
            return np.asarray(true.fill_null(True).to_numpy().reshape(shape).all(axis=1))

        plain = every(~words.str.contains(CODE))
        fits: dict[str, np.ndarray] = {
            "truth": every(words.is_in(["true", "false"])),
            "grouped": every(words.str.contains(GROUPED)),
            "empty": every(words.is_null()),
        }
        for kind in NUMBERS:
            fits[str(kind)] = every(words.cast(kind, strict=False).is_null() == words.is_null()) & plain
        for place, name in enumerate(some.columns):
            types[name] = _type({key: bool(found[place]) for key, found in fits.items()})
    return types


def _holds(words: pl.Series, dtype: type[pl.DataType]) -> bool:
    """Return whether a type that fits the first words is that of all."""
    if dtype == pl.String:
        return words.head(FEW_ROWS).null_count() < min(len(words), FEW_ROWS)
    if dtype == pl.Boolean:
        return bool(words.is_in(["true", "false"]).all())
    if dtype == pl.Float64 and all(some.str.contains(GROUPED).all() for some in (words.head(FIRST_ROWS), words)):
        return False
    return words.cast(dtype, strict=False).null_count() == words.null_count() and not (words.str.contains(CODE).any())


def narrowed(lazy: pl.LazyFrame, names: Sequence[str], spelled: Sequence[str] = ()) -> pl.LazyFrame:
    """Cast columns of words to numbers or truth values where every value allows.

    Args:
        lazy: the file.
        names: columns whose numbers may lose their spelling, as `1.0` and `+1`.
        spelled: columns that are cast only where the values' own spelling is that of the file.
    """
    if not (names or spelled):
        return lazy
    tries = [*(_tries(name, spelled=False) for name in names), *(_tries(name, spelled=True) for name in spelled)]
    fits = lazy.select(tries).collect(engine="streaming").row(0, named=True)
    types = {name: _type(fits[name]) for name in (*names, *spelled)}
    return lazy.with_columns(_cast(name, dtype) for name, dtype in types.items() if dtype != pl.String)


def _tries(name: str, spelled: bool) -> pl.Expr:
    """Return which types a column fits, as a struct."""
    words = pl.col(name)
    plain = ~words.str.contains(CODE).any()

    def fits(kind: type[pl.DataType]) -> pl.Expr:
        values = words.cast(kind, strict=False)
        kept = (values.cast(pl.String) == words).all() if spelled else pl.lit(True)
        return ((values.null_count() == words.null_count()) & kept & plain).alias(str(kind))

    truth = words.is_in(["true", "false"]).all().alias("truth")
    empty = (words.null_count() == pl.len()).alias("empty")
    grouped = words.str.contains(GROUPED).all().alias("grouped")
    return pl.struct(*map(fits, NUMBERS), truth, empty, grouped).alias(name)


def _type(fits: dict[str, bool]) -> type[pl.DataType]:
    if fits["empty"]:
        return pl.String
    if fits["truth"]:
        return pl.Boolean
    found = next((kind for kind in NUMBERS if fits[str(kind)]), pl.String)
    return pl.String if found == pl.Float64 and fits["grouped"] else found  # 1.234 may be 1234


def _cast(name: str, dtype: type[pl.DataType]) -> pl.Expr:
    return pl.col(name) == "true" if dtype == pl.Boolean else pl.col(name).cast(dtype)
