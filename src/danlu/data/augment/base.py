"""Base classes of augmentations, and the parameters of image augmentations, drawn before any pixel is seen.

Imports no torch. In: the recipe's image augmentations, rows, an epoch. Out: AugmentParams, which `host` carries out on
one uint8 image at a time and `device` on whole batches. The stages come in one order whatever the recipe's: geometry in
one resampling, linear colour in one matrix, hue, tone filters, blur, noise, erasing. Within a stage the recipe's order
holds.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from danlu.core.seeds import Seed
from danlu.data.augment.hash_rng import HashRng
from danlu.data.augment.transforms import (
    Affine,
    ColourMatrix,
    CropWindow,
    back_to_source,
    center_square_box,
    identity,
    identity_colour,
)
from danlu.recipe.components import AugmentationOptions

if TYPE_CHECKING:
    from danlu.data.descriptors import TokenizerFile
    from danlu.data.loader import BatchTransform, PreparedDataset

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Augmentation(AugmentationOptions):
    """Transform training samples at random.

    Attributes:
        kinds: the kinds of data it can change.
    """

    kinds: ClassVar[tuple[str, ...]]


class ImageAugmentation(Augmentation):
    """Transform single images by adding to the parameters that both executors carry out.

    Example:
        >>> import numpy as np
        >>> import danlu
        >>> class Darker(danlu.ImageAugmentation):
        ...     name: str = "darker"
        ...     def add(self, builder, rng):
        ...         builder.colour(brightness=np.full(builder.count, 0.5))
        >>> Darker().kinds
        ('image',)
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)

    @abstractmethod
    def add(self, builder: "AugmentBuilder", rng: HashRng) -> None:
        """Draw this transform's parameters for every row and add them to the builder."""


@dataclass(frozen=True)
class TransformContext:
    """Hold what batch transforms are built from.

    Attributes:
        dataset: the training samples, prepared and balanced; nothing else is ever looked at.
        seed: this transform's own.
        tokenizer: of texts.
    """

    dataset: "PreparedDataset"
    seed: Seed
    tokenizer: "TokenizerFile | None" = None


class BatchAugmentation(Augmentation):
    """Transform whole batches of texts or table rows.

    Example:
        >>> from dataclasses import replace
        >>> import danlu
        >>> class Negate(danlu.BatchAugmentation):
        ...     kinds = ("tabular",)
        ...     name: str = "negate"
        ...     def build_transform(self, setting):
        ...         def negate(batch):
        ...             return replace(batch, inputs={key: -value for key, value in batch.inputs.items()})
        ...         return negate
        >>> Negate().name
        'negate'
    """

    @abstractmethod
    def build_transform(self, setting: TransformContext) -> "BatchTransform":
        """Build the transform that the loader applies.

        Raises:
            RecipeError: the data does not support it.
        """


Filter = Literal["none", "posterize", "solarize", "autocontrast", "equalize", "sharpness"]
FILTERS: tuple[Filter, ...] = ("none", "posterize", "solarize", "autocontrast", "equalize", "sharpness")


@dataclass(frozen=True)
class ToneFilter:
    """Hold at most one tone filter per sample.

    Attributes:
        codes: positions in FILTERS, [samples].
        values: bits kept, the threshold in [0, 256), or the factor of sharpness, [samples].
    """

    codes: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class AugmentParams:
    """Hold the augmentation parameters of some samples; all arrays have samples first.

    Attributes:
        before, window, after: geometry on the whole image, the part cut out (the middle square when None), and
            geometry on that part.
        colours: the linear colour steps; None when there are none.
        hue: turns of the colour wheel, [samples] in [-0.5, 0.5]; None when there are none.
        filters: tone filters, in order.
        blur: deviation of a Gaussian in pixels of the result, [samples]; 0 for none.
        noise: deviation in grey levels, [samples]; 0 for none.
        keys: hash keys of each sample's noise, [samples] uint32.
        erased: left, top, right and bottom as fractions of the side, [samples, boxes, 4]; empty boxes erase nothing.
        whole_pixels: whether images are moved by whole pixels of the original, which blurs nothing.
    """

    before: Affine
    window: CropWindow | None
    after: Affine
    colours: ColourMatrix | None
    hue: np.ndarray | None
    filters: tuple[ToneFilter, ...]
    blur: np.ndarray
    noise: np.ndarray
    keys: np.ndarray
    erased: np.ndarray
    whole_pixels: bool = False

    def matrices(self, width: int, height: int, size: int) -> np.ndarray:
        """Return matrices from result to original for images of one size, [samples, 2, 3]."""
        boxes = center_square_box(width, height) if self.window is None else self.window.boxes(width, height)
        return self._placed(back_to_source(self.before, boxes, self.after, width, height, size))

    def matrix(self, index: int, width: int, height: int, size: int) -> np.ndarray:
        """Return one sample's matrix, [2, 3]."""
        one = slice(index, index + 1)
        boxes = center_square_box(width, height)
        if self.window is not None:
            window = self.window
            boxes = CropWindow(window.area[one], window.ratio[one], window.place[one]).boxes(width, height)
        before, after = (Affine(steps.linear[one], steps.shift[one]) for steps in (self.before, self.after))
        matrix: np.ndarray = self._placed(back_to_source(before, boxes, after, width, height, size))[0]
        return matrix

    def _placed(self, matrices: np.ndarray) -> np.ndarray:
        """Round the matrices' constant part to whole pixels where the parameters say so.

        The constant part says where an image comes to lie.
        """
        if self.whole_pixels:
            matrices[:, :, 2] = np.rint(matrices[:, :, 2])
        return matrices


