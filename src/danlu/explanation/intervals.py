"""Intervals of means over rows."""

import numpy as np

from danlu.explanation.results import Interval

CONFIDENCE = 0.95


def mean_interval(figures: np.ndarray) -> Interval:
    """Return the mean over rows with Student's interval; of one row the figure alone."""
    from scipy.stats import t

    mean, count = float(figures.mean()), len(figures)
    if count < 2:
        return Interval(mean)
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1) * figures.std(ddof=1) / np.sqrt(count))
    return Interval(mean, mean - half, mean + half)
