"""How much a compression can have cost: exact upper bounds from samples that were not looked at before.

A sample is lost where only the original is right, and gained where only the compressed model is. The true drop of
accuracy is the share lost minus the share gained. Two bounds hold with the asked confidence whatever the true shares
are, and which of them is closer depends on how many samples change: so the bound is chosen on other samples than those
that it is then computed from.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from danlu.evaluation.intervals import count_right_alone
from danlu.metrics.base import Predictions

# Share of the risk spent on the range in which the unknown rate of changes is looked for (Berger and Boos 1994,
# https://doi.org/10.1080/01621459.1994.10476836).
RANGE_SHARE = 0.1
RATES = 24  # of changes that are tried within that range
HALVINGS = 24
REACH = 8.0  # standard deviations beyond which a binomial share is left out


@dataclass(frozen=True)
class Flips:
    """Count the samples on which an original and a compressed classifier part.

    Attributes:
        rows: samples compared.
        lost: those on which only the original is right.
        gained: those on which only the compressed one is right.
    """

    rows: int
    lost: int
    gained: int

    @property
    def drop(self) -> float:
        """The observed drop of accuracy; below 0 for a gain."""
        return (self.lost - self.gained) / self.rows

    @property
    def changed(self) -> int:
        """Samples that are right in one and wrong in the other."""
        return self.lost + self.gained


Bound = Callable[[Flips, float], float]


def count_flips(original: Predictions, compressed: Predictions) -> Flips:
    """Compare two classifiers' decisions on the same samples."""
    return Flips(len(original), *count_right_alone(original, compressed))


def lost_bound(flips: Flips, confidence: float) -> float:
    """Bound the share of lost samples from above, which the drop cannot exceed.

    Closest where nearly nothing changes. One-sided (Clopper and Pearson 1934), https://doi.org/10.1093/biomet/26.4.404.
    """
    return _upper_share(flips.lost, flips.rows, 1 - confidence)


def difference_bound(flips: Flips, confidence: float) -> float:
    """Bound the shares' difference, lost less gained, from above, by inverting its exact test.

    A drop is excluded where so small a difference would be too rare under it, for every rate of changes within its own
    interval (Berger and Boos 1994). Closest where many samples change and as many are gained as lost.
    """
    risk = 1 - confidence
    spent = RANGE_SHARE * risk
    low_rate = 1 - _upper_share(flips.rows - flips.changed, flips.rows, spent / 2)
    high_rate = _upper_share(flips.changed, flips.rows, spent / 2)

    def is_excluded(drop: float) -> bool:
        if drop >= high_rate:
            return True
        rates = np.linspace(high_rate, max(low_rate, drop), RATES)
        return all(_tail(flips, drop, float(rate)) <= risk - spent for rate in rates)

    low, high = max(flips.drop, 0.0), high_rate
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_excluded(middle) else (middle, high)
    return high


BOUNDS: dict[str, Bound] = {"lost": lost_bound, "difference": difference_bound}


def closest_bound(flips: Flips, confidence: float) -> str:
    """Return the name of the bound that is lowest here, for use on other samples."""
    return min(BOUNDS, key=lambda name: BOUNDS[name](flips, confidence))


def smallest_promise(rows: int, confidence: float) -> float:
    """Return the smallest drop that so many samples can promise, none being lost."""
    return lost_bound(Flips(rows, 0, 0), confidence)


def rows_for(max_drop: float, confidence: float) -> int:
    """Return how many samples can promise a drop, where none of them is lost."""
    return int(np.ceil(np.log(1 - confidence) / np.log1p(-max_drop)))


def _upper_share(count: int, rows: int, risk: float) -> float:
    """Return the upper end of Clopper and Pearson's interval of a share."""
    from scipy.special import betaincinv

    return 1.0 if count >= rows else float(betaincinv(count + 1, rows - count, 1 - risk))


def _tail(flips: Flips, drop: float, rate: float) -> float:
    """Return the probability of a difference at most as large as observed.

    Lost, gained and unchanged samples are trinomial: gained is binomial, and lost is so among what is left.
    """
    from scipy.special import bdtr, gammaln, xlog1py, xlogy

    lost, gained = (rate + drop) / 2, (rate - drop) / 2
    centre, spread = flips.rows * gained, REACH * np.sqrt(flips.rows * gained * (1 - gained)) + REACH
    counts = np.arange(max(0, int(centre - spread)), min(flips.rows, int(centre + spread)) + 1)
    logs = gammaln(flips.rows + 1) - gammaln(counts + 1) - gammaln(flips.rows - counts + 1)
    shares = np.exp(logs + xlogy(counts, gained) + xlog1py(flips.rows - counts, -gained))
    reach = counts + (flips.lost - flips.gained)
    left = flips.rows - counts
    among = min(1.0, lost / (1 - gained)) if gained < 1 else 1.0
    inside = np.clip(np.minimum(reach, left), 0, None)
    below = np.where(reach < 0, 0.0, np.where(reach >= left, 1.0, bdtr(inside, left, among)))
    return float(np.sum(shares * below))
