"""How far what a method says of players is what the answer loses without them, beside values that know nothing.

Sets of players are taken away, and what values say that they are worth is compared with what is lost: infidelity (Yeh
et al. 2019, https://arxiv.org/abs/1901.09392) of the values times the number that suits them best, since maps such as
Grad-CAM's have no unit. 0 is best, and 1 is what values of 0 have.
"""

from dataclasses import dataclass

import numpy as np

from danlu.core.seeds import Seed
from danlu.explanation.networks.rows import NetworkRow

REMOVALS = 48  # sets of players that are taken from each row


@dataclass(frozen=True)
class Losses:
    """Hold what an answer loses without sets of players.

    Attributes:
        removed: [sets, players] bool.
        lost: [sets].
    """

    removed: np.ndarray
    lost: np.ndarray

    def unfaithfulness(self, values: np.ndarray) -> float:
        """Return the infidelity of values, [players], at their best scale: from 0 to 1."""
        said, scale = self.removed @ values, float(self.lost @ self.lost)
        norm, agreed = float(said @ said), float(said @ self.lost)
        return 1.0 if scale <= 0 or norm <= 0 or agreed <= 0 else max(0.0, 1.0 - agreed**2 / (norm * scale))


def measure_losses(row: NetworkRow, seed: Seed) -> Losses:
    """Take sets of players of all sizes from a row.

    Rows with as many players lose the same sets.
    """
    rng = np.random.default_rng(seed.derive("removed").value)
    sizes = rng.integers(1, row.players + 1, REMOVALS)
    removed = rng.random((REMOVALS, row.players)).argsort(axis=1).argsort(axis=1) < sizes[:, None]
    found = row.values(np.concatenate([np.ones((1, row.players), dtype=bool), ~removed]))
    return Losses(removed, found[0] - found[1:])
