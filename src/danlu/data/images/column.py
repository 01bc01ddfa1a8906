"""Images as a model's input: batches from cached or decoded pixels, each image transformed at random if asked."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from danlu.core.threads import usable_cores
from danlu.data.images.pixels import LazyPixels, PixelSource
from danlu.data.images.store import cache_pixels

if TYPE_CHECKING:
    import torch

    from danlu.data.loader import TensorColumn, Tensors

COPIED = 256  # images copied to an accelerator at a time


class ImageAugmenter(Protocol):
    """Transform training images at random, in threads of the host."""

    def draw_params(self, rows: np.ndarray, epoch: int) -> Any:
        """Draw the parameters of some rows in an epoch; rows are independent.

        Args:
            rows: positions among the training samples, repetitions numbered, [batch].
            epoch: counted from 0.
        """

    def apply(self, image: np.ndarray, plan: Any, index: int) -> np.ndarray:
        """Transform one image; called from several threads at once.

        Args:
            image: [height, width, channels] uint8, as it is stored: read-only.
            plan: of a batch of rows.
            index: which of them the image is.

        Returns:
            [size, size, channels] uint8, of the model's size.
        """

    def prefers_batches(self, side: int) -> bool:
        """Return whether images of this side are best transformed by `apply_batch`."""

    def apply_batch(self, images: np.ndarray, plan: Any) -> np.ndarray:
        """Transform images like `apply`, [batch, size, size, channels] uint8, in and out."""


@dataclass(frozen=True, eq=False)
class ImageColumn:
    """Provide the input `image`: [batch, channels, side, side] uint8, channels last in memory.

    Attributes:
        pixels: where the images come from.
        augment: transforms each image of an epoch; None, and outside of epochs, takes them as they are.
        workers: threads that transform images; one per core by default.
    """

    pixels: PixelSource
    augment: ImageAugmenter | None = None
    workers: int | None = None

    @cached_property
    def threads(self) -> ThreadPoolExecutor:
        import torch

        # Each thread uses one core: there are as many threads as cores.
        return ThreadPoolExecutor(self.workers or usable_cores(), "augment", torch.set_num_threads, (1,))

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, rows: np.ndarray, epoch: int | None = None) -> "Tensors":
        import torch

        augment, positions = self.augment, rows % len(self)
        if augment is None or epoch is None:
            batch = self.pixels.many(positions)
        elif augment.prefers_batches(self.pixels.side):
            batch = augment.apply_batch(self.pixels.many(positions), augment.draw_params(rows, epoch))
        else:
            plan = augment.draw_params(rows, epoch)
            changed = self.threads.map(
                lambda index: augment.apply(self.pixels.one(int(positions[index])), plan, index), range(len(rows))
            )
            batch = np.stack(list(changed))
        return {"image": _as_tensor(torch.from_numpy(batch))}

    def cache(self, device: "torch.device", threads: int | None = None) -> "ImageColumn | TensorColumn":
        """Cache the decoded images: on the device, in memory or on disk.

        Raises:
            DataError: an image cannot be decoded.
            ArtifactError: the cache cannot be written.
        """
        import torch

        from danlu.data.images.pixels import InMemoryPixels
        from danlu.data.loader import TensorColumn, fits_on_device

        pixels = self.pixels
        if isinstance(pixels, LazyPixels):
            pixels = cache_pixels(replace(pixels, workers=threads))
        shape = (len(pixels), pixels.side, pixels.side, pixels.channels)
        if self.augment is not None or isinstance(pixels, LazyPixels):
            return replace(self, pixels=pixels, workers=threads)
        if fits_on_device(int(np.prod(shape)), device):
            values = torch.empty(shape, dtype=torch.uint8, device=device)
            for start in range(0, len(pixels), COPIED):
                rows = np.arange(start, min(start + COPIED, len(pixels)))
                values[start : start + COPIED] = torch.from_numpy(pixels.many(rows)).to(device)
            return TensorColumn("image", _as_tensor(values))
        if isinstance(pixels, InMemoryPixels):
            return TensorColumn("image", _as_tensor(torch.from_numpy(pixels.values)))
        return replace(self, pixels=pixels, workers=threads)


def _as_tensor(images: "torch.Tensor") -> "torch.Tensor":
    """Return [images, channels, height, width] of the same memory.

    It is channels last, the layout that convolutions prefer.
    """
    return images.permute(0, 3, 1, 2)
