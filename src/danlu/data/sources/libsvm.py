"""The sparse text format of LIBSVM and SVMlight, by scikit-learn's reader; read as a dense table."""

from pathlib import Path

import numpy as np
import polars as pl

from danlu.data.file_form import ReadOptions, ReadTable
from danlu.errors import DataError

LABEL, QUERY = "label", "qid"
LARGEST = 1 << 28  # values of a dense table, 2 GiB


def read_libsvm(path: Path, options: ReadOptions) -> ReadTable:
    """Read labels and features; an index that a row leaves out is 0.

    The format says so.

    Raises:
        DataError: a line is malformed, or the table would be too large.
    """
    from sklearn.datasets import load_svmlight_file

    several = _has_several_labels(path)
    try:
        values, labels, queries = load_svmlight_file(str(path), multilabel=several, query_id=True)
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as {path.suffix.lstrip('.')}: {error}", code="DL202") from error
    rows, width = values.shape
    if rows * width > LARGEST:
        raise DataError(
            f"{path}: {rows:,} rows of {width:,} features are too many to be written out; select features first",
            code="DL202",
        )
    first = 0 if _counts_from_zero(values, path) else 1
    features = [pl.Series(f"x{first + at}", np.asarray(values[:, [at]].todense()).ravel()) for at in range(width)]
    columns = [_labels(labels, several), *features]
    if queries.any():
        columns.insert(1, pl.Series(QUERY, queries))
    return ReadTable(pl.DataFrame(columns), target=LABEL)


def _labels(labels: object, several: bool) -> pl.Series:
    if several:
        rows = [[f"{label:g}" for label in row] for row in labels]  # type: ignore[attr-defined]
        return pl.Series(LABEL, rows, dtype=pl.List(pl.String))
    numbers = pl.Series(LABEL, np.asarray(labels, dtype=np.float64))
    return numbers.cast(pl.Int64) if (numbers == numbers.round()).all() else numbers


def _has_several_labels(path: Path) -> bool:
    """Return whether a row's first word holds a comma, or is a feature already."""
    with path.open(encoding="utf-8", errors="replace") as file:
        words = [line.split("#")[0].split() for line in file]
    return any("," in row[0] or ":" in row[0] for row in words if row)


def _counts_from_zero(values: object, path: Path) -> bool:
    """Return whether the file names a feature 0, as scikit-learn decides it."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return any(word.startswith("0:") for line in file for word in line.split("#")[0].split())
