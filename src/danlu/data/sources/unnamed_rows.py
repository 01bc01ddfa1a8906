"""Rows whose columns have no names: matrices, in the order of training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from danlu.data.sources.in_memory import ORIGIN, as_frame
from danlu.errors import DataError


def matrix_to_frame(samples: Any, columns: Sequence[str]) -> pl.DataFrame:
    """Name the columns of a matrix.

    It is an array, a tensor, a sparse matrix or a list of rows.

    Args:
        samples: [rows, columns].
        columns: their names, in the order of training.

    Raises:
        DataError: it has another shape, or a column mixes types.
    """
    values = _columns_of(samples)
    if values is None or len(values) != len(columns):
        shape = "×".join(map(str, np.shape(samples))) if hasattr(samples, "shape") else f"type {type(samples).__name__}"
        order = ", ".join(columns[:20]) + (f" and {len(columns) - 20} more" if len(columns) > 20 else "")
        raise DataError(
            f"{ORIGIN}: cannot take values of {shape} as rows; give a frame, a dict of columns, a list of dicts, or a "
            f"matrix with a column for each of {order}, in this order",
            code="DL207",
        )
    frame = as_frame(dict(zip(columns, values, strict=True)))
    assert frame is not None  # a dict always has names
    return frame


def is_matrix(samples: Any) -> bool:
    """Return whether samples are an array or a tensor of two dimensions, without names."""
    return getattr(samples, "ndim", 0) == 2 and not hasattr(samples, "columns") and not hasattr(samples, "schema")


def _columns_of(samples: Any) -> list[Any] | None:
    """Return the columns of a matrix; None for anything else."""
    if hasattr(samples, "detach"):
        samples = samples.detach().cpu().numpy()
    if hasattr(samples, "toarray"):
        samples = samples.toarray()
    if (
        isinstance(samples, list | tuple)
        and samples
        and all(isinstance(row, list | tuple | np.ndarray) for row in samples)
    ):
        rows = [list(row) for row in samples]
        if len({len(row) for row in rows}) == 1:
            return [list(column) for column in zip(*rows, strict=True)]
        return None
    if isinstance(samples, np.ndarray) and samples.ndim == 2:
        return list(samples.T)
    return None
