"""Scaling of numeric columns: fitted on training values, kept as plain numbers, applied to any.

Each scaler learns one column; `NumberState` calls it for every numeric feature.
"""

from abc import abstractmethod
from typing import Literal

import numpy as np

from danlu.core.component import Frozen
from danlu.recipe.components import ScalerOptions
from danlu.tasks.bends import BENDS, UNBENDS, Bend, best_exponent, signed_log1p, yeo_johnson
from danlu.tasks.bends import inverse_yeo_johnson as inverse_yeo_johnson

QUANTILES = 100


class Scaling(Frozen):
    """Scale a column: a power transform, then `(value - offset) / scale`; or a quantile.

    Attributes:
        bend: power transform of a skewed column, before offset and scale.
        exponent: of the Yeo-Johnson transform.
        offset: is subtracted.
        scale: divides the difference.
        quantiles: if given, the result is the value's position between them, from -1 to 1, and nothing else.
    """

    bend: Bend = "none"
    exponent: float = 1.0
    offset: float = 0.0
    scale: float = 1.0
    quantiles: tuple[float, ...] = ()

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Scale [rows] float64 -> [rows] float64; NaN stays NaN."""
        if self.quantiles:
            ranks = np.linspace(-1.0, 1.0, len(self.quantiles))
            return np.asarray(np.interp(values, self.quantiles, ranks))
        return np.asarray((BENDS[self.bend](values, self.exponent) - self.offset) / self.scale)

    def invert(self, values: np.ndarray) -> np.ndarray:
        """Return the values that `apply` scales to these, [rows] float64."""
        if self.quantiles:
            return np.asarray(np.interp(values, np.linspace(-1.0, 1.0, len(self.quantiles)), self.quantiles))
        return np.asarray(UNBENDS[self.bend](values * self.scale + self.offset, self.exponent))


class Scaler(ScalerOptions):
    """Learn how to scale a column.

    Example:
        >>> import numpy as np
        >>> import danlu
        >>> class Halves(danlu.Scaler):
        ...     name: str = "halves"
        ...     def fit(self, values):
        ...         from danlu.data.tabular.scaling import Scaling
        ...         return Scaling(offset=float(np.median(values)), scale=2.0)
        >>> Halves().fit(np.array([1.0, 3.0, 9.0])).apply(np.array([5.0])).tolist()
        [1.0]
    """

    @abstractmethod
    def fit(self, values: np.ndarray) -> Scaling:
        """Learn from the training split's values, [rows] float64, none missing."""


FARTHEST = 1e30  # maximum distance of a training value, in widths
ROUNDINGS = 4  # units in the last place within which equal values may differ, as 0.1 + 0.2 and 0.3 do


def rounding_of(values: np.ndarray) -> float:
    """Return how much values may differ by rounding alone.

    Args:
        values: floats, [rows]; NaN is left out. Those of 32 bits are rounded as such.
    """
    largest = np.nanmax(np.abs(values), initial=0.0) if len(values) else values.dtype.type(0)
    return float(ROUNDINGS * np.spacing(values.dtype.type(largest)))


def is_constant(values: np.ndarray) -> bool:
    """Return whether values, [rows] float, are the same but for rounding."""
    known = values[~np.isnan(values)]
    return len(known) == 0 or bool(np.ptp(known) <= rounding_of(known))


def _linear(offset: float, width: float, values: np.ndarray) -> Scaling:
    """Return a linear scaling; values that differ by rounding alone are only shifted to 0."""
    varies = np.isfinite(width) and width > rounding_of(values)
    return Scaling(offset=float(offset), scale=float(width) if varies else 1.0)


class Standard(Scaler):
    """Scale to mean 0 and standard deviation 1."""

    name: Literal["standard"] = "standard"

    def fit(self, values: np.ndarray) -> Scaling:
        return _linear(values.mean(), values.std(), values)


class MinMax(Scaler):
    """Scale the training range to [0, 1].

    Later values may lie outside, unless `clip` moves them to its ends.
    """

    name: Literal["minmax"] = "minmax"
    clip: bool = False

    def fit(self, values: np.ndarray) -> Scaling:
        return _linear(values.min(), values.max() - values.min(), values)


class Symmetric(Scaler):
    """Scale the training range to [-1, 1].

    Later values may lie outside, unless `clip` moves them to its ends.
    """

    name: Literal["symmetric"] = "symmetric"
    clip: bool = False

    def fit(self, values: np.ndarray) -> Scaling:
        return _linear((values.max() + values.min()) / 2, (values.max() - values.min()) / 2, values)


class Robust(Scaler):
    """Scale to median 0 and interquartile range 1, so outliers do not decide it."""

    name: Literal["robust"] = "robust"

    def fit(self, values: np.ndarray) -> Scaling:
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        width = high - low
        # Nearly equal quartiles would scale the rest beyond the range of fp32.
        return _linear(middle, width if width * FARTHEST > np.ptp(values) else 0.0, values)


class Quantile(Scaler):
    """Map to the rank among training values, spread evenly over [-1, 1].

    Any distribution becomes uniform.
    """

    name: Literal["quantile"] = "quantile"

    def fit(self, values: np.ndarray) -> Scaling:
        knots = np.unique(np.quantile(values, np.linspace(0, 1, QUANTILES + 1)))
        return Scaling(offset=float(knots[0])) if is_constant(knots) else Scaling(quantiles=tuple(knots.tolist()))


class Power(Scaler):
    """Apply the best Yeo-Johnson power, then standardise.

    The power is the one that makes the column most like a normal distribution.
    """

    name: Literal["power"] = "power"

    def fit(self, values: np.ndarray) -> Scaling:
        if is_constant(values):
            return Scaling(offset=float(values[0]))
        exponent = best_exponent(values)
        bent = yeo_johnson(values, exponent)
        if not np.isfinite(bent).all() or bent.std() == 0:
            return Standard().fit(values)
        return _linear(bent.mean(), bent.std(), bent).model_copy(update={"bend": "yeo-johnson", "exponent": exponent})


class Log1p(Scaler):
    """Apply log(1 + x), mirrored for negative values, then standardise.

    For counts, prices, durations.
    """

    name: Literal["log1p"] = "log1p"

    def fit(self, values: np.ndarray) -> Scaling:
        bent = signed_log1p(values)
        return _linear(bent.mean(), bent.std(), bent).model_copy(update={"bend": "log1p"})


class NoScaling(Scaler):
    """Leave values as they are."""

    name: Literal["none"] = "none"

    def fit(self, values: np.ndarray) -> Scaling:
        return Scaling()


SCALERS: dict[str, type[Scaler]] = {
    "standard": Standard,
    "minmax": MinMax,
    "symmetric": Symmetric,
    "robust": Robust,
    "quantile": Quantile,
    "power": Power,
    "log1p": Log1p,
    "none": NoScaling,
}