class AugmentBuilder:
    """Collect the parameters that each augmentation adds."""

    def __init__(self, count: int, channels: int) -> None:
        self.count, self.channels = count, channels
        self._before, self._after = identity(count), identity(count)
        self._window: CropWindow | None = None
        self._colours: ColourMatrix | None = None
        self._hue: np.ndarray | None = None
        self._filters: list[ToneFilter] = []
        self._blur = self._noise = np.zeros(count)
        self._erased: list[np.ndarray] = []
        self._whole_pixels = False

    def add_geometry(self, step: Affine) -> None:
        """Add a geometric step."""
        if self._window is None:
            self._before = self._before.compose(step)
        else:
            self._after = self._after.compose(step)

    def round_to_pixels(self) -> None:
        """Round translations to whole pixels."""
        self._whole_pixels = True

    def crop(self, window: CropWindow) -> None:
        """Crop a part; at most once."""
        assert self._window is None, "at most one crop"
        self._window = window

    def colour(
        self,
        brightness: np.ndarray | None = None,
        contrast: np.ndarray | None = None,
        saturation: np.ndarray | None = None,
    ) -> None:
        """Add linear colour steps in this order, by factors, [samples]."""
        mix = self._colours or identity_colour(self.count, self.channels)
        mix = mix if brightness is None else mix.adjust_brightness(brightness)
        mix = mix if contrast is None else mix.adjust_contrast(contrast)
        self._colours = mix if saturation is None else mix.adjust_saturation(saturation)

    def turn_hue(self, turns: np.ndarray) -> None:
        """Shift the hue, [samples]; grey images have none."""
        if self.channels == 3:
            self._hue = turns if self._hue is None else self._hue + turns

    def filter(self, codes: np.ndarray, values: np.ndarray) -> None:
        """Add a slot of tone filters."""
        if codes.any():
            self._filters.append(ToneFilter(codes, values))

    def blur(self, sigma: np.ndarray) -> None:
        """Add a blur; variances add up."""
        self._blur = np.hypot(self._blur, sigma)

    def noise(self, levels: np.ndarray) -> None:
        """Add noise; variances add up."""
        self._noise = np.hypot(self._noise, levels)

    def erase(self, boxes: np.ndarray) -> None:
        """Blacken a box, [samples, 4] as in AugmentParams."""
        self._erased.append(boxes)

    def build(self, keys: np.ndarray) -> AugmentParams:
        """Build the parameters; without a crop, all geometry acts on the middle square."""
        before, after = self._before, self._after
        if self._window is None:
            before, after = after, before
        hue = None if self._hue is None else (self._hue + 0.5) % 1.0 - 0.5
        erased = np.stack(self._erased, axis=1) if self._erased else np.zeros((self.count, 0, 4))
        return AugmentParams(
            before=before,
            window=self._window,
            after=after,
            colours=self._colours,
            hue=hue,
            filters=tuple(self._filters),
            blur=self._blur,
            noise=self._noise,
            keys=keys,
            erased=erased,
            whole_pixels=self._whole_pixels,
        )


def draw_params(
    steps: "Sequence[ImageAugmentation]", rows: np.ndarray, epoch: int, seed: Seed, channels: int
) -> AugmentParams:
    """Draw the augmentation parameters of some rows in an epoch.

    Args:
        steps: in the recipe's order.
        rows: positions among the training samples, [rows].
        epoch: counted from 0.
        seed: the recipe's.
        channels: 1 or 3.
    """
    rng = HashRng(rows, seed.derive("augment", epoch))
    builder = AugmentBuilder(len(rows), channels)
    for position, step in enumerate(steps):
        step.add(builder, rng.derive(position))
    return builder.build(rng.keys("noise"))
