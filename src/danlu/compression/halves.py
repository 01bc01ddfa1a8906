"""Validation rows in two halves: one is searched on, the other judges once and was not looked at before."""

import numpy as np

from danlu.core.seeds import Seed
from danlu.data.splits import Split
from danlu.errors import DataError

FEWEST_ROWS = 4


def split_in_halves(validation: Split, groups: np.ndarray | None, seed: Seed) -> tuple[Split, Split]:
    """Return the rows that are searched on, and those that accept; groups are kept together.

    Args:
        validation: the rows that neither trained nor test.
        groups: which rows belong together, [rows]; None for each by itself.
        seed: they are drawn by it.

    Raises:
        DataError: there are too few rows.
    """
    units = np.arange(len(validation)) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(units.max()) + 1 if len(units) else 0
    if count < FEWEST_ROWS:
        raise DataError(
            f"validation: has {count} rows, and half of them search while the other half judges; train with a larger "
            "data.split.validation, or give --steps without --budget",
            code="DL203",
        )
    searched = np.zeros(count, dtype=bool)
    searched[np.random.default_rng(seed.value).permutation(count)[: count // 2]] = True
    chosen = searched[units]
    return validation.take(np.flatnonzero(chosen)), validation.take(np.flatnonzero(~chosen))
