"""Apply image augmentations on the CPU: one uint8 image of any size in, one of the model's size out. Thread-safe.

Small images are transformed in batches, by `device`: for those, calls cost ten times what their pixels do.

torch resamples and mixes colours, Pillow shifts hues, blurs and filters tones; both release the interpreter meanwhile.
Where an image is reduced a lot it is antialiased first, because an affine resampling looks at four pixels only; without
rotation or shear one antialiased resize does it all. torchvision's functions do the same, step by step.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from danlu.core.seeds import Seed
from danlu.data.augment.base import FILTERS, AugmentParams, Filter, ImageAugmentation, draw_params
from danlu.data.augment.hash_rng import NORMAL_BITS, hash_counters, normal_table
from danlu.data.augment.images import Color, Erase, Flip, RandomCrop, Rotate, Scale, Shear, Translate
from danlu.data.augment.tabular import Noise

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

ROUNDING = 1e-6  # pixels
REDUCED = 2.0  # original pixels per result pixel, above which four neighbours are too few
SMALL = 64  # side in pixels, up to which batches are faster than single images
SLIGHT_BLUR = 0.9  # pixels: below it a 5x5 kernel holds the whole Gaussian, which Pillow's boxes then miss by far


@dataclass(frozen=True)
class HostAugment:
    """Apply the recipe's image augmentations on the CPU.

    Attributes:
        steps: in the recipe's order.
        size: side of the result in pixels.
        channels: 1 or 3.
        seed: the recipe's.
    """

    steps: Sequence[ImageAugmentation]
    size: int
    channels: int
    seed: Seed

    def __call__(self, image: np.ndarray, row: int, epoch: int) -> np.ndarray:
        """Transform one image as in an epoch.

        Args:
            image: [height, width, channels] uint8, of any size.
            row: its position among the training samples.
            epoch: counted from 0.

        Returns:
            [size, size, channels] uint8, of its own memory.
        """
        return self.apply(image, self.draw_params(np.array([row]), epoch), 0)

    @property
    def stored_size(self) -> int:
        """Return the image side from which half of the crops need not be enlarged.

        It is the best size for a cache of images.
        """
        crops = [step for step in self.steps if isinstance(step, RandomCrop)]
        share = sum(crops[0].scale) / 2 if crops else 1.0
        return math.ceil(self.size / math.sqrt(share))

    def draw_params(self, rows: np.ndarray, epoch: int) -> AugmentParams:
        """Draw the parameters of some rows at once.

        It costs hardly more than those of one.
        """
        return draw_params(self.steps, rows, epoch, self.seed, self.channels)

    def least_size(self, plan: AugmentParams, index: int, width: int, height: int) -> tuple[int, int]:
        """Return the width and height that decoding must keep for the result.

        Parameters say where in an image, not at which pixel, so the same ones apply to the reduced image.
        """
        across, down = _steps(plan.matrix(index, width, height, self.size))
        shrink = max(1.0, min(across, down))
        return math.ceil(width / shrink), math.ceil(height / shrink)

    def prefers_batches(self, side: int) -> bool:
        """Return whether images of this side are best transformed by `apply_batch`.

        Only where both executors do the same to them, and one image's result depends on no other.
        """
        return side == self.size and side <= SMALL and _same_as_device(self.steps)

    def apply_batch(self, images: np.ndarray, plan: AugmentParams) -> np.ndarray:
        """Transform images of the model's size, [batch, size, size, channels] uint8, in and out."""
        import torch

        from danlu.data.augment.device import apply

        changed = apply(torch.from_numpy(images).permute(0, 3, 1, 2), plan, self.size)
        return changed.permute(0, 2, 3, 1).numpy()

    def apply(self, image: np.ndarray, plan: AugmentParams, index: int) -> np.ndarray:
        """Transform the image of sample `index`; shapes as in `__call__`."""
        height, width, _ = image.shape
        planes = resample(image, plan.matrix(index, width, height, self.size), self.size)
        if plan.colours is not None:
            planes = apply_colour(planes, plan.colours.pixel[index], plan.colours.mean[index])
        pixels = _pixels(planes)
        if plan.blur[index] > 0 or plan.filters or (plan.hue is not None and plan.hue[index] != 0):
            pixels = _through_pillow(pixels, plan, index)
        if plan.noise[index] > 0:
            pixels = self._add_noise(pixels, plan.keys[index], float(plan.noise[index]))
        for left, top, right, bottom in np.round(plan.erased[index] * self.size).astype(int):
            pixels[top:bottom, left:right] = 0
        return pixels

    @cached_property
    def _counters(self) -> np.ndarray:
        return np.arange(self.size * self.size * self.channels, dtype=np.uint32)

    def _add_noise(self, pixels: np.ndarray, key: np.uint32, levels: float) -> np.ndarray:
        bits = hash_counters(self._counters, key) >> np.uint32(32 - NORMAL_BITS)
        noise = normal_table()[bits].reshape(pixels.shape) * np.float32(levels)
        noisy: np.ndarray = np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)
        return noisy


