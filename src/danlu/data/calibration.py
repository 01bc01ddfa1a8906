"""What is done to a classifier's probabilities so that they mean what they say.

Fitted on validation by evaluation, kept in the bundle, applied to every answer. In: probabilities [samples, classes].
Out: the same, calibrated, float32.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveFloat

from danlu.core.component import Frozen


class Temperature(Frozen):
    """Logits divided by one number (Guo et al. 2017): changes how sure the model is, never what it answers."""

    method: Literal["temperature"] = "temperature"
    temperature: PositiveFloat

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """[samples, classes] -> the same."""
        smallest = float(np.finfo(np.float32).smallest_subnormal)
        logits = np.log(np.maximum(probabilities.astype(np.float64), smallest)) / self.temperature
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float32)


class Isotonic(Frozen):
    """A rising curve from given to true probability (Zadrozny and Elkan 2002).

    Attributes:
        given, true: the corners of one curve a class; of two classes, of the second alone.
    """

    method: Literal["isotonic"] = "isotonic"
    given: tuple[tuple[float, ...], ...]
    true: tuple[tuple[float, ...], ...]

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """[samples, classes] -> the same; the classes' curves are brought to a sum of 1."""
        columns = probabilities[:, 1:] if len(self.given) == 1 else probabilities
        curves = zip(columns.T, self.given, self.true, strict=True)
        found = np.stack([np.interp(column, given, true) for column, given, true in curves], axis=1)
        if len(self.given) == 1:
            found = np.concatenate([1 - found, found], axis=1)
        total = found.sum(axis=1, keepdims=True)
        evenly = np.full_like(found, 1 / found.shape[1])
        return np.asarray(np.divide(found, total, out=evenly, where=total > 0), dtype=np.float32)


AnyCalibration = Annotated[Temperature | Isotonic, Field(discriminator="method")]
