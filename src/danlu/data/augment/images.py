"""The augmentations of images that a recipe may name, with their options. Imports no torch.

RandAugment and TrivialAugment choose among fourteen operations for each image, with the operations and ranges of their
papers; a chosen operation joins the image's parameters like any other, so whatever is drawn, there is one resampling
and one colour matrix.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt

from danlu.data.augment.base import FILTERS, AugmentBuilder, ImageAugmentation, Probability
from danlu.data.augment.hash_rng import HashRng
from danlu.data.augment.transforms import CropWindow, flipping, rotation, scaling, shearing, translation


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"the first number must not be above the second, got {pair[0]} and {pair[1]}")
    return pair


Share = Annotated[float, Field(gt=0.0, le=1.0)]
Shares = Annotated[tuple[Share, Share], AfterValidator(_rising)]
Range = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_rising)]


class RandomCrop(ImageAugmentation):
    """Crop a random part and resize it (Szegedy et al. 2015, https://arxiv.org/abs/1409.4842).

    Steps named before it act on the whole image, steps after it on the part. Without it the middle square is taken.
    """

    name: Literal["random-crop"] = "random-crop"
    size: PositiveInt | None = Field(default=None, description="side of the result in pixels; the model's by default")
    scale: Shares = Field(default=(0.5, 1.0), description="least and largest share of the image's area")
    ratio: Range = Field(default=(3 / 4, 4 / 3), description="least and largest width divided by height")

    def add(self, builder: AugmentBuilder, rng: HashRng) -> None:
        ratio = np.exp(rng.uniform("ratio", *np.log(self.ratio)))
        place = np.stack([rng.uniform("x"), rng.uniform("y")], axis=1)
        builder.crop(CropWindow(rng.uniform("area", *self.scale), ratio, place))


class Rotate(ImageAugmentation):
    """Rotate by a random angle of at most `degrees` either way.

    Pixels from outside the image are black.
    """

    name: Literal["rotate"] = "rotate"
    degrees: Annotated[float, Field(ge=0.0, le=180.0)]

    def add(self, builder: AugmentBuilder, rng: HashRng) -> None:
        builder.add_geometry(rotation(rng.uniform("angle", -self.degrees, self.degrees)))


class Scale(ImageAugmentation):
    """Scale about the middle by a random factor, uniform in its logarithm.

    Above 1 enlarges, below 1 reduces.
    """

    name: Literal["scale"] = "scale"
    factor: Range = (0.8, 1.25)

    def add(self, builder: AugmentBuilder, rng: HashRng) -> None:
        builder.add_geometry(scaling(np.exp(rng.uniform("factor", *np.log(self.factor)))))


class Translate(ImageAugmentation):
    """Translate by at most `fraction` of the width and of the height.

    Pixels from outside the image are black.
    """

    name: Literal["translate"] = "translate"
    fraction: Annotated[float, Field(ge=0.0, le=1.0)]
    whole_pixels: bool = Field(
        default=False, description="move by whole pixels of the original, so that small images stay sharp"
    )

    def add(self, builder: AugmentBuilder, rng: HashRng) -> None:
        right, down = (rng.uniform(axis, -self.fraction, self.fraction) for axis in ("x", "y"))
        builder.add_geometry(translation(right, down))
        if self.whole_pixels:
            builder.round_to_pixels()


class Shear(ImageAugmentation):
    """Shear horizontally by a random angle of at most `degrees`."""

    name: Literal["shear"] = "shear"
    degrees: Annotated[float, Field(ge=0.0, lt=90.0)]

    def add(self, builder: AugmentBuilder, rng: HashRng) -> None:
        builder.add_geometry(shearing(rng.uniform("angle", -self.degrees, self.degrees), np.zeros(builder.count)))


class Flip(ImageAugmentation):
    """Mirror with the given probabilities."""

    name: Literal["flip"] = "flip"
    horizontal: Probability = 0.5
    vertical: Probability = 0.0

    def add(self, builder: AugmentBuilder, rng: HashRng) -> None:
        builder.add_geometry(
            flipping(rng.bernoulli("horizontal", self.horizontal), rng.bernoulli("vertical", self.vertical)),
        )


class Color(ImageAugmentation):
    """Jitter brightness, contrast and saturation by random factors around 1, then shift the hue.

    Hue is the expensive one: it needs a conversion to HSV and back, the others are one matrix.
    """

    name: Literal["color"] = "color"
    brightness: NonNegativeFloat = Field(default=0.0, description="factors lie within 1 - this and 1 + this")
    contrast: NonNegativeFloat = 0.0
    saturation: NonNegativeFloat = 0.0
    hue: Annotated[float, Field(ge=0.0, le=0.5)] = Field(default=0.0, description="turns of the colour wheel")

    def add(self, builder: AugmentBuilder, rng: HashRng) -> None:
        def factor(name: str, most: float) -> np.ndarray | None:
            return rng.uniform(name, max(0.0, 1 - most), 1 + most) if most else None

        brightness, contrast = factor("brightness", self.brightness), factor("contrast", self.contrast)
        builder.colour(brightness, contrast, factor("saturation", self.saturation))
        if self.hue:
            builder.turn_hue(rng.uniform("hue", -self.hue, self.hue))


class Blur(ImageAugmentation):
    """Blur by a Gaussian of random deviation, in pixels of the result."""

    name: Literal["blur"] = "blur"
    sigma: Range = (0.1, 2.0)
    probability: Probability = 0.5

    def add(self, builder: AugmentBuilder, rng: HashRng) -> None:
        blurred = rng.bernoulli("blurred", self.probability)
        builder.blur(np.where(blurred, rng.uniform("sigma", *self.sigma), 0.0))


class Erase(ImageAugmentation):
    """Blacken a random box (random erasing, Zhong et al. 2020, https://arxiv.org/abs/1708.04896)."""

    name: Literal["erase"] = "erase"
    probability: Probability = 0.25
    scale: Shares = Field(default=(0.02, 0.33), description="least and largest share of the image's area")
    ratio: Range = Field(default=(0.3, 3.3), description="least and largest width divided by height")

    def add(self, builder: AugmentBuilder, rng: HashRng) -> None:
        area = rng.uniform("area", *self.scale)
        ratio = np.exp(rng.uniform("ratio", *np.log(self.ratio)))
        wide, high = np.minimum(np.sqrt(area * ratio), 1.0), np.minimum(np.sqrt(area / ratio), 1.0)
        left, top = rng.uniform("x") * (1 - wide), rng.uniform("y") * (1 - high)
        erased = rng.bernoulli("erased", self.probability)[:, None]
        builder.erase(np.where(erased, np.stack([left, top, left + wide, top + high], axis=1), 0.0))


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

    def add(self, builder: AugmentBuilder, rng: HashRng) -> None:
        ranges = Ranges(shear=0.3, translate=150 / 331, rotate=30.0, factor=0.9, bits=4)
        for layer in range(self.layers):
            _operate(builder, rng.derive(layer), np.full(builder.count, self.magnitude / STRONGEST), ranges)


class TrivialAugment(ImageAugmentation):
    """Apply one operation of random magnitude (Müller and Hutter 2021, https://arxiv.org/abs/2103.10158).

    Its ranges are wide; there is nothing to tune.
    """

    name: Literal["trivialaugment"] = "trivialaugment"

    def add(self, builder: AugmentBuilder, rng: HashRng) -> None:
        # The paper moves by up to 32 pixels, which is meant for images of 224.
        ranges = Ranges(shear=0.99, translate=32 / 224, rotate=135.0, factor=0.99, bits=6)
        _operate(builder, rng, rng.integers("magnitude", STRONGEST + 1) / STRONGEST, ranges)


def _operate(builder: AugmentBuilder, rng: HashRng, magnitude: np.ndarray, ranges: Ranges) -> None:
    """Apply one operation to each sample, of a magnitude in [0, 1], [samples]."""
    chosen = rng.integers("operation", len(OPERATIONS))
    signed = magnitude * np.where(rng.bernoulli("sign", 0.5), 1.0, -1.0)

    def only(operation: str, value: np.ndarray) -> np.ndarray:
        return np.where(chosen == OPERATIONS.index(operation), value, 0.0)

    slant = np.degrees(np.arctan(signed * ranges.shear))
    builder.add_geometry(shearing(only("shear-x", slant), only("shear-y", slant)))
    way = signed * ranges.translate
    builder.add_geometry(translation(only("translate-x", way), only("translate-y", way)))
    builder.add_geometry(rotation(only("rotate", signed * ranges.rotate)))
    factor = signed * ranges.factor
    builder.colour(*(1.0 + only(operation, factor) for operation in ("brightness", "contrast", "saturation")))
    codes = np.zeros(len(chosen), dtype=np.int64)
    for code, operation in enumerate(FILTERS):
        if operation in OPERATIONS:
            codes[chosen == OPERATIONS.index(operation)] = code
    values = (
        only("sharpness", 1.0 + factor)
        + only("posterize", 8 - np.round(magnitude * ranges.bits))
        + only("solarize", 255.0 * (1.0 - magnitude))
    )
    builder.filter(codes, values)
