"""What is kept of a calibration: maps of probabilities, and the quantiles of prediction sets and intervals."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from danlu.core.component import Frozen


class Temperature(Frozen):
    """Divide logits by a temperature (Guo et al. 2017, https://arxiv.org/abs/1706.04599).

    Changes the confidence of a prediction, never the prediction.
    """

    method: Literal["temperature"] = "temperature"
    temperature: PositiveFloat

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Calibrate probabilities, [samples, classes] -> the same."""
        smallest = float(np.finfo(np.float32).smallest_subnormal)
        logits = np.log(np.maximum(probabilities.astype(np.float64), smallest)) / self.temperature
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float32)


class Isotonic(Frozen):
    """Map probabilities by a rising curve (Zadrozny and Elkan 2002, https://doi.org/10.1145/775047.775151).

    Attributes:
        given, true: the points of one curve per class; of two classes, of the second alone.
    """

    method: Literal["isotonic"] = "isotonic"
    given: tuple[tuple[float, ...], ...]
    true: tuple[tuple[float, ...], ...]

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Calibrate probabilities, [samples, classes] -> the same.

        The classes' curves are normalised to a sum of 1.
        """
        columns = probabilities[:, 1:] if len(self.given) == 1 else probabilities
        curves = zip(columns.T, self.given, self.true, strict=True)
        found = np.stack([np.interp(column, given, true) for column, given, true in curves], axis=1)
        if len(self.given) == 1:
            found = np.concatenate([1 - found, found], axis=1)
        total = found.sum(axis=1, keepdims=True)
        evenly = np.full_like(found, 1 / found.shape[1])
        return np.asarray(np.divide(found, total, out=evenly, where=total > 0), dtype=np.float32)


class ConformalQuantiles(Frozen):
    """Keep the quantiles of split conformal prediction (Angelopoulos and Bates 2021).

    See https://arxiv.org/abs/2107.07511, sections 1 and 4.

    Attributes:
        coverage: the share of new rows that should be covered.
        by: whether it holds over all rows, or within each class.
        rows: number of rows that the quantiles were taken from.
        quantiles: the highest score that is covered: one, or one per class. A class's score is 1 - its probability, a
            number's the absolute error in the target's units, or how far it lies outside of predicted quantiles.
    """

    method: Literal["conformal"] = "conformal"
    coverage: float
    by: Literal["none", "class"] = "none"
    rows: PositiveInt
    quantiles: tuple[float, ...]


AnyCalibration = Annotated[Temperature | Isotonic, Field(discriminator="method")]
