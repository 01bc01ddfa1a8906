"""The format of a set of images: size, channels, mean and deviation. Fitted on the training split alone.

Pixels stay uint8 until they reach the model, which normalises them itself; a quarter of the memory, and nothing to
forget when serving.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import polars as pl

from danlu.core.seeds import Seed
from danlu.data.dataset import Dataset
from danlu.data.descriptors import DataRequirements, Origin
from danlu.data.images.column import ImageAugmenter, ImageColumn
from danlu.data.images.decode import Header, Levels, read_header
from danlu.data.images.gray_levels import learn_gray_levels
from danlu.data.images.pixels import LazyPixels, PixelSource
from danlu.data.images.store import cache_pixels
from danlu.data.kind import Preprocessor
from danlu.data.specs import ImageInputs
from danlu.data.splits import TrainSplit
from danlu.recipe.sections.data import Data

if TYPE_CHECKING:
    from danlu.data.loader import PreparedDataset

LARGEST_SIZE, SMALLEST_SIZE, STRIDE = 224, 32, 32  # as common networks expect: multiples of their stride
INSPECTED_IMAGES = 256  # images whose size and channels decide the format
STATISTICS_BLOCK = 64  # images at a time in the pass for mean and deviation


class ImagePreprocessor(Preprocessor):
    """Convert all images to one format.

    Attributes:
        levels: black and white of 16-bit gray, as the training images have it; None for all 16 bits.
    """

    kind: Literal["image"] = "image"
    column: str
    channels: Literal[1, 3]
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    levels: Levels | None = None

    @classmethod
    def fit(cls, train: TrainSplit, dataset: Dataset, section: Data, hints: DataRequirements, seed: Seed) -> Self:
        """Choose the format and learn mean and deviation from the training images.

        The format that pretrained weights expect comes before the one that the images suggest.
        """
        wanted = hints.image
        references = train.frame[dataset.content].to_list()
        looked_at = [read_header(reference, dataset.folder) for reference in references[:INSPECTED_IMAGES]]
        gray = wanted is None and all(header.gray for header in looked_at)
        size = section.image_size or (wanted.size if wanted else _choose_size(looked_at))
        channels: Literal[1, 3] = 1 if gray else 3
        levels = learn_gray_levels(references, dataset.folder)
        form = {"column": dataset.content, "channels": channels, "size": size, "levels": levels}
        if wanted is not None:
            return cls.model_validate({**form, "mean": wanted.mean, "std": wanted.std})
        decoded = LazyPixels(references, dataset.folder, size, channels, levels=levels)
        # Augmentation trains on images of another size; caching these would be useless.
        mean, std = _statistics(decoded if section.augment else cache_pixels(decoded))
        return cls.model_validate({**form, "mean": mean, "std": std})

    @property
    def inputs(self) -> ImageInputs:
        return ImageInputs(channels=self.channels, size=self.size, mean=self.mean, std=self.std)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def transform(
        self, frame: pl.DataFrame, place: Origin, augment: ImageAugmenter | None = None, stored_size: int | None = None
    ) -> "PreparedDataset":
        """Convert images to model inputs, in order, decoded when a batch needs them.

        `PreparedDataset.cache` keeps them decoded.

        Args:
            augment: transforms each image of a training epoch, and brings it to the model's size.
            stored_size: side in pixels of the images given to `augment`, so that its crops need not be enlarged. At
                least the model's size, at most what most of the images have themselves.
        """
        from danlu.data.loader import PreparedDataset

        references = frame[self.column].to_list()
        side = self.size
        if stored_size is not None:
            headers = [read_header(reference, place.folder) for reference in references[:INSPECTED_IMAGES]]
            side = max(side, min(stored_size, int(_median_shorter_side(headers))))
        pixels = LazyPixels(references, place.folder, side, self.channels, levels=self.levels, errors=place.errors)
        return PreparedDataset((ImageColumn(pixels, augment),))

    def iter_arrays(
        self, frame: pl.DataFrame, place: Origin, size: int
    ) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray | None]]:
        """Yield batches of images, [batch, channels, side, side] uint8; without torch."""
        references = frame[self.column].to_list()
        pixels = LazyPixels(references, place.folder, self.size, self.channels, levels=self.levels, errors=place.errors)
        for start in range(0, len(pixels), size):
            batch = pixels.many(np.arange(start, min(start + size, len(pixels))))
            yield {"image": batch.transpose(0, 3, 1, 2)}, None


def _median_shorter_side(headers: Sequence[Header]) -> float:
    return float(np.median([min(header.width, header.height) for header in headers]))


def _choose_size(headers: Sequence[Header]) -> int:
    """Return the median shorter side, rounded up to a multiple of the networks' stride."""
    shorter = _median_shorter_side(headers)
    return int(min(LARGEST_SIZE, max(SMALLEST_SIZE, np.ceil(shorter / STRIDE) * STRIDE)))


def _statistics(pixels: PixelSource) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel over all pixels, in [0, 1].

    Counts how often each of the 256 values occurs: exact, in whatever order and blocks the images come.
    """
    from PIL import Image

    counts = np.zeros((pixels.channels, 256), dtype=np.int64)
    for start in range(0, len(pixels), STATISTICS_BLOCK):
        block = pixels.many(np.arange(start, min(start + STATISTICS_BLOCK, len(pixels))))
        tall = block.reshape(-1, pixels.side, pixels.channels)
        image = Image.fromarray(tall[..., 0] if pixels.channels == 1 else tall)
        counts += np.array(image.histogram(), dtype=np.int64).reshape(pixels.channels, 256)
    share, values = counts / counts.sum(axis=1, keepdims=True), np.arange(256) / 255.0
    mean = share @ values
    variance = (share * (values - mean[:, None]) ** 2).sum(axis=1)
    return tuple(mean.tolist()), tuple(np.maximum(np.sqrt(variance), 1e-3).tolist())
