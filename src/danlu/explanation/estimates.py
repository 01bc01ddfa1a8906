"""An estimate of Shapley values, and its intervals: a proxy of the game, corrected by what it misses.

The correction is a survey's generalized regression estimator (Särndal, Swensson and Wretman 1992, chapter 6; the same
idea as RegressionMSR, https://arxiv.org/abs/2506.11849): the proxy's exact values, plus the mean of its errors in each
stratum. An error at a pair that the proxy was fitted on is that of the proxy without this pair, so it is as large there
as elsewhere; pairs that were asked for themselves count with their known rest.
"""

from dataclasses import dataclass

import numpy as np

from danlu.explanation.coalitions import Pairs

CONFIDENCE = 0.95
# Intervals of a small sample are short: the proxy chose its form by the same pairs. Measured on games of other seeds
# than those of benchmarks/explain.py; see there for the coverage.
INFLATION = 1.2
ROUNDING = 1e-6  # of the game's range, below which nothing is told apart from rounding
SHRINKAGE = 5.0  # pairs of the common error variance that each stratum borrows
FEWEST_FREEDOM = 4.0


@dataclass(frozen=True)
class Estimate:
    """Hold the Shapley values of a game.

    Attributes:
        values: [players]; they sum to `full - empty`.
        half_widths: of the 95 % intervals, [players]; 0 where they are exact.
        empty: the value of no player.
        full: the value of all.
        calls: coalitions that were asked for.
        estimator: its name.
        exact: whether nothing was sampled.
    """

    values: np.ndarray
    half_widths: np.ndarray
    empty: float
    full: float
    calls: int
    estimator: str
    exact: bool

    @property
    def completeness_error(self) -> float:
        """How far the values are from adding up to the answer."""
        return abs(float(self.values.sum()) - (self.full - self.empty))


@dataclass(frozen=True)
class Proxy:
    """Hold a function of coalitions whose Shapley values are known, and what it misses.

    Attributes:
        values: its Shapley values, [players]; they sum to those of the game.
        residuals: differences of the pairs that it does not give, [pairs].
        left_out: the same of a proxy fitted without the pair, [pairs].
        parameters: how many numbers were chosen by the same pairs, which `left_out` does not know of.
    """

    values: np.ndarray
    residuals: np.ndarray
    left_out: np.ndarray
    parameters: int


def corrected(proxy: Proxy, pairs: Pairs, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Correct a proxy's values by what it misses; return values and half widths, [players] each.

    Args:
        scale: the range of the game's values.
    """
    from scipy.stats import t

    values, variance, squares = proxy.values.copy(), np.zeros(len(proxy.values)), np.zeros(len(proxy.values))
    pooled = np.zeros_like(variance)
    sampled = pairs.fractions[pairs.strata] < 1
    common = float(np.mean(proxy.left_out[sampled] ** 2)) if sampled.any() else 0.0
    for stratum, fraction in enumerate(pairs.fractions):
        own = pairs.strata == stratum
        weights, errors, count = pairs.weights[own], proxy.left_out[own], int(own.sum())
        values += fraction * (weights * proxy.residuals[own, None]).mean(axis=0)
        if fraction >= 1:
            continue
        parts = weights * errors[:, None]
        values += (1 - fraction) * parts.mean(axis=0)
        spread = parts.var(axis=0, ddof=1) if count > 1 else parts[0] ** 2
        added = (1 - fraction) / count * spread
        variance += added
        squares += added**2 / max(count - 1, 1)
        shrunk = (float((errors**2).sum()) + SHRINKAGE * common) / (count + SHRINKAGE)
        pooled += (1 - fraction) / count * (weights**2).mean(axis=0) * shrunk
    if not sampled.any():
        return values, np.zeros_like(values)
    freedom = np.maximum(variance**2 / np.maximum(squares, np.finfo(float).tiny), FEWEST_FREEDOM)
    inflation = INFLATION * np.sqrt(len(pairs) / max(len(pairs) - proxy.parameters, 1))
    errors_of_values = np.sqrt(np.maximum(variance, pooled)) * inflation + ROUNDING * scale
    return values, np.asarray(t.ppf((1 + CONFIDENCE) / 2, freedom) * errors_of_values)
