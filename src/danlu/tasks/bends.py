"""Power transforms of skewed numbers and their inverses, in plain numpy: of a column, or of the target.

Imports numpy alone, since `danlu export --to numpy` copies this file to where nothing else is.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

Bend = Literal["none", "log1p", "yeo-johnson"]

# Where an inverse has no end, so that all engines give the same finite number: the least 1 + x that is grown, and the
# largest answer.
LEAST = float(np.finfo(np.float32).eps)
LARGEST = float(np.finfo(np.float32).max)


def signed_log1p(values: np.ndarray) -> np.ndarray:
    """Compute log(1 + x), mirrored for negative values so that it is defined everywhere."""
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)))


def yeo_johnson(values: np.ndarray, exponent: float) -> np.ndarray:
    """Apply the Yeo-Johnson power transform (Yeo & Johnson 2000).

    A power of 1 + x for positive x and its mirror image for negative x (https://doi.org/10.1093/biomet/87.4.954).
    """
    bent = np.empty_like(values, dtype=np.float64)
    above = ~(values < 0)  # NaN goes with the positive ones and stays NaN
    positive, negative = values[above], -values[~above]
    bent[above] = np.log1p(positive) if exponent == 0 else np.expm1(exponent * np.log1p(positive)) / exponent
    other = 2 - exponent
    bent[~above] = -np.log1p(negative) if other == 0 else -np.expm1(other * np.log1p(negative)) / other
    return bent


def inverse_yeo_johnson(bent: np.ndarray, exponent: float) -> np.ndarray:
    """Invert `yeo_johnson`; at the end of its range and beyond, return a large finite number."""
    values = np.empty_like(bent, dtype=np.float64)
    above = ~(bent < 0)
    values[above] = _grown(bent[above], exponent)
    values[~above] = -_grown(-bent[~above], 2 - exponent)
    return values


def inverse_log1p(bent: np.ndarray) -> np.ndarray:
    """Invert `signed_log1p`, up to the largest answer."""
    return np.asarray(np.sign(bent) * _grown(np.abs(bent), 0.0))


def _grown(size: np.ndarray, power: float) -> np.ndarray:
    """Invert a power of 1 + x, or its logarithm for a power of 0."""
    with np.errstate(over="ignore"):
        grown = np.expm1(size) if power == 0 else np.expm1(np.log1p(np.maximum(power * size, LEAST - 1)) / power)
    return np.asarray(np.minimum(grown, LARGEST))


BENDS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "none": lambda values, exponent: values,
    "log1p": lambda values, exponent: signed_log1p(values),
    "yeo-johnson": yeo_johnson,
}
UNBENDS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "none": lambda values, exponent: values,
    "log1p": lambda values, exponent: inverse_log1p(values),
    "yeo-johnson": inverse_yeo_johnson,
}


def best_exponent(values: np.ndarray) -> float:
    """Return the exponent of Yeo-Johnson's transform that makes numbers most like a normal distribution.

    It is that of the greatest likelihood, as scikit-learn's PowerTransformer finds it.
    """
    from scipy.stats import yeojohnson_normmax

    return float(yeojohnson_normmax(values, brack=(-2, 2)))
