"""Images: paths or encoded bytes -> uint8 tensors of one size. Mean and deviation come from the training split.

Pixels stay uint8 until they reach the model, which normalises them itself; a quarter of the memory, and nothing to
forget when serving.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import polars as pl

from danlu.core.component import Frozen
from danlu.core.errors import DataError
from danlu.core.seeds import Seed
from danlu.data.dataset import Dataset
from danlu.data.place import Hints, Place
from danlu.data.specs import ImageInputs
from danlu.data.splits import TrainSplit
from danlu.recipe.sections import Data

if TYPE_CHECKING:
    from PIL.Image import Image

    from danlu.data.examples import Examples, Tensors

LARGEST_SIZE, SMALLEST_SIZE, STRIDE = 224, 32, 32  # what the common networks take: multiples of their stride
LOOKED_AT = 256  # images whose size and mode decide the format
HELD_BYTES = 2 << 30  # decoded images beyond this are decoded again when a batch needs them


def open_image(reference: str | bytes, folder: Path) -> "Image":
    """Decode an image wholly, upright as its camera says.

    Args:
        reference: a path, relative to `folder`, or the file's bytes.

    Raises:
        DataError: it is missing, broken, cut short, too large to be meant, or of pixels without a known range.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    name = "an image given as bytes" if isinstance(reference, bytes) else str(folder / reference)
    try:
        image = Image.open(BytesIO(reference) if isinstance(reference, bytes) else folder / reference)
        image.load()
    except FileNotFoundError:
        raise DataError(f"{name}: no such image") from None
    except UnidentifiedImageError as error:
        raise DataError(f"{name}: broken or no image of a known kind; replace or remove it") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: has more pixels than an honest image ({error}); replace or remove it") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{name}: broken or cut short ({error}); replace or remove it") from error
    if image.mode in ("I", "F"):  # PIL would cut them off at 0 and 255
        raise DataError(f"{name}: has pixels of 32 bits, whose range is not known; save it with 8 or 16 bits a channel")
    return ImageOps.exif_transpose(image)


class ImagePreprocessor(Frozen):
    """One format for all images."""

    kind: Literal["image"] = "image"
    column: str
    channels: Literal[1, 3]
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fit(cls, train: TrainSplit, dataset: Dataset, section: Data, hints: Hints, seed: Seed) -> Self:
        """Choose the format and learn mean and deviation from the training images.

        The format that pretrained weights expect goes before what the images suggest.
        """
        wanted = hints.image
        references = train.frame[dataset.content]
        # Only what is asked is kept: a few hundred decoded photos would fill the memory.
        opened = (open_image(reference, dataset.folder) for reference in references[:LOOKED_AT].to_list())
        looked_at = [(image.mode, min(image.size)) for image in opened]
        gray = wanted is None and all(mode in ("1", "L") or mode.startswith("I;16") for mode, _ in looked_at)
        size = section.image_size or (wanted.size if wanted else _fitting_size([side for _, side in looked_at]))
        channels: Literal[1, 3] = 1 if gray else 3
        blank = (0.0,) * channels
        raw = cls(column=dataset.content, channels=channels, size=size, mean=blank, std=(1.0,) * channels)
        if wanted is not None:
            return raw.model_copy(update={"mean": wanted.mean, "std": wanted.std})
        mean, std = _statistics(Images(references.to_list(), dataset.folder, raw))
        return raw.model_copy(update={"mean": mean, "std": std})

    @property
    def inputs(self) -> ImageInputs:
        return ImageInputs(channels=self.channels, size=self.size, mean=self.mean, std=self.std)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def pixels(self, image: "Image") -> np.ndarray:
        """An image of any size and mode as [channels, size, size] uint8: the middle square, resized."""
        from PIL import Image, ImageOps

        if image.mode.startswith("I;16"):  # PIL would cut 16-bit gray off at 255
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.mode in ("RGBA", "LA", "P", "PA"):  # what is transparent is shown on white
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("L" if self.channels == 1 else "RGB")
        fitted = np.asarray(ImageOps.fit(image, (self.size, self.size), Image.Resampling.BICUBIC))
        return fitted[None] if self.channels == 1 else fitted.transpose(2, 0, 1)

    def transform(self, frame: pl.DataFrame, place: Place) -> "Examples":
        """Images as model inputs, in order; held in memory where they fit."""
        import torch

        from danlu.data.examples import Dense, Examples

        images = Images(frame[self.column].to_list(), place.folder, self)
        if len(images) * self.channels * self.size**2 > HELD_BYTES:
            return Examples((images,))
        return Examples((Dense("image", torch.from_numpy(images.decode(np.arange(len(images))))),))


class Images:
    """Images decoded when a batch asks for them."""

    def __init__(self, references: Sequence[Any], folder: Path, preprocessor: ImagePreprocessor) -> None:
        self.references, self.folder, self.preprocessor = references, folder, preprocessor

    def __len__(self) -> int:
        return len(self.references)

    def decode(self, rows: np.ndarray) -> np.ndarray:
        """[rows, channels, size, size] uint8."""
        form = self.preprocessor
        decoded = np.empty((len(rows), form.channels, form.size, form.size), dtype=np.uint8)
        for position, row in enumerate(rows):
            decoded[position] = form.pixels(open_image(self.references[row], self.folder))
        return decoded

    def take(self, rows: np.ndarray, epoch: int | None = None) -> "Tensors":
        import torch

        return {"image": torch.from_numpy(self.decode(rows))}


def _fitting_size(sides: Sequence[int]) -> int:
    """The median of the images' shorter sides, up to a multiple of the networks' stride."""
    shorter = float(np.median(sides))
    return int(min(LARGEST_SIZE, max(SMALLEST_SIZE, np.ceil(shorter / STRIDE) * STRIDE)))


def _statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation a channel over all pixels, in [0, 1], a few images at a time."""
    count, total, squares = 0, np.zeros(images.preprocessor.channels), np.zeros(images.preprocessor.channels)
    for start in range(0, len(images), 64):
        block = images.decode(np.arange(start, min(start + 64, len(images)))) / 255.0
        count += block.size // block.shape[1]
        total += block.sum(axis=(0, 2, 3))
        squares += (block**2).sum(axis=(0, 2, 3))
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1e-12))
    return tuple(mean.tolist()), tuple(np.maximum(std, 1e-3).tolist())
