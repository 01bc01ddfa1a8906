"""Images as rows of pixels, one size and number of channels for all: decoded on demand, or in memory."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from danlu.core.threads import usable_cores
from danlu.data.images.decode import Levels, Reference, center_square, decode
from danlu.data.row_errors import RowErrors
from danlu.errors import DataError

MAX_DECODED_AT_ONCE, TURNS = 32, 4  # images per task of a thread, and tasks per thread in a batch


class PixelSource(Protocol):
    """Provide images of one size."""

    @property
    def side(self) -> int:
        """The side in pixels."""

    @property
    def channels(self) -> int:
        """The number of channels, 1 or 3."""

    def __len__(self) -> int: ...

    def one(self, row: int) -> np.ndarray:
        """Return one image, [side, side, channels] uint8."""

    def many(self, rows: np.ndarray) -> np.ndarray:
        """Return some images, [rows, side, side, channels] uint8."""


@dataclass(frozen=True, eq=False)
class InMemoryPixels:
    """Hold images in memory, [images, side, side, channels] uint8."""

    values: np.ndarray

    @property
    def side(self) -> int:
        return int(self.values.shape[1])

    @property
    def channels(self) -> int:
        return int(self.values.shape[3])

    def __len__(self) -> int:
        return len(self.values)

    def one(self, row: int) -> np.ndarray:
        image: np.ndarray = self.values[row]
        return image

    def many(self, rows: np.ndarray) -> np.ndarray:
        images: np.ndarray = self.values[rows]
        return images


@dataclass(frozen=True, eq=False)
class LazyPixels:
    """Decode images on demand.

    Attributes:
        references: paths, relative to `folder`, or files' bytes.
        side: the middle square is resized to this side in pixels.
        channels: 1 or 3.
        workers: threads that decode; one per core by default.
        levels: black and white of 16-bit gray; None for all 16 bits.
        errors: collects images that cannot be decoded, which are black then; None raises the first.
    """

    references: Sequence[Reference]
    folder: Path
    side: int
    channels: int
    workers: int | None = None
    levels: Levels | None = None
    errors: RowErrors | None = None

    @property
    def size_bytes(self) -> int:
        """The size of one decoded image."""
        return self.side**2 * self.channels

    @cached_property
    def threads(self) -> ThreadPoolExecutor:
        """The threads that decode; PIL and simplejpeg release the interpreter meanwhile."""
        return ThreadPoolExecutor(self.workers or usable_cores(), thread_name_prefix="decode")

    def __len__(self) -> int:
        return len(self.references)

    def one(self, row: int) -> np.ndarray:
        try:
            image = decode(self.references[row], self.folder, self.side, self.levels)
            return center_square(image, self.side, self.channels)
        except DataError as error:
            if self.errors is None:
                raise
            self.errors.add(row, error)
            return np.zeros((self.side, self.side, self.channels), dtype=np.uint8)

    def many(self, rows: np.ndarray) -> np.ndarray:
        images = np.empty((len(rows), self.side, self.side, self.channels), dtype=np.uint8)

        # Handing one small image to a thread costs as much as decoding it; with a few tasks each, threads end together.
        size = min(MAX_DECODED_AT_ONCE, max(1, len(rows) // (TURNS * usable_cores())))

        def fill(start: int) -> None:
            for position in range(start, min(start + size, len(rows))):
                images[position] = self.one(rows[position])

        for _ in self.threads.map(fill, range(0, len(rows), size)):
            pass
        return images

    def load_all(self) -> InMemoryPixels:
        """Decode all images into memory."""
        return InMemoryPixels(self.many(np.arange(len(self))))
