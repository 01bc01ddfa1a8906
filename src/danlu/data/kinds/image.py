"""Images: a column of paths or of encoded bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from danlu.data.columns import Column
from danlu.data.descriptors import RawData
from danlu.data.images.decode import find_unreadable, read_header
from danlu.data.images.preprocessor import ImagePreprocessor
from danlu.data.kind import SAMPLES, DataKind, TypicalSample, use_only
from danlu.data.messages import reason
from danlu.data.near_duplicates import near_images
from danlu.data.sources.image_folders import IMAGE
from danlu.data.sources.image_paths import Places, find_base, with_image_paths
from danlu.data.sources.in_memory_images import encode_images
from danlu.data.specs import ImageInputs
from danlu.errors import DataError
from danlu.recipe.sections.data import Data

INSPECTED_IMAGES, MIN_SIDE = 64, 32  # images whose size is looked at; shorter side in pixels with enough detail

TYPICAL_SIDE = 224  # pixels, of photographs


class ImageKind(DataKind):
    """Decide all that is particular to images.

    Each costs far more than a row, so fewer are examined.
    """

    name = "image"
    preprocessor = ImagePreprocessor
    default_model = "timm:resnet18"
    default_epochs = 30
    typical = TypicalSample(
        "images", ImageInputs(channels=3, size=TYPICAL_SIDE, mean=(0.5,) * 3, std=(0.5,) * 3), "", outputs=10
    )
    shows_pictures = True
    refers_to_files = True
    max_baseline_rows = 20_000
    max_sliced_rows = 5_000
    max_perturbed_rows = 2_000
    max_compared_rows = 2_000
    shown_samples = 12
    shown_errors = 24
    near_copies_finding = "near-images"
    row_noun = "image"

    def read(self, source: RawData, section: Data) -> RawData:
        """Bring columns that name images into a form that can be opened."""
        if source.layout != "table":
            return source
        target = section.target if isinstance(section.target, tuple) else (section.target,)
        free = [name for name in source.frame.columns if name not in target and not self._is_other(name, section)]
        return with_image_paths(source, free)

    def mark(self, column: Column, section: Data, source: RawData) -> Column:
        """Recognise paths of images by the files themselves, whatever their suffix."""
        if section.options_of(column.name).type is not None or column.type in ("image", "number", "datetime"):
            return column
        values = source.frame[column.name]
        from_folder = source.layout == "images" and column.name == IMAGE
        if values.dtype != pl.String or not (from_folder or find_base(values, Places(source.folder)) == ""):
            return column
        return column.model_copy(update={"type": "image", "used": True, "reason": reason("paths")})

    def recognize(self, columns: tuple[Column, ...], section: Data, source: RawData) -> tuple[Column, ...] | None:
        named = [each.name for each in columns if each.used and each.type == "image"]
        if section.image is None and len(named) > 1:
            raise DataError(
                f"{source.origin}: a row has {len(named)} images ({', '.join(named)}), and a model takes one; say "
                f"which with data.image: {named[0]}",
                code="DL231",
            )
        chosen = section.image or next(iter(named), None)
        return None if chosen is None else use_only(columns, (chosen,), reason("only-image"))

    def read_samples(self, source: RawData, columns: Sequence[str]) -> RawData:
        """Bring names of images into a form that can be opened."""
        return with_image_paths(source, [name for name in columns if name in source.frame.columns])

    @staticmethod
    def _is_other(name: str, section: Data) -> bool:
        """Return whether the recipe says that a column is something else."""
        return name == section.text or section.options_of(name).type not in (None, "image")

    def default_batch_size(self, rows: int) -> int:
        return 32

    def unnamed_to_frame(self, samples: Any, columns: Sequence[str]) -> pl.DataFrame:
        """Convert paths, bytes, open files, PIL images or pixels to a column of images."""
        return pl.DataFrame({columns[0]: encode_images(samples, SAMPLES)})

    def near_duplicates(self, values: Sequence[Any], folder: Path, similarity: float) -> np.ndarray:
        return near_images(values, folder, similarity)

    def can_compare(self, values: Sequence[Any], folder: Path) -> bool:
        """Return whether all can be read and most have detail enough.

        Two zeros of 8x8 pixels are nearly one and the same.
        """
        if find_unreadable(values, folder):
            return False
        headers = [read_header(reference, folder) for reference in values[:INSPECTED_IMAGES]]
        return float(np.median([min(header.width, header.height) for header in headers])) >= MIN_SIDE
