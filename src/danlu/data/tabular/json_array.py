"""Arrays of numbers inside JSON: exact and short, for matrices in a bundle."""

import base64
from functools import cached_property
from typing import Self

import numpy as np

from danlu.core.component import Frozen


class JsonArray(Frozen):
    """Hold a float32 array of any shape as little-endian bytes in base64."""

    shape: tuple[int, ...]
    base64: str

    @classmethod
    def from_numpy(cls, values: np.ndarray) -> Self:
        """Encode an array."""
        content = np.ascontiguousarray(values, dtype="<f4")
        return cls(shape=content.shape, base64=base64.b64encode(content.tobytes()).decode("ascii"))

    @cached_property
    def array(self) -> np.ndarray:
        """Decode into a read-only float32 array."""
        return np.frombuffer(base64.b64decode(self.base64), dtype="<f4").reshape(self.shape)
