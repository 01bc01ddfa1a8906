"""Checks of what an explanation is asked for, the same for every kind of data."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from danlu.errors import ArgumentError

USUAL_ROWS = 20


@dataclass(frozen=True)
class Wanted:
    """Hold what an explanation is asked for, as it was given.

    Attributes:
        methods: their names; None for the usual ones that can be had.
        rows: numbers from 0; None for the first 20.
        label: the label, output, tag or next token; None for what is predicted.
        error: the half width that is enough; None for a fixed number of calls.
        budget: most coalitions per row; None for the usual number.
        actionable: columns that counterfactuals may change; None for all.
        seed: of what is drawn.
    """

    methods: Sequence[str] | None = None
    rows: Sequence[int] | None = None
    label: str | None = None
    error: float | None = None
    budget: int | None = None
    actionable: Sequence[str] | None = None
    seed: int = 0


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


def check_figures(wanted: Wanted) -> None:
    """Raise ArgumentError unless an error is above 0 and a budget is at least 1."""
    error, budget = wanted.error, wanted.budget
    if error is not None and not (np.isfinite(error) and error > 0):
        raise ArgumentError(f"error: must be greater than 0, got {error:g}", code="DL402")
    if budget is not None and budget < 1:
        raise ArgumentError(f"budget: must be at least 1 call, got {budget}", code="DL402")
