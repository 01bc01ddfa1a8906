"""A numpy array of one dimension -> a column, in the types that files have; NaN and NaT mean missing."""

import numpy as np
import polars as pl

from danlu.errors import DataError

RESOLUTIONS = ("D", "ms", "us", "ns")  # of numpy's times that polars takes


def series_of_array(name: str, values: np.ndarray, origin: str, code: str) -> pl.Series:
    """Convert an array of numbers, truth values, times or strings.

    Args:
        name: the column's.
        values: [rows].
        origin: how errors name the data.
        code: of the error.

    Raises:
        DataError: it has another number of dimensions, or holds values of another type.
    """
    if values.ndim != 1:
        shape = "×".join(map(str, values.shape))
        raise DataError(
            f"{origin}: column {name!r} is an array of {shape or 'no dimension'}; give one column for each", code=code
        )
    letter = values.dtype.kind  # numpy's: S bytes, U text, m and M times, f floats …
    if letter == "S":
        try:
            return pl.Series(name, [value.decode("utf-8") for value in values.tolist()], dtype=pl.String)
        except UnicodeDecodeError as error:
            raise DataError(f"{origin}: column {name!r} holds bytes that are not UTF-8 ({error})", code=code) from error
    if letter in "mM" and np.datetime_data(values.dtype)[0] not in RESOLUTIONS:
        values = values.astype(f"{letter}8[us]")
    if letter == "f" and values.dtype.itemsize not in (4, 8):
        values = values.astype(np.float32 if values.dtype.itemsize < 4 else np.float64)
    if letter not in "biufUmM":
        raise DataError(
            f"{origin}: column {name!r} holds {values.dtype} values; convert them to numbers or strings", code=code
        )
    native = values.astype(values.dtype.newbyteorder("="))
    return pl.Series(name, native.tolist() if letter == "U" else native, nan_to_null=True)
