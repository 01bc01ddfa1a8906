"""McNemar's test: do two classifiers make equally many errors, given the samples on which only one is correct."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from danlu.evaluation.metric import Predictions


@dataclass(frozen=True)
class McNemarResult:
    """Hold the result of the exact test (McNemar 1947).

    It uses the binomial distribution instead of chi-square (https://doi.org/10.1007/BF02295996).

    Attributes:
        first_alone, second_alone: samples on which only the first, or only the second, is correct.
        p_value: probability of a split at least this uneven if both were wrong equally often.
    """

    first_alone: int
    second_alone: int
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary for JSON."""
        return asdict(self)


def mcnemar_test(first: Predictions, second: Predictions) -> McNemarResult:
    """Compare two classifiers on the same samples."""
    from scipy.special import bdtr

    ours, theirs = first.predicted_classes == first.y_true, second.predicted_classes == second.y_true
    alone, other = int(np.sum(ours & ~theirs)), int(np.sum(theirs & ~ours))
    tail = float(bdtr(min(alone, other), alone + other, 0.5)) if alone + other else 1.0
    return McNemarResult(alone, other, min(1.0, 2 * tail))
