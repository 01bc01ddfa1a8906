"""McNemar's test: whether two classifiers are wrong equally often, by the samples on which one alone is right."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from danlu.evaluation.metric import Truth


@dataclass(frozen=True)
class McNemar:
    """The exact test (McNemar 1947, with the binomial distribution instead of chi-square).

    Attributes:
        first_alone, second_alone: samples that only the one answers rightly.
        p_value: how likely so uneven a share is, were both wrong equally often.
    """

    first_alone: int
    second_alone: int
    p_value: float

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def mcnemar(first: Truth, second: Truth) -> McNemar:
    """Compare the answers of two classifiers to the same samples."""
    from scipy.special import bdtr

    ours, theirs = first.predicted == first.values, second.predicted == second.values
    alone, other = int(np.sum(ours & ~theirs)), int(np.sum(theirs & ~ours))
    tail = float(bdtr(min(alone, other), alone + other, 0.5)) if alone + other else 1.0
    return McNemar(alone, other, min(1.0, 2 * tail))
