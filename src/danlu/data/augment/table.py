"""The augmentations that a recipe may name, with their options. Imports no torch."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from danlu.core.component import Component
from danlu.data.dataset import Kind

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Augmentation(Component):
    """One random change.

    Attributes:
        kinds: the kinds of data it can change.
    """

    kinds: ClassVar[tuple[Kind, ...]]


class RandomCrop(Augmentation):
    """Cut out a random part and resize it to `size`."""

    kinds = ("image",)
    name: Literal["random-crop"] = "random-crop"
    size: PositiveInt
    scale: tuple[Probability, Probability] = (0.5, 1.0)


class Rotate(Augmentation):
    """Rotate by a random angle of at most `degrees`."""

    kinds = ("image",)
    name: Literal["rotate"] = "rotate"
    degrees: Annotated[float, Field(ge=0.0, le=180.0)]


class Flip(Augmentation):
    """Mirror with the given probabilities."""

    kinds = ("image",)
    name: Literal["flip"] = "flip"
    horizontal: Probability = 0.5
    vertical: Probability = 0.0


class Color(Augmentation):
    """Change brightness, contrast and saturation by random factors around 1."""

    kinds = ("image",)
    name: Literal["color"] = "color"
    brightness: NonNegativeFloat = 0.0
    contrast: NonNegativeFloat = 0.0
    saturation: NonNegativeFloat = 0.0


class Noise(Augmentation):
    """Add Gaussian noise; `std` is in units of the full range."""

    kinds = ("image",)
    name: Literal["noise"] = "noise"
    std: NonNegativeFloat


AUGMENTATIONS: dict[str, type[Component]] = {
    "random-crop": RandomCrop,
    "rotate": Rotate,
    "flip": Flip,
    "color": Color,
    "noise": Noise,
}