def _same_as_device(steps: Sequence[ImageAugmentation]) -> bool:
    """Return whether `device` gives the same result as this module.

    It does where nothing is reduced a lot, cut out, or left to Pillow.
    """
    reduced = 1.0
    for step in steps:
        if isinstance(step, Scale):
            reduced /= step.factor[0]
        elif isinstance(step, Color):
            if step.hue:
                return False
        elif not isinstance(step, Flip | Translate | Rotate | Shear | Erase | Noise):
            return False
    return reduced < REDUCED


def _steps(matrix: np.ndarray) -> tuple[float, float]:
    """Return how many original pixels one result pixel spans, along both axes."""
    return math.hypot(matrix[0, 0], matrix[1, 0]), math.hypot(matrix[0, 1], matrix[1, 1])


def resample(image: np.ndarray, matrix: np.ndarray, size: int) -> "Tensor":
    """Resample an image by a matrix, with black outside of the original.

    Args:
        image: [height, width, channels] uint8.
        matrix: from a point of the result to a point of the original, [2, 3].
        size: side of the result in pixels.

    Returns:
        [channels, size, size], uint8 or float in grey levels.
    """
    import torch

    height, width, channels = image.shape
    corners = matrix @ np.array([[0, size, 0, size], [0, 0, size, size], [1, 1, 1, 1]], dtype=np.float64)
    low, high = corners.min(axis=1), corners.max(axis=1)
    inside = bool((low > -ROUNDING).all() and (high < np.array([width, height]) + ROUNDING).all())
    if (
        inside
        and abs(matrix[0, 1]) + abs(matrix[1, 0]) < ROUNDING
        and (abs(corners % 1.0 - 0.5) > 0.5 - ROUNDING).all()
    ):
        return _resized(image, matrix, np.rint(low).astype(int), np.rint(high).astype(int), size)
    # Only the pixels that are sampled are converted, with a margin of 2 for bilinear neighbours.
    left, top = (max(0, math.floor(edge) - 2) for edge in low)
    right, bottom = (min(side, math.ceil(edge) + 2) for edge, side in zip(high, (width, height), strict=True))
    if right <= left or bottom <= top:
        return torch.zeros(channels, size, size)
    planes = _planes(image[top:bottom, left:right])
    matrix = matrix - np.array([[0, 0, left], [0, 0, top]])
    shrink = min(_steps(matrix))
    if shrink >= REDUCED:
        wanted = (math.ceil((bottom - top) / shrink), math.ceil((right - left) / shrink))
        planes = _antialiased(planes, wanted)
    return _sampled(planes, matrix, (right - left, bottom - top), size, inside)


def _resized(image: np.ndarray, matrix: np.ndarray, low: np.ndarray, high: np.ndarray, size: int) -> "Tensor":
    """Resize a box of whole pixels with antialiasing, mirrored where the matrix runs backwards."""
    planes = _antialiased(_planes(image[low[1] : high[1], low[0] : high[0]]), (size, size))[0]
    mirrored = [axis for axis, scale in ((2, matrix[0, 0]), (1, matrix[1, 1])) if scale < 0]
    return planes.flip(mirrored) if mirrored else planes


def _antialiased(planes: "Tensor", wanted: tuple[int, int]) -> "Tensor":
    from torch.nn.functional import interpolate

    if planes.shape[2:] == wanted:
        return planes
    return interpolate(planes, size=wanted, mode="bilinear", antialias=True)


