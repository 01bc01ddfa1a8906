"""Arrays of numbers inside plain data: what a bundle's JSON keeps of a matrix, exact and short."""

import base64
from functools import cached_property
from typing import Self

import numpy as np

from danlu.core.component import Frozen


class Matrix(Frozen):
    """A float32 array of any shape as little-endian bytes in base64."""

    shape: tuple[int, ...]
    base64: str

    @classmethod
    def of(cls, values: np.ndarray) -> Self:
        """Keep an array."""
        content = np.ascontiguousarray(values, dtype="<f4")
        return cls(shape=content.shape, base64=base64.b64encode(content.tobytes()).decode("ascii"))

    @cached_property
    def array(self) -> np.ndarray:
        """The array, read-only, float32."""
        return np.frombuffer(base64.b64decode(self.base64), dtype="<f4").reshape(self.shape)
