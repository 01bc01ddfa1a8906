"""Targets: answers -> tensors, a model's outputs -> readable predictions, and the calibration of probabilities.

Labels and statistics are fitted on the training split, calibration on validation by `danlu.evaluation`; both are kept
as plain data in the bundle.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveFloat

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


AnyCalibration = Annotated[Temperature | Isotonic, Field(discriminator="method")]
