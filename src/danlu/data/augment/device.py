"""Apply image augmentations to whole batches on the training device: one grid_sample and one matrix product per batch.

The same parameters give the same images as in `host`, but for rounding; where an image is reduced, this executor looks
at four pixels only, so it takes images that are about as large as the result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from danlu.core.seeds import Seed
from danlu.data.augment.base import FILTERS, AugmentParams, ImageAugmentation, ToneFilter, draw_params
from danlu.data.augment.hash_rng import FINAL_A, FINAL_B, NORMAL_BITS, normal_table
from danlu.data.loader import Batch

WORD = 0xFFFFFFFF  # torch has no 32-bit unsigned arithmetic: 64 bits, masked after each product
SMOOTH = ((1.0, 1.0, 1.0), (1.0, 5.0, 1.0), (1.0, 1.0, 1.0))  # over 13: Pillow's filter of that name


@dataclass(frozen=True)
class DeviceAugment:
    """Apply the recipe's image augmentations to batches on the device.

    Attributes:
        steps: in the recipe's order.
        size: side of the result in pixels.
        seed: the recipe's.
    """

    steps: Sequence[ImageAugmentation]
    size: int
    seed: Seed

    def __call__(self, batch: Batch, take: Callable[[np.ndarray], Batch]) -> Batch:
        images = batch.inputs["image"]
        plan = draw_params(self.steps, batch.rows, batch.epoch, self.seed, images.shape[1])
        return replace(batch, inputs={**batch.inputs, "image": apply(images, plan, self.size)})


def apply(images: Tensor, plan: AugmentParams, size: int) -> Tensor:
    """Apply augmentation parameters to images.

    Args:
        images: [batch, channels, height, width] uint8.
        plan: parameters of as many samples.
        size: side of the result in pixels.

    Returns:
        [batch, channels, size, size] uint8.
    """
    device = images.device
    pixels = resample(images, plan.matrices(images.shape[3], images.shape[2], size), size)
    if plan.colours is not None:
        pixel, mean = (_tensor(part, device) for part in (plan.colours.pixel, plan.colours.mean))
        constant = torch.einsum("bij,bj->bi", mean, pixels.mean(dim=(2, 3)))
        pixels = torch.einsum("bij,bjhw->bihw", pixel, pixels) + constant[:, :, None, None]
    pixels = pixels.clamp(0, 255).round()
    if plan.hue is not None:
        pixels = hue_shift(pixels, _tensor(plan.hue, device))
    for slot in plan.filters:
        pixels = apply_filter(pixels, slot)
    if plan.blur.any():
        pixels = gaussian_blur(pixels, _tensor(plan.blur, device))
    if plan.noise.any():
        noise = hashed_normal(plan.keys, size * size * images.shape[1], device)
        # The host counts along rows, columns and channels, in this order.
        noise = noise.view(-1, size, size, images.shape[1]).permute(0, 3, 1, 2)
        pixels = (pixels + noise * _tensor(plan.noise, device)[:, None, None, None]).clamp(0, 255).round()
    if plan.erased.shape[1]:
        pixels = erase(pixels, np.round(plan.erased * size))
    return pixels.to(torch.uint8)


def resample(images: Tensor, matrices: np.ndarray, size: int) -> Tensor:
    """Resample a batch once, [batch, channels, size, size] float in grey levels."""
    height, width = images.shape[2:]
    # grid_sample counts from -1 to 1 across the image.
    unit = matrices * np.array([[2 / width], [2 / height]]) - np.array([[0, 0, 1], [0, 0, 1]])
    middles = np.arange(size) + 0.5
    # A sum of two vectors: affine_grid is a product of matrices, whose rounding depends on how many there are.
    along = _tensor(unit[:, :, :1] * middles, images.device)
    across = _tensor(unit[:, :, 1:2] * middles + unit[:, :, 2:], images.device)
    grid = torch.stack([across[:, axis, :, None] + along[:, axis, None, :] for axis in (0, 1)], dim=3)
    # As in Pillow, a point on a border pixel has that pixel's colour, not one half black, and ends at the edge.
    found = functional.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    inside = (grid.abs() <= 1).all(dim=3)
    return found * inside[:, None]


def hue_shift(pixels: Tensor, turns: Tensor) -> Tensor:
    """Shift the hue by `turns` [batch], by way of HSV (Smith 1978).

    https://doi.org/10.1145/965139.807361
    """
    scaled = pixels / 255.0
    red, green, blue = scaled.unbind(dim=1)
    value, least = scaled.amax(dim=1), scaled.amin(dim=1)
    spread = value - least
    divisor = torch.where(spread == 0, 1.0, spread)
    sixth = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2.0 + (blue - red) / divisor, 4.0 + (red - green) / divisor),
    )
    sixth = sixth + 6.0 * turns[:, None, None]
    # Each channel falls and rises along the wheel; 5, 3 and 1 are where red, green and blue begin.
    starts = torch.tensor([5.0, 3.0, 1.0], device=pixels.device).view(1, 3, 1, 1)
    along = (starts + sixth[:, None]) % 6.0
    fall = torch.minimum(along, 4.0 - along).clamp(0, 1)
    return ((value[:, None] - spread[:, None] * fall) * 255.0).round()


def apply_filter(pixels: Tensor, slot: ToneFilter) -> Tensor:
    """Apply each tone filter to the samples that have it."""
    for code, name in enumerate(FILTERS):
        chosen = np.flatnonzero(slot.codes == code)
        if name == "none" or len(chosen) == 0:
            continue
        where = torch.from_numpy(chosen).to(pixels.device)
        values = _tensor(slot.values[chosen], pixels.device)[:, None, None, None]
        changed = TONES[name](pixels[where], values)
        pixels = pixels.index_copy(0, where, changed.clamp(0, 255).round())
    return pixels


def _posterize(pixels: Tensor, bits: Tensor) -> Tensor:
    step = 2.0 ** (8 - bits)
    return (pixels / step).floor() * step


def _solarize(pixels: Tensor, threshold: Tensor) -> Tensor:
    return torch.where(pixels >= threshold, 255.0 - pixels, pixels)


def _autocontrast(pixels: Tensor, _: Tensor) -> Tensor:
    low, high = pixels.amin(dim=(2, 3), keepdim=True), pixels.amax(dim=(2, 3), keepdim=True)
    stretched = ((pixels - low) * (255.0 / (high - low).clamp(min=1.0))).floor()
    return torch.where(high > low, stretched, pixels)


def _equalize(pixels: Tensor, _: Tensor) -> Tensor:
    """Equalize each channel's histogram, counted as Pillow does."""
    flat = pixels.long().flatten(2)
    counts = torch.zeros(*flat.shape[:2], 256, dtype=torch.long, device=flat.device)
    counts.scatter_add_(2, flat, torch.ones_like(flat))
    last = counts.gather(2, flat.amax(dim=2, keepdim=True))
    step = (flat.shape[2] - last) // 255
    before = counts.cumsum(dim=2) - counts
    levels = ((before + step // 2) // step.clamp(min=1)).clamp(0, 255)
    return torch.where(step > 0, levels.gather(2, flat), flat).view_as(pixels).float()


def _sharpness(pixels: Tensor, factor: Tensor) -> Tensor:
    channels = pixels.shape[1]
    kernel = (torch.tensor(SMOOTH, device=pixels.device) / 13.0).expand(channels, 1, 3, 3)
    smooth = pixels.clone()
    smooth[:, :, 1:-1, 1:-1] = functional.conv2d(pixels, kernel, groups=channels).round()
    return (smooth + (pixels - smooth) * factor).clamp(0, 255)


TONES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "sharpness": _sharpness,
}


def gaussian_blur(pixels: Tensor, sigma: Tensor) -> Tensor:
    """Blur by a Gaussian of a deviation per sample, [batch]; 0 skips.

    Edges are mirrored.
    """
    batch, channels, height, width = pixels.shape
    reach = min(int(np.ceil(3 * float(sigma.max()))), height - 1, width - 1)
    places = torch.arange(-reach, reach + 1, device=pixels.device, dtype=torch.float32)
    weights = torch.exp(-0.5 * (places / sigma.clamp(min=1e-3)[:, None]) ** 2)
    weights = (weights / weights.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)
    planes = functional.pad(pixels, (reach,) * 4, mode="reflect").reshape(
        1, batch * channels, *_pad_mirrored(pixels, reach)
    )
    planes = functional.conv2d(planes, weights[:, None, None, :], groups=batch * channels)
    planes = functional.conv2d(planes, weights[:, None, :, None], groups=batch * channels)
    return planes.view(batch, channels, height, width).round()


def _pad_mirrored(pixels: Tensor, reach: int) -> tuple[int, int]:
    return pixels.shape[2] + 2 * reach, pixels.shape[3] + 2 * reach


def erase(pixels: Tensor, boxes: np.ndarray) -> Tensor:
    """Blacken the inside of boxes, [batch, boxes, 4] in pixels."""
    places = torch.arange(pixels.shape[-1], device=pixels.device) + 0.5
    for limits in _tensor(boxes, pixels.device).unbind(dim=1):
        left, top, right, bottom = limits[:, :, None].unbind(dim=1)
        across, down = (places > left) & (places < right), (places > top) & (places < bottom)
        pixels = pixels.masked_fill(down[:, None, :, None] & across[:, None, None, :], 0.0)
    return pixels


def _hashed(keys: np.ndarray, count: int, device: torch.device) -> Tensor:
    """Return the same numbers as `hash_rng.hash_counters`, [rows, count] int64."""
    mixed = torch.arange(count, device=device) ^ torch.from_numpy(keys.astype(np.int64)).to(device)[:, None]
    mixed = mixed ^ (mixed >> 16)
    mixed = (mixed * FINAL_A) & WORD
    mixed = mixed ^ (mixed >> 13)
    mixed = (mixed * FINAL_B) & WORD
    return mixed ^ (mixed >> 16)


def hashed_uniform(keys: np.ndarray, count: int, device: torch.device) -> Tensor:
    """Return random numbers in [0, 1) for each row and place, [rows, count] float32.

    Args:
        keys: one per row, [rows] uint32.
        count: number of places per row.
        device: where they are needed.
    """
    return (_hashed(keys, count, device) >> 8).float() * 2.0**-24


def hashed_normal(keys: np.ndarray, count: int, device: torch.device) -> Tensor:
    """Return standard normal numbers for each row and place, [rows, count] float32."""
    table = torch.from_numpy(normal_table()).to(device)
    return table[_hashed(keys, count, device) >> (32 - NORMAL_BITS)]


def _tensor(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(device)
