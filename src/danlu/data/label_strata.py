"""Iterative stratification (Sechidis et al. 2011): rows of several labels dealt out so that each part is alike.

In: which labels each row has and the parts' shares. Out: each row's part. The rarest label that is left goes first,
each of its rows to the part that lacks it most.
"""

import numpy as np


def iterative_stratification(labels: np.ndarray, shares: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Assign each row to a part so that label shares match, [rows] int64.

    Iterative stratification (Sechidis et al. 2011, https://doi.org/10.1007/978-3-642-23808-6_10). The rarest remaining
    label goes first, each of its rows to the part that lacks it most.

    Args:
        labels: [rows, labels] bool.
        shares: of the parts, [parts], sum 1; ties fill an earlier part first.
        generator: decides the order of rows.
    """
    rows = len(labels)
    found = np.full(rows, -1, dtype=np.int64)
    wanted = shares * rows  # rows that each part still needs
    lacking = shares[:, None] * labels.sum(axis=0)  # of each label, [parts, labels]
    order = generator.permutation(rows)
    of_row = [np.flatnonzero(row) for row in labels]
    left = labels.sum(axis=0).astype(np.int64)
    while (left > 0).any():
        rarest = int(np.where(left > 0, left, np.iinfo(np.int64).max).argmin())
        members = order[labels[order, rarest]]
        for row in members[found[members] < 0]:
            part = _neediest(lacking[:, rarest], wanted)
            found[row] = part
            wanted[part] -= 1
            lacking[part, of_row[row]] -= 1
            left[of_row[row]] -= 1
    for row in order[found[order] < 0]:  # those without a label
        part = int(wanted.argmax())
        found[row] = part
        wanted[part] -= 1
    return found


def _neediest(lacking: np.ndarray, wanted: np.ndarray) -> int:
    """Return the part that lacks a label most.

    Ties go to the part that lacks most rows.
    """
    best = np.flatnonzero(lacking >= lacking.max() - 1e-9)
    return int(best[wanted[best].argmax()])
