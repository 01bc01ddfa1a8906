"""Outliers: the limits of a column, and the rows that an isolation forest singles out. From training rows alone."""

import numpy as np

from danlu.core.seeds import Seed
from danlu.data.tabular.numbers import Limits, quantile
from danlu.recipe.sections.data import Outliers


def outlier_limits(values: np.ndarray, options: Outliers) -> Limits | None:
    """Return the range of a column's usual values; None where it has no spread.

    iqr: `factor` times the interquartile range beyond the quartiles (Tukey 1977). z-score: `factor` standard deviations
    around the mean.

    Args:
        values: the training split's, [rows] float64, NaN where missing.
    """
    present = values[~np.isnan(values)]
    if len(present) == 0:
        return None
    if options.method == "iqr":
        low, high = quantile(present, 0.25), quantile(present, 0.75)
        reach, centre_low, centre_high = options.factor * (high - low), low, high
    else:
        centre_low = centre_high = present.mean()
        reach = options.factor * present.std()
    return (float(centre_low - reach), float(centre_high + reach)) if reach > 0 else None


def is_outlier(values: np.ndarray, limits: Limits | None) -> np.ndarray:
    """Return which values lie beyond the limits, [rows] bool; False for missing ones."""
    if limits is None:
        return np.zeros(len(values), dtype=bool)
    return np.asarray((values < limits[0]) | (values > limits[1]))


def isolation_forest_outliers(matrix: np.ndarray, options: Outliers, seed: Seed) -> np.ndarray:
    """Return the outlying rows by an isolation forest, [rows] bool.

    Liu et al. 2008, https://doi.org/10.1109/ICDM.2008.17.

    Args:
        matrix: the training split's numbers, [rows, columns], none missing.
    """
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(contamination=options.share or "auto", random_state=seed.value % 2**32)
    return np.asarray(forest.fit_predict(matrix) == -1)