def _planes(pixels: np.ndarray) -> "Tensor":
    """Return [1, channels, height, width] uint8 in the memory order torch resizes fastest."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nothing writes to it
        planes = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    return planes.contiguous(memory_format=torch.channels_last)


def _sampled(planes: "Tensor", matrix: np.ndarray, extent: tuple[int, int], size: int, inside: bool) -> "Tensor":
    """Sample planes bilinearly; they show `extent` pixels, whatever their own resolution."""
    import torch
    from torch.nn.functional import grid_sample

    # grid_sample counts from -1 to 1 across the planes.
    unit = matrix * (2.0 / np.array(extent))[:, None] - np.array([[0, 0, 1], [0, 0, 1]])
    middles = np.arange(size) + 0.5
    # x and y as one complex number: a sum of two vectors, in a tenth of the time that affine_grid takes.
    along, across = unit[:, :1] * middles, unit[:, 1:2] * middles + unit[:, 2:]
    rows, columns = (torch.from_numpy((x + 1j * y).astype(np.complex64)) for x, y in (across, along))
    grid = torch.view_as_real(rows[:, None] + columns)[None]
    found = grid_sample(planes.float(), grid, padding_mode="border", align_corners=False)[0]
    return found if inside else found.mul_(torch.from_numpy(_covered(unit, across, middles)))


def _covered(unit: np.ndarray, across: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """Return which pixels lie within the original, [size, size] bool.

    In each row they are one run of columns.
    """
    with np.errstate(divide="ignore", invalid="ignore"):  # axes that do not change along a row: all of it, or nothing
        ends = (np.array([-1.0, 1.0])[:, None, None] - across) / unit[:, :1]
    first, last = ends.min(axis=0).max(axis=0), ends.max(axis=0).min(axis=0)
    return np.asarray((middles >= first[:, None]) & (middles <= last[:, None]))


def apply_colour(planes: "Tensor", pixel: np.ndarray, mean: np.ndarray) -> "Tensor":
    """Apply all linear colour steps in one matrix product.

    Planes are [channels, size, size] as they come from `resample`.
    """
    import torch

    if not mean.any() and (pixel == np.eye(len(pixel))).all():
        return planes
    flat = planes.reshape(len(planes), -1).float()
    constant = torch.from_numpy(mean).float() @ flat.mean(dim=1)
    return torch.addmm(constant[:, None], torch.from_numpy(pixel).float(), flat).view_as(planes)


def _pixels(planes: "Tensor") -> np.ndarray:
    """Convert [channels, size, size] grey levels to [size, size, channels] uint8 of its own memory."""
    import torch

    if planes.dtype != torch.uint8:
        planes = planes.add(0.5).clamp_(0, 255).to(torch.uint8)  # to() cuts fractions off
    return torch.stack(planes.unbind(), dim=-1).numpy()  # a quarter of the time that permuting takes


def _through_pillow(pixels: np.ndarray, plan: AugmentParams, index: int) -> np.ndarray:
    """Apply hue shift, tone filters and blur, [size, size, channels] uint8."""
    from PIL import Image

    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    if plan.hue is not None and plan.hue[index] != 0:
        picture = hue_shift(picture, float(plan.hue[index]))
    for slot in plan.filters:
        picture = apply_filter(picture, FILTERS[slot.codes[index]], float(slot.values[index]))
    if plan.blur[index] > 0:
        picture = gaussian_blur(picture, float(plan.blur[index]))
    return np.array(picture).reshape(pixels.shape)


def hue_shift(picture: "Image", turns: float) -> "Image":
    """Shift the hue, in HSV of 256 steps."""
    from PIL import Image

    hue, saturation, value = picture.convert("HSV").split()
    turn = round(turns * 256)
    hue = hue.point([(level + turn) % 256 for level in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


def gaussian_blur(picture: "Image", sigma: float) -> "Image":
    """Blur by a Gaussian of a deviation in pixels."""
    from PIL import ImageFilter

    if sigma >= SLIGHT_BLUR:
        return picture.filter(ImageFilter.GaussianBlur(sigma))
    weights = np.exp(-0.5 * (np.arange(-2, 3) / sigma) ** 2)
    kernel = np.outer(weights, weights).ravel() / weights.sum() ** 2
    return picture.filter(ImageFilter.Kernel((5, 5), kernel.tolist(), scale=1))


def apply_filter(picture: "Image", name: Filter, value: float) -> "Image":
    """Apply one tone filter, as Pillow and torchvision define it."""
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
