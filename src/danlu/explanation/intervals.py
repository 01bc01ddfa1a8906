"""Figures with 95 % intervals, and those of means over rows."""

from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """Hold a figure with its 95 % interval; no ends where it has none."""

    value: float
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, float | None]:
        """Return `value`, `low` and `high`."""
        return {"value": self.value, "low": self.low, "high": self.high}


def or_nan(value: float | None) -> float:
    """Return a number of an array; NaN where there is none."""
    return float("nan") if value is None else float(value)


def mean_interval(figures: np.ndarray) -> Interval:
    """Return the mean over rows with Student's interval; of one row the figure alone."""
    from scipy.stats import t

    mean, count = float(figures.mean()), len(figures)
    if count < 2:
        return Interval(mean)
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1) * figures.std(ddof=1) / np.sqrt(count))
    return Interval(mean, mean - half, mean + half)
