"""Geometric and linear colour transforms, each composed into one matrix per sample before any image is seen.

Geometry maps a point of the result back to the original. Points are continuous, pixel i covers [i, i + 1], and steps
are relative to the middle of the image, as torchvision's are. A step is `q -> A q - B (width, height)` with q measured
from the middle; such maps compose to another of the same form before the size of any image is known.

Colour: brightness scales, contrast moves away from the image's mean grey, saturation moves away from each pixel's grey.
All are linear in the pixel and in the image's mean colour, so a chain of them is `P pixel + Q mean`.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Affine:
    """Map each point of a transformed image back to the original, per sample.

    Attributes:
        linear: A, [samples, 2, 2]; the identity keeps points where they are.
        shift: B, [samples, 2, 2]: subtracted, in widths (first column) and heights (second) of the image.
    """

    linear: np.ndarray
    shift: np.ndarray

    def compose(self, after: "Affine") -> "Affine":
        """Compose this map with `after`, which is applied to its result."""
        return Affine(self.linear @ after.linear, self.linear @ after.shift + self.shift)

    def where(self, chosen: np.ndarray) -> "Affine":
        """Keep this map for the chosen samples, [samples] bool; use identity for the others."""
        here = chosen[:, None, None]
        return Affine(np.where(here, self.linear, np.eye(2)), np.where(here, self.shift, 0.0))

    def offset(self, width: float, height: float) -> np.ndarray:
        """Return the subtracted shift in pixels, [samples, 2]."""
        pixels: np.ndarray = self.shift @ np.array([width, height])
        return pixels


def identity(count: int) -> Affine:
    """Return the identity map of `count` samples."""
    return Affine(np.tile(np.eye(2), (count, 1, 1)), np.zeros((count, 2, 2)))


def rotation(degrees: np.ndarray) -> Affine:
    """Rotate counter-clockwise, [samples]."""
    angle = np.radians(degrees)
    return _linear(np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle))


def scaling(factor: np.ndarray) -> Affine:
    """Enlarge by factors above 1, [samples]."""
    return _linear(1 / factor, 0.0, 0.0, 1 / factor)


def shearing(horizontal: np.ndarray, vertical: np.ndarray) -> Affine:
    """Shear rows along x and columns along y, by degrees, [samples] each."""
    x, y = np.tan(np.radians(horizontal)), np.tan(np.radians(vertical))
    return _linear(1.0, x, 0.0, 1.0).compose(_linear(np.ones_like(y), 0.0, y, 1.0))


def flipping(horizontal: np.ndarray, vertical: np.ndarray) -> Affine:
    """Mirror left to right and top to bottom, [samples] bool each."""
    return _linear(np.where(horizontal, -1.0, 1.0), 0.0, 0.0, np.where(vertical, -1.0, 1.0))


def translation(right: np.ndarray, down: np.ndarray) -> Affine:
    """Translate by fractions of the width and the height, [samples] each."""
    still = identity(len(right))
    still.shift[:, 0, 0], still.shift[:, 1, 1] = right, down
    return still


def _linear(a: np.ndarray | float, b: np.ndarray | float, c: np.ndarray | float, d: np.ndarray | float) -> Affine:
    parts = np.stack(np.broadcast_arrays(a, b, c, d), axis=-1).reshape(-1, 2, 2)
    return Affine(parts, np.zeros_like(parts))


@dataclass(frozen=True)
class CropWindow:
    """Crop a part of an image, per sample, independently of the image's size.

    Attributes:
        area: the share of the image's area, [samples], in (0, 1].
        ratio: width divided by height, [samples]; a window too wide or high for its image is cut to fit.
        place: position of the window within the room it has, [samples, 2], x and y in [0, 1].
    """

    area: np.ndarray
    ratio: np.ndarray
    place: np.ndarray

    def boxes(self, width: int, height: int) -> np.ndarray:
        """Return left, top, width and height in whole pixels, [samples, 4] float64."""
        pixels = self.area * (width * height)
        wide = np.clip(np.round(np.sqrt(pixels * self.ratio)), 1, width)
        high = np.clip(np.round(np.sqrt(pixels / self.ratio)), 1, height)
        room = np.stack([width - wide, height - high], axis=1)
        return np.concatenate([np.round(room * self.place), wide[:, None], high[:, None]], axis=1)


def center_square_box(width: int, height: int) -> np.ndarray:
    """Return the box of the largest centred square, [1, 4]."""
    side = min(width, height)
    return np.array([[(width - side) // 2, (height - side) // 2, side, side]], dtype=np.float64)


def back_to_source(before: Affine, boxes: np.ndarray, after: Affine, width: int, height: int, size: int) -> np.ndarray:
    """Return the matrix from a point of the result to its point in the original.

    Args:
        before: steps on the whole image, [samples].
        boxes: the part then cut out and resized, [samples or 1, 4].
        after: steps on that, [samples].
        width, height: of the original, in pixels.
        size: side of the result in pixels.

    Returns:
        [samples, 2, 3] float64.
    """
    zoom = boxes[:, 2:] / size
    middle = boxes[:, :2] + boxes[:, 2:] / 2 - np.array([width / 2, height / 2])
    inner = zoom[:, :, None] * after.linear
    linear = before.linear @ inner
    fixed = middle - zoom * after.offset(size, size)
    moved = (before.linear @ fixed[:, :, None])[:, :, 0] - before.offset(width, height) + [width / 2, height / 2]
    constant = moved - linear @ np.array([size / 2, size / 2])
    return np.concatenate([linear, constant[:, :, None]], axis=2)


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
