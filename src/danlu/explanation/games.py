"""Games: a row and background rows as a function of coalitions, which Shapley values are taken of.

In: a model as a function of rows, one row, background rows. Out: the mean answer where the columns of a coalition keep
the row's values and the others have those of a background row. Estimators live beside this file.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from danlu.core.console import info

MAX_CELLS = 2**24  # cells of the mixed rows of one batch: 64 MiB of float32
Value = Callable[[np.ndarray], np.ndarray]
# Coalitions, [calls, players] bool -> the answer with each background row for what is absent, [calls, background].
MixedAnswers = Callable[[np.ndarray], np.ndarray]


@dataclass
class Game:
    """Count and remember the values of coalitions.

    Attributes:
        players: number of players.
        value: [calls, players] bool -> [calls] float64; deterministic.
        calls: coalitions that `value` was asked for.
    """

    players: int
    value: Value
    calls: int = 0
    _known: dict[bytes, float] = field(default_factory=dict)

    def values(self, coalitions: np.ndarray) -> np.ndarray:
        """Return the values of coalitions, [calls]; known ones are not computed again."""
        keys = [row.tobytes() for row in np.packbits(coalitions, axis=1)]
        places = {key: place for place, key in enumerate(keys) if key not in self._known}
        new = sorted(places.values())
        if new:
            self._known.update(zip((keys[place] for place in new), self.compute(coalitions[new]).tolist(), strict=True))
        return np.array([self._known[key] for key in keys])

    def compute(self, coalitions: np.ndarray) -> np.ndarray:
        """Return the values of coalitions without looking whether they are known."""
        self.calls += len(coalitions)
        return np.asarray(self.value(coalitions), dtype=np.float64)


def interventional_value(answers: MixedAnswers, background: int, columns: int, max_cells: int = MAX_CELLS) -> Value:
    """Make the value function of a row against background rows.

    Absent players have the values of each background row in turn, and the answers are averaged.

    Janzing et al. 2020, https://arxiv.org/abs/1910.13413. Batches are as large as the memory for mixed rows allows; a
    lack of memory halves them.

    Args:
        background: number of background rows.
        columns: cells of a row.
        max_cells: cells of mixed rows at once.
    """
    batch = max(1, max_cells // max(background * columns, 1))

    def value(coalitions: np.ndarray) -> np.ndarray:
        nonlocal batch
        found = np.empty(len(coalitions))
        start = 0
        while start < len(coalitions):
            try:
                part = answers(coalitions[start : start + batch])
            except MemoryError:
                if batch == 1:
                    raise
                batch //= 2
                info(f"too little memory for the coalitions; goes on with {batch:,} at a time")
                continue
            found[start : start + len(part)] = part.mean(axis=1, dtype=np.float64)
            start += len(part)
        return found

    return value
