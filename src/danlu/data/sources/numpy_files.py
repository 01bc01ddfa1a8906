"""numpy's files: .npy with one array, .npz with several; never unpickled.

One dimension is a column, two are several, pixels are images.
"""

from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl

from danlu.core.imports import require_extra
from danlu.data.file_form import ReadOptions, ReadTable
from danlu.data.sources.arrays import series_of_array
from danlu.errors import DataError

UNNAMED = "arr_0"  # numpy's name of the only array that was given none


def read_numpy(path: Path, options: ReadOptions) -> ReadTable:
    """Read arrays of one length as columns.

    Raises:
        DataError: they differ in length, hold Python objects, or have more dimensions.
    """
    try:
        opened = np.load(path, allow_pickle=False)
        if isinstance(opened, np.ndarray):
            arrays = {UNNAMED: opened}
        else:
            with opened:
                arrays = {name: opened[name] for name in opened.files}
    except ValueError as error:
        if "pickle" in str(error):
            raise DataError(
                f"{path}: holds Python objects, which are not read since reading them can run code; save arrays of "
                "numbers or strings",
                code="DL202",
            ) from error
        raise
    lengths = {name: len(array) for name, array in arrays.items() if array.ndim}
    if len(lengths) < len(arrays) or len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {'×'.join(map(str, array.shape)) or 'one value'}" for name, array in arrays.items())
        raise DataError(f"{path}: its arrays differ in length ({listed}); save one table a file", code="DL204")
    columns = [column for name, array in arrays.items() for column in _columns(name, array, path)]
    return ReadTable(pl.DataFrame(columns))


def _columns(name: str, array: np.ndarray, path: Path) -> Iterator[pl.Series]:
    named: Iterable[tuple[str, np.ndarray]] = [(name, array)]
    if array.dtype.names:
        named = [(field, array[field]) for field in array.dtype.names]
    elif array.ndim == 2:
        begin = "x" if name == UNNAMED else f"{name}_"
        named = [(f"{begin}{place}", array[:, place]) for place in range(array.shape[1])]
    for label, values in named:
        is_pixels = values.ndim in (3, 4) and values.dtype == np.uint8
        yield _images(label, values, path) if is_pixels else series_of_array(label, values, str(path), "DL202")


def _images(name: str, pixels: np.ndarray, path: Path) -> pl.Series:
    """Encode pixels, [rows, height, width(, channels)] uint8, as a column of PNG files."""
    require_extra("image", f"{path}: an array of images", only=("PIL",))
    from PIL import Image

    def encoded(image: np.ndarray) -> bytes:
        buffer = BytesIO()
        Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image).save(buffer, format="PNG")
        return buffer.getvalue()

    try:
        return pl.Series(name, [encoded(image) for image in pixels], dtype=pl.Binary)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{path}: array {name!r} of {'×'.join(map(str, pixels.shape))} holds no images, which are [rows, height, "
            "width] or [rows, height, width, 3]",
            code="DL202",
        ) from error
