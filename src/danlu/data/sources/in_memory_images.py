"""Images that a Python program hands over -> paths, or the bytes of files.

In: paths, bytes, open files, PIL images, arrays and tensors. Out: a column that reads like one of files; pixels are
kept without loss, upright. What could mean two things is refused with the forms that are taken.
"""

from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from danlu.data.sources.image_files import MAYBE_DEEP, UNREADABLE
from danlu.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMS = (
    "paths, encoded bytes, open files, PIL images, or arrays and tensors of pixels: [height, width], [height, width, "
    "channels] or [channels, height, width] for one image, the same behind [images, ...] for several; channels are 1, "
    "3 or 4; values are 0 to 255, 0.0 to 1.0, or gray of 16 bits"
)
CHANNELS = (1, 3, 4)
ORIENTATION = 0x0112  # of EXIF
LARGEST_BYTE, LARGEST_WORD = 255, 65_535


def encode_images(samples: object, origin: str, *, batch: bool = False) -> pl.Series:
    """Convert images of any form to encoded bytes; keep paths as they are.

    One that cannot be read becomes its reason, for whoever decodes it: it is the error of its row alone.

    Args:
        samples: one or several, of FORMS.
        origin: the name in errors.
        batch: the first dimension of an array counts images, as in a column; else an array may be one image.

    Raises:
        DataError: they are of another form, or of one that can be read in two ways.
    """
    several = _as_list(samples, origin, batch)
    if all(sample is None or isinstance(sample, str | Path) for sample in several):
        return pl.Series([None if sample is None else str(sample) for sample in several], dtype=pl.String)
    plain = [as_pixels(sample) for sample in several]
    pixels = [
        _channels_last(each, origin, from_torch=hasattr(sample, "detach"))
        for each, sample in zip(plain, several, strict=True)
        if each is not None
    ]
    scaled = iter(_as_integers(pixels, origin))
    return pl.Series(
        [
            encode_file(sample) if each is None else encode_file(_to_image(next(scaled), each))
            for each, sample in zip(plain, several, strict=True)
        ],
        dtype=pl.Binary,
    )


def is_image(value: Any) -> bool:
    """Return whether a value is one image: PIL's, encoded bytes, an open file, or pixels."""
    pixels = as_pixels(value)
    if pixels is not None:
        return pixels.ndim in (2, 3)
    return isinstance(value, bytes | bytearray) or _is_pil(value) or _is_file(value)


