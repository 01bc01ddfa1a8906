"""Policies that choose among fourteen operations for each image: RandAugment and TrivialAugment. Imports no torch.

Both draw from the operations and ranges of their papers; a chosen operation joins the image's parameters like any
other, so whatever is drawn, there is one resampling and one colour matrix.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveInt

from danlu.data.augment.affine import rotation, shearing, translation
from danlu.data.augment.base import ImageAugmentation
from danlu.data.augment.draw import HashRng
from danlu.data.augment.plan import FILTERS, AugmentBuilder

OPERATIONS = (
    *("identity", "shear-x", "shear-y", "translate-x", "translate-y", "rotate", "brightness", "contrast", "saturation"),
    *("sharpness", "posterize", "solarize", "autocontrast", "equalize"),
)
STRONGEST = 30  # the papers count magnitudes from 0 to 30


@dataclass(frozen=True)
class Ranges:
    """Hold the strongest magnitude of each operation.

    A shear's tangent, a fraction of the side, degrees, a factor, bits lost.
    """

    shear: float
    translate: float
    rotate: float
    factor: float
    bits: int


class RandAugment(ImageAugmentation):
    """Apply `layers` random operations of one magnitude (Cubuk et al. 2020, https://arxiv.org/abs/1909.13719)."""

    name: Literal["randaugment"] = "randaugment"
    layers: PositiveInt = 2
    magnitude: Annotated[float, Field(ge=0.0, le=STRONGEST)] = 9.0

    def add(self, sketch: AugmentBuilder, draw: HashRng) -> None:
        ranges = Ranges(shear=0.3, translate=150 / 331, rotate=30.0, factor=0.9, bits=4)
        for layer in range(self.layers):
            _operate(sketch, draw.derive(layer), np.full(sketch.count, self.magnitude / STRONGEST), ranges)


class TrivialAugment(ImageAugmentation):
    """Apply one operation of random magnitude (Müller and Hutter 2021, https://arxiv.org/abs/2103.10158).

    Its ranges are wide; there is nothing to tune.
    """

    name: Literal["trivialaugment"] = "trivialaugment"

    def add(self, sketch: AugmentBuilder, draw: HashRng) -> None:
        # The paper moves by up to 32 pixels, which is meant for images of 224.
        ranges = Ranges(shear=0.99, translate=32 / 224, rotate=135.0, factor=0.99, bits=6)
        _operate(sketch, draw, draw.integers("magnitude", STRONGEST + 1) / STRONGEST, ranges)


def _operate(sketch: AugmentBuilder, draw: HashRng, magnitude: np.ndarray, ranges: Ranges) -> None:
    """Apply one operation to each sample, of a magnitude in [0, 1], [samples]."""
    chosen = draw.integers("operation", len(OPERATIONS))
    signed = magnitude * np.where(draw.bernoulli("sign", 0.5), 1.0, -1.0)

    def only(operation: str, value: np.ndarray) -> np.ndarray:
        return np.where(chosen == OPERATIONS.index(operation), value, 0.0)

    slant = np.degrees(np.arctan(signed * ranges.shear))
    sketch.add_geometry(shearing(only("shear-x", slant), only("shear-y", slant)))
    way = signed * ranges.translate
    sketch.add_geometry(translation(only("translate-x", way), only("translate-y", way)))
    sketch.add_geometry(rotation(only("rotate", signed * ranges.rotate)))
    factor = signed * ranges.factor
    sketch.colour(*(1.0 + only(operation, factor) for operation in ("brightness", "contrast", "saturation")))
    codes = np.zeros(len(chosen), dtype=np.int64)
    for code, operation in enumerate(FILTERS):
        if operation in OPERATIONS:
            codes[chosen == OPERATIONS.index(operation)] = code
    values = (
        only("sharpness", 1.0 + factor)
        + only("posterize", 8 - np.round(magnitude * ranges.bits))
        + only("solarize", 255.0 * (1.0 - magnitude))
    )
    sketch.filter(codes, values)
