"""Carries out plans on the CPU: one uint8 image of any size in, one of the model's size out. Safe in threads.

Pillow does the work: it lets other threads run meanwhile. An image that is reduced a lot is first averaged in whole
blocks, because an affine resampling looks at four pixels only; without turns or slants Pillow's antialiased resize
does both in one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from danlu.core.seeds import Seed
from danlu.data.augment.base import ImageAugmentation
from danlu.data.augment.draw import NORMAL_BITS, hashed, normal_table
from danlu.data.augment.plan import FILTERS, Filter, Plan, plan_images

if TYPE_CHECKING:
    from PIL.Image import Image

STRAIGHT = 1e-9  # sines below this are rounding
SLIGHT_BLUR = 0.9  # pixels: below it a 5x5 kernel holds the whole Gaussian, which Pillow's boxes then miss by far


@dataclass(frozen=True)
class HostAugment:
    """The recipe's image augmentations on the CPU.

    Attributes:
        steps: in the recipe's order.
        size: pixels a side of the result.
        channels: 1 or 3.
        seed: the recipe's.
    """

    steps: Sequence[ImageAugmentation]
    size: int
    channels: int
    seed: Seed

    def __call__(self, image: np.ndarray, row: int, epoch: int) -> np.ndarray:
        """One image as it is in an epoch.

        Args:
            image: [height, width, channels] uint8, of any size.
            row: its position among the training examples.
            epoch: counted from 0.

        Returns:
            [size, size, channels] uint8.
        """
        return self.apply(image, self.plan(np.array([row]), epoch), 0)

    def plan(self, rows: np.ndarray, epoch: int) -> Plan:
        """The parameters of some rows at once, which costs little more than those of one."""
        return plan_images(self.steps, rows, epoch, self.seed, self.channels)

    def least_size(self, plan: Plan, index: int, width: int, height: int) -> tuple[int, int]:
        """Width and height to which an image may be decoded without losing anything that the result shows.

        Plans say where in an image, not at which pixel, so the same plan applies to the reduced one.
        """
        across, down = _steps(plan.matrix(index, width, height, self.size))
        shrink = max(1.0, min(across, down))
        return math.ceil(width / shrink), math.ceil(height / shrink)

    def apply(self, image: np.ndarray, plan: Plan, index: int) -> np.ndarray:
        """Carry out the plan's sample `index` on its image; shapes as in `__call__`."""
        height, width, _ = image.shape
        picture = resampled(image, plan.matrix(index, width, height, self.size), self.size)
        picture = recoloured(picture, plan, index)
        for slot in plan.filters:
            picture = filtered(picture, FILTERS[slot.codes[index]], float(slot.values[index]))
        if plan.blur[index] > 0:
            picture = blurred(picture, float(plan.blur[index]))
        pixels = np.asarray(picture).reshape(self.size, self.size, self.channels)
        if plan.noise[index] > 0:
            pixels = self._noisy(pixels, plan.keys[index], float(plan.noise[index]))
        boxes = np.round(plan.erased[index] * self.size).astype(int)
        for left, top, right, bottom in boxes:
            if right > left and bottom > top:
                pixels = pixels.copy()
                pixels[top:bottom, left:right] = 0
        return pixels

    @cached_property
    def _counters(self) -> np.ndarray:
        return np.arange(self.size * self.size * self.channels, dtype=np.uint32)

    def _noisy(self, pixels: np.ndarray, key: np.uint32, levels: float) -> np.ndarray:
        bits = hashed(self._counters, key) >> np.uint32(32 - NORMAL_BITS)
        noise = normal_table()[bits].reshape(pixels.shape) * np.float32(levels)
        noisy: np.ndarray = np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)
        return noisy


def _steps(matrix: np.ndarray) -> tuple[float, float]:
    """How many pixels of the original one pixel of the result spans, along its two axes."""
    return math.hypot(matrix[0, 0], matrix[1, 0]), math.hypot(matrix[0, 1], matrix[1, 1])