def as_pixels(value: Any) -> np.ndarray | None:
    """Return an array or tensor of numbers as an array; None for anything else."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        tensor = value.detach().cpu()
        value = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    return value if isinstance(value, np.ndarray) and value.dtype.kind in "buif" and value.ndim >= 2 else None


def _as_list(samples: Any, origin: str, batch: bool) -> list[Any]:
    """Return the images one by one."""
    if isinstance(samples, str | bytes | bytearray | Path) or _is_pil(samples) or _is_file(samples):
        return [samples]
    pixels = as_pixels(samples)
    if pixels is not None:
        return _split(pixels, origin, batch, from_torch=hasattr(samples, "detach"))
    if not isinstance(samples, Iterable):
        raise _refusal(origin, f"cannot take {type(samples).__name__}")
    several = list(samples)
    for sample in several:
        if not (sample is None or isinstance(sample, str | Path) or is_image(sample)):
            raise _refusal(origin, f"cannot take {type(sample).__name__} as an image")
    return several


def _split(pixels: np.ndarray, origin: str, batch: bool, from_torch: bool) -> list[np.ndarray]:
    """Cut an array into its images, [height, width(, channels)] each."""
    shape = list(pixels.shape)
    if pixels.ndim == 2 and not batch:
        return [pixels]
    if pixels.ndim == 3 and not batch:
        if shape[0] == 3 and shape[-1] not in CHANNELS and not from_torch:
            raise _refusal(origin, f"an array of {shape} may be one image with its channels first, or three gray ones")
        first = (1, 3, 4) if from_torch else (1,)
        if shape[-1] in CHANNELS or shape[0] in first:
            return [pixels]
    if pixels.ndim == 4:
        last, second = shape[-1] in CHANNELS, shape[1] in CHANNELS
        if last and not (from_torch and second):
            return list(pixels)
        if second:
            return list(pixels.transpose(0, 2, 3, 1))
    elif pixels.ndim == 3:
        return list(pixels)
    raise _refusal(origin, f"cannot take an array of {shape} as images")


def _channels_last(pixels: np.ndarray, origin: str, from_torch: bool) -> np.ndarray:
    """Return one image as [height, width] or [height, width, channels]."""
    if 0 in pixels.shape:
        raise _refusal(origin, f"an array of {list(pixels.shape)} has no pixels")
    if pixels.ndim == 2:
        return pixels
    last, first = pixels.shape[-1] in CHANNELS, pixels.shape[0] in CHANNELS
    if last and not (from_torch and first):
        return pixels
    if first:
        return pixels.transpose(1, 2, 0)
    raise _refusal(origin, f"cannot take an array of {list(pixels.shape)} as an image")


def _as_integers(images: Sequence[np.ndarray], origin: str) -> list[np.ndarray]:
    """Return images as uint8, or gray ones as uint16.

    The range of floats is that of all together; each image of whole numbers is read by itself.
    """
    if not images:
        return []
    kinds = {image.dtype.kind for image in images}
    if kinds <= {"b"}:
        return [image.astype(np.uint8) * LARGEST_BYTE for image in images]
    low, high = min(float(image.min()) for image in images), max(float(image.max()) for image in images)
    if "f" in kinds:
        return _from_floats(images, low, high, origin)
    return [_from_integers(image, origin) for image in images]


def _from_integers(image: np.ndarray, origin: str) -> np.ndarray:
    """Return whole numbers as uint8, or gray with larger ones as uint16."""
    if image.dtype == np.uint8:
        return image
    low, high = float(image.min()), float(image.max())
    colour = image.ndim == 3 and image.shape[-1] > 1
    if low < 0 or high > LARGEST_WORD or (colour and high > LARGEST_BYTE):
        what = f"whole numbers from {low:.0f} to {high:.0f}" + (" in colour" if colour else "")
        raise _refusal(origin, f"cannot take {what} as pixels")
    deep = image.dtype == np.uint16 or high > LARGEST_BYTE
    return image.astype(np.uint16 if deep and not colour else np.uint8)


def _from_floats(images: Sequence[np.ndarray], low: float, high: float, origin: str) -> list[np.ndarray]:
    """Return images of floats as uint8: 0 to 1, or whole numbers to 255."""
    if low >= 0 and high <= 1:
        return [np.rint(image.astype(np.float64) * LARGEST_BYTE).astype(np.uint8) for image in images]
    if low >= 0 and high <= LARGEST_BYTE and all((image == np.rint(image)).all() for image in images):
        return [image.astype(np.uint8) for image in images]
    raise _refusal(origin, f"cannot take floats from {low:.4g} to {high:.4g} as pixels")


def _to_image(pixels: np.ndarray, given: np.ndarray) -> "Image":
    """Return pixels as an image, marked where they may be dark gray of 16 bits."""
    from PIL import Image

    flat = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    image = Image.fromarray(np.ascontiguousarray(flat))
    if image.mode == "L" and given.dtype.kind in "iu" and given.dtype.itemsize > 1:
        image.info[MAYBE_DEEP] = "yes"
    return image


def encode_file(sample: Any) -> bytes | None:
    """Return one image that is no array as the bytes of a file.

    Without loss, and upright.
    """
    if sample is None or isinstance(sample, bytes):
        return sample
    if isinstance(sample, bytearray):
        return bytes(sample)
    try:
        if isinstance(sample, str | Path):
            return Path(sample).read_bytes()
        if _is_file(sample):
            return _read_file(sample)
        image = _upright(sample)
        return _written(image)
    except OSError as error:
        told = f"{sample}: {error.strerror or error}" if isinstance(sample, str | Path) else str(error)
        return UNREADABLE + told.encode()


def _written(image: "Image") -> bytes:
    from PIL.PngImagePlugin import PngInfo

    buffer = BytesIO()
    try:
        told = PngInfo()
        if MAYBE_DEEP in image.info:
            told.add_text(MAYBE_DEEP, image.info[MAYBE_DEEP])
        image.save(buffer, format="PNG", pnginfo=told)
    except OSError:  # PNG has no CMYK, no floats and no spaces of hue or luma
        buffer = BytesIO()
        plain = {"HSV": "RGB", "LAB": "RGB", "YCbCr": "RGB", "RGBX": "RGB", "RGBa": "RGBA", "La": "LA"}
        (image.convert(plain[image.mode]) if image.mode in plain else image).save(buffer, format="TIFF")
    return buffer.getvalue()


def _upright(image: "Image") -> "Image":
    """Return a PIL image turned as its camera noted, without the note."""
    from PIL import ImageOps

    try:
        turned = image.getexif().get(ORIENTATION, 1) != 1
    except Exception:  # unreadable EXIF says nothing about the orientation, and the picture is fine
        return image
    return ImageOps.exif_transpose(image) if turned else image


def _read_file(file: Any) -> bytes:
    """Return the whole content of an open file, wherever it stands."""
    if hasattr(file, "getvalue"):
        return bytes(file.getvalue())
    if file.seekable():
        file.seek(0)
    return bytes(file.read())


def _is_pil(value: Any) -> bool:
    return hasattr(value, "getexif") and hasattr(value, "save")


def _is_file(value: Any) -> bool:
    return hasattr(value, "read") and hasattr(value, "seekable")


def _refusal(origin: str, what: str) -> DataError:
    return DataError(f"{origin}: {what}; images are {FORMS}", code="DL207")
