"""Linear colour steps, composed into one 3x4 matrix per sample.

Brightness scales, contrast moves away from the image's mean grey, saturation moves away from each pixel's grey. All are
linear in the pixel and in the image's mean colour, so a chain of them is `P pixel + Q mean` before any image is seen.
"""

from dataclasses import dataclass

import numpy as np

GREY = {1: np.array([1.0]), 3: np.array([0.2989, 0.587, 0.114])}  # ITU-R 601-2 luma, as torchvision rounds it


@dataclass(frozen=True)
class ColourMatrix:
    """Compose linear colour steps, per sample.

    Attributes:
        pixel: P, [samples, channels, channels].
        mean: Q, [samples, channels, channels], applied to the mean colour of the image before these steps.
    """

    pixel: np.ndarray
    mean: np.ndarray

    @property
    def channels(self) -> int:
        return int(self.pixel.shape[1])

    def adjust_brightness(self, factor: np.ndarray) -> "ColourMatrix":
        """Multiply every value by a factor, [samples]."""
        scale = factor[:, None, None]
        return ColourMatrix(self.pixel * scale, self.mean * scale)

    def adjust_contrast(self, factor: np.ndarray) -> "ColourMatrix":
        """Move away from (above 1) or towards (below 1) the mean grey, [samples]."""
        scale = factor[:, None, None]
        grey = GREY[self.channels] @ (self.pixel + self.mean)  # the mean grey as a function of the mean colour
        return ColourMatrix(self.pixel * scale, self.mean * scale + (1 - scale) * grey[:, None, :])

    def adjust_saturation(self, factor: np.ndarray) -> "ColourMatrix":
        """Move away from (above 1) or towards (below 1) each pixel's grey, [samples]."""
        scale = factor[:, None, None]
        step = scale * np.eye(self.channels) + (1 - scale) * GREY[self.channels]
        return ColourMatrix(step @ self.pixel, step @ self.mean)


def identity_colour(count: int, channels: int) -> ColourMatrix:
    """Return the identity colour matrix of `count` samples."""
    identity = np.tile(np.eye(channels), (count, 1, 1))
    return ColourMatrix(identity, np.zeros_like(identity))