def resampled(image: np.ndarray, matrix: np.ndarray, size: int) -> "Image":
    """The one resampling: each pixel of the result from where the matrix says, black where that is outside.

    Args:
        image: [height, width, channels] uint8.
        matrix: from a point of the result to a point of the original, [2, 3].
        size: pixels a side of the result.
    """
    from PIL import Image

    height, width, channels = image.shape
    corners = matrix @ np.array([[0, size, 0, size], [0, 0, size, size], [1, 1, 1, 1]], dtype=np.float64)
    low, high = corners.min(axis=1), corners.max(axis=1)
    straight = abs(matrix[0, 1]) + abs(matrix[1, 0]) < STRAIGHT
    if straight and (low > -1e-6).all() and (high < np.array([width, height]) + 1e-6).all():
        return _resized(image, matrix, low, high, size)
    # Only what is looked at goes through Pillow: a margin of 2 for the neighbours that bilinear weights ask for.
    left, top = (max(0, math.floor(edge) - 2) for edge in low)
    right, bottom = (min(side, math.ceil(edge) + 2) for edge, side in zip(high, (width, height), strict=True))
    if right <= left or bottom <= top:
        return Image.new("L" if channels == 1 else "RGB", (size, size))
    part = _picture(image[top:bottom, left:right])
    matrix = matrix - np.array([[0, 0, left], [0, 0, top]])
    block = int(min(_steps(matrix)))
    if block >= 2:
        part = part.reduce(block)
        matrix = matrix / block
    return part.transform(
        (size, size), Image.Transform.AFFINE, tuple(matrix.ravel().tolist()), Image.Resampling.BILINEAR
    )


def _resized(image: np.ndarray, matrix: np.ndarray, low: np.ndarray, high: np.ndarray, size: int) -> "Image":
    """A box of the image, antialiased, mirrored where the matrix runs backwards."""
    from PIL import Image

    height, width, _ = image.shape
    margin = np.ceil((high - low) / size) + 1  # the filter's reach beyond the box
    left, top = (int(max(0, math.floor(edge - reach))) for edge, reach in zip(low, margin, strict=True))
    right, bottom = np.minimum(np.ceil(high + margin), [width, height]).astype(int)
    corner = np.array([left, top])
    limits = np.array([right, bottom]) - corner
    box = (*np.maximum(low - corner, 0.0).tolist(), *np.minimum(high - corner, limits).tolist())
    picture = _picture(image[top:bottom, left:right])
    picture = picture.resize((size, size), Image.Resampling.BILINEAR, box=box)
    if matrix[0, 0] < 0:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if matrix[1, 1] < 0:
        picture = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return picture


def _picture(pixels: np.ndarray) -> "Image":
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))


def recoloured(picture: "Image", plan: Plan, index: int) -> "Image":
    """Linear colour steps in one matrix, then the hue."""
    if plan.colours is not None:
        pixel, mean = plan.colours.pixel[index], plan.colours.mean[index]
        # What does not look at the mean colour need not know it.
        constant = mean @ _mean_colour(picture) if mean.any() else np.zeros(len(mean))
        if len(constant) == 1:
            scale, shift = float(pixel[0, 0]), float(constant[0]) + 0.5
            picture = picture.point([min(255, max(0, int(value * scale + shift))) for value in range(256)])
        elif constant.any() or (pixel != np.eye(3)).any():
            matrix = np.column_stack([pixel, constant])
            picture = picture.convert("RGB", tuple(matrix.ravel().tolist()))
    if plan.hue is not None and plan.hue[index] != 0:
        from PIL import Image

        hue, saturation, value = picture.convert("HSV").split()
        turn = round(float(plan.hue[index]) * 255)
        hue = hue.point([(level + turn) % 256 for level in range(256)])
        picture = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    return picture


def _mean_colour(picture: "Image") -> np.ndarray:
    """[channels]."""
    counts = np.array(picture.histogram(), dtype=np.float64).reshape(-1, 256)
    return counts @ np.arange(256) / (picture.width * picture.height)


def blurred(picture: "Image", sigma: float) -> "Image":
    """A Gaussian of a deviation in pixels."""
    from PIL import ImageFilter

    if sigma >= SLIGHT_BLUR:
        return picture.filter(ImageFilter.GaussianBlur(sigma))
    weights = np.exp(-0.5 * (np.arange(-2, 3) / sigma) ** 2)
    kernel = np.outer(weights, weights).ravel() / weights.sum() ** 2
    return picture.filter(ImageFilter.Kernel((5, 5), kernel.tolist(), scale=1))


def filtered(picture: "Image", name: Filter, value: float) -> "Image":
    """One tone filter, as Pillow and torchvision define them."""
    from PIL import Image, ImageFilter, ImageOps

    match name:
        case "posterize":
            return ImageOps.posterize(picture, int(value))
        case "solarize":
            return ImageOps.solarize(picture, math.ceil(value))
        case "autocontrast":
            return ImageOps.autocontrast(picture)
        case "equalize":
            return ImageOps.equalize(picture)
        case "sharpness":
            return Image.blend(picture.filter(ImageFilter.SMOOTH), picture, value)
        case _:
            return picture
