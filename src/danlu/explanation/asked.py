"""Checks of what an explanation is asked for, the same for every kind of data."""

from collections.abc import Sequence

import numpy as np

from danlu.errors import ArgumentError

USUAL_ROWS = 20


def checked_rows(rows: Sequence[int] | None, height: int) -> tuple[int, ...]:
    """Return the numbers of the rows to explain, ascending; by default the first ones.

    Raises:
        ArgumentError: there is no such row.
    """
    if rows is None:
        return tuple(range(min(USUAL_ROWS, height)))
    for row in rows:
        if not 0 <= row < height:
            raise ArgumentError(f"rows: no row {row}; the rows are 0 to {height - 1}", code="DL402")
    return tuple(sorted(set(rows)))


def check_figures(error: float | None, budget: int | None) -> None:
    """Raise ArgumentError unless an error is above 0 and a budget is at least 1."""
    if error is not None and not (np.isfinite(error) and error > 0):
        raise ArgumentError(f"error: must be greater than 0, got {error:g}", code="DL402")
    if budget is not None and budget < 1:
        raise ArgumentError(f"budget: must be at least 1 call, got {budget}", code="DL402")
