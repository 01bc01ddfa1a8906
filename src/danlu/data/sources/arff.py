"""Weka's ARFF, by scipy's reader: nominal values as words, `?` as a gap."""

from pathlib import Path

import numpy as np
import polars as pl

from danlu.data.sources.options import ReadOptions, ReadTable
from danlu.errors import DataError


def read_arff(path: Path, options: ReadOptions) -> ReadTable:
    """Read a dense ARFF file.

    Raises:
        DataError: its rows are sparse, or it has columns of strings, which scipy does not read.
    """
    from scipy.io import arff

    text = _text(path, options.encoding or "utf-8")
    _refuse_sparse(path, text)
    from io import StringIO

    try:
        rows, meta = arff.loadarff(StringIO(text))
    except NotImplementedError as error:
        raise DataError(
            f"{path}: holds a column that is not a number, a date or a word of a given list ({error}); save it as "
            "csv in Weka",
            code="DL202",
        ) from error
    except (arff.ParseArffError, StopIteration, ValueError, IndexError) as error:
        raise DataError(f"{path}: cannot be read as arff: {error or 'it ends early'}", code="DL202") from error
    columns = [_column(name, rows[name], meta[name][0]) for name in meta.names()]
    return ReadTable(pl.DataFrame(columns))


def _text(path: Path, encoding: str) -> str:
    try:
        return path.read_text(encoding=encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise DataError(f"{path}: is not {encoding} ({error}); say data.encoding", code="DL202") from error


def _refuse_sparse(path: Path, text: str) -> None:
    """Raise DataError for rows as {1 a, 3 b}, whose absent values are the first word of a list, not gaps."""
    begun = False
    for number, line in enumerate(text.splitlines(), 1):
        if begun and line.lstrip().startswith("{"):
            raise DataError(
                f"{path}:{number}: a sparse ARFF row; write the rows in full (in Weka, the filter SparseToNonSparse)",
                code="DL202",
            )
        begun = begun or line.strip().lower().startswith("@data")


def _column(name: str, values: np.ndarray, kind: str) -> pl.Series:
    """Convert a column: scipy gives words as bytes of UTF-8, and `?` for one that is missing."""
    if kind == "nominal":
        words = [value.decode("utf-8") for value in values.tolist()]
        return pl.Series(name, [None if word == "?" else word for word in words], dtype=pl.String)
    if kind == "date":
        return pl.Series(name, values.astype("datetime64[us]"))
    numbers = pl.Series(name, values.astype(np.float64), nan_to_null=True)
    return numbers.cast(pl.Int64) if kind == "integer" else numbers
