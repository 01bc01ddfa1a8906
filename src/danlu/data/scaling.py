"""Scaling of numeric columns: fitted on training values, kept as plain numbers, applied to any.

Each scaler learns one column; `tabular` calls it for every numeric column.
"""

from abc import abstractmethod
from typing import Literal

import numpy as np

from danlu.core.component import Component, Frozen

QUANTILES = 100


class Scaling(Frozen):
    """What a scaler learned of one column: `(value - offset) / scale`, or a place between quantiles."""

    offset: float = 0.0
    scale: float = 1.0
    quantiles: tuple[float, ...] = ()

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Scale [rows] float64 -> [rows] float64."""
        if self.quantiles:
            ranks = np.linspace(-1.0, 1.0, len(self.quantiles))
            return np.asarray(np.interp(values, self.quantiles, ranks))
        return np.asarray((values - self.offset) / self.scale)


class Scaler(Component):
    """Learns how to scale a column."""

    @abstractmethod
    def fit(self, values: np.ndarray) -> Scaling:
        """Learn from the training split's values, [rows] float64, none missing."""


def _linear(offset: float, scale: float) -> Scaling:
    """A constant column has no width to divide by; it is moved to 0 and left."""
    return Scaling(offset=float(offset), scale=float(scale) if scale > 0 and np.isfinite(scale) else 1.0)


class Standard(Scaler):
    """Mean 0, standard deviation 1."""

    name: Literal["standard"] = "standard"

    def fit(self, values: np.ndarray) -> Scaling:
        return _linear(values.mean(), values.std())


class MinMax(Scaler):
    """The training range becomes [0, 1]; later values may lie outside."""

    name: Literal["minmax"] = "minmax"

    def fit(self, values: np.ndarray) -> Scaling:
        return _linear(values.min(), values.max() - values.min())


class Symmetric(Scaler):
    """The training range becomes [-1, 1]."""

    name: Literal["symmetric"] = "symmetric"

    def fit(self, values: np.ndarray) -> Scaling:
        return _linear((values.max() + values.min()) / 2, (values.max() - values.min()) / 2)


class Robust(Scaler):
    """Median 0, distance between the quartiles 1: outliers do not decide it."""

    name: Literal["robust"] = "robust"

    def fit(self, values: np.ndarray) -> Scaling:
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        return _linear(middle, high - low)


class Quantile(Scaler):
    """The rank among the training values, spread evenly over [-1, 1]: any distribution becomes uniform."""

    name: Literal["quantile"] = "quantile"

    def fit(self, values: np.ndarray) -> Scaling:
        knots = np.unique(np.quantile(values, np.linspace(0, 1, QUANTILES + 1)))
        return Scaling(quantiles=tuple(knots.tolist())) if len(knots) > 1 else _linear(knots[0], 1.0)


class NoScaling(Scaler):
    """Values as they are."""

    name: Literal["none"] = "none"

    def fit(self, values: np.ndarray) -> Scaling:
        return Scaling()


SCALERS: dict[str, type[Component]] = {
    "standard": Standard,
    "minmax": MinMax,
    "symmetric": Symmetric,
    "robust": Robust,
    "quantile": Quantile,
    "none": NoScaling,
}
