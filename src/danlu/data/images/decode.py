"""Decode an image file to pixels: orientation applied, transparency on white, 8 bits per channel.

The content decides how a file is read, never its name. An image that cannot be shown correctly is a DataError naming
the file. simplejpeg only makes JPEG faster: it is asked only for scales that PIL has too, so both give the same pixels.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np

from danlu.core.console import progress
from danlu.core.prefetch import prefetch
from danlu.core.threads import usable_cores
from danlu.data.row_errors import SKIPPED_IN_TRAINING
from danlu.data.sources.image_files import (
    ADVICE,
    HEAD_BYTES,
    JPEG2000,
    MAYBE_DEEP,
    UNREADABLE,
    decodable_formats,
    image_format,
)
from danlu.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Reference = str | bytes | None  # a path relative to a folder, a file's content, or None for a missing value
Levels = tuple[int, int]  # values of 16-bit gray that are shown black and white

JPEGS = ("JPEG", "MPO")  # MPO: a JPEG followed by further ones, as some cameras write
JPEG_2000_TILE, JPEG_2000_END = b"\xff\x90", b"\xff\xd9"
JPEG_SCAN, JPEG_END = b"\xff\xda", b"\xff\xd9"
LARGEST_WORD = 65_535
SCALES = (8, 4, 2)  # scales that libjpeg decodes at a fraction of the work
ORIENTATION = 0x0112  # of EXIF
GRAY_MODES = ("1", "L", "LA", "La", "I", "F")  # and the 16-bit ones, I;16 and its byte orders
CURE = f"replace or remove it, or skip such images with {SKIPPED_IN_TRAINING}"


@dataclass(frozen=True)
class Header:
    """Hold what a file says about its image before it is decoded.

    Attributes:
        width, height: in pixels, before its orientation is applied.
        gray: whether it has one channel beside transparency.
        deep: whether that channel has whole numbers of more than 8 bits.
    """

    width: int
    height: int
    gray: bool
    deep: bool = False


def name_of(reference: Reference, folder: Path) -> str:
    """Return the name of an image in errors."""
    if reference is None:
        return "a row without an image"
    return "an image given as bytes" if isinstance(reference, bytes) else str(folder / reference)


def read_header(reference: Reference, folder: Path) -> Header:
    """Open an image without decoding it.

    Raises:
        DataError: it is missing, no image, or too large to decode.
    """
    name = name_of(reference, folder)
    with _decoder_errors(name), _open_bytes(reference, folder) as file:
        image = _open(file, name)
        return Header(*image.size, gray=_is_gray(image), deep=_is_deep(image))


def verify(reference: Reference, folder: Path) -> None:
    """Look for damage without decoding: the header, PNG's checksums, the end of a JPEG.

    Raises:
        DataError: it is missing, no image, too large to decode, or damaged.
    """
    name = name_of(reference, folder)
    with _decoder_errors(name):
        with _open_bytes(reference, folder) as file:
            data = file.read()
        image = _open(BytesIO(data), name)
        image.verify()
        _refuse_cut_jpeg_2000(data, image)
    # Neither marker can stand within a scan's own bytes. Anything may follow the end, so decoding decides.
    if image.format in JPEGS and data.rfind(JPEG_END) < data.rfind(JPEG_SCAN):
        decode(reference, folder, 1)


def read_gray_words(reference: Reference, folder: Path) -> np.ndarray | None:
    """Decode the values of gray of 16 bits, [height, width] uint16; None for other images.

    A dark image among such ones may have values up to 255 alone.

    Raises:
        DataError: as `decode`.
    """
    name = name_of(reference, folder)
    with _decoder_errors(name), _open_bytes(reference, folder) as file:
        image = _open(file, name)
        return _gray_words(np.asarray(image)) if _is_deep(image) or _may_be_deep(image) else None


def decode(
    reference: Reference, folder: Path, shortest: int | None = None, levels: Levels | Literal["own"] | None = None
) -> "Image":
    """Decode an image fully: the first frame, upright, without transparency.

    Args:
        reference: a path, relative to `folder`, or the file's bytes.
        shortest: pixels that the shorter side must keep; a larger JPEG is decoded at 1/2, 1/4 or 1/8. None: full size.
        levels: black and white of 16-bit gray; `own` for the image's own, to be looked at; None for all 16 bits.

    Returns:
        an image of mode L, RGB or RGBX (whose fourth channel means nothing).

    Raises:
        DataError: it is missing, broken, cut short, of an unknown kind, or too large.
    """
    name = name_of(reference, folder)
    with _decoder_errors(name):
        with _open_bytes(reference, folder) as file:
            data = file.read()
        image = _open(BytesIO(data), name)
        if image.format in JPEGS:
            divisor = _divisor(image.size, shortest)
            fast = _decode_with_simplejpeg(data, image, divisor)
            if fast is not None:
                return fast
            if divisor > 1:
                image.draft(None, (image.width // divisor, image.height // divisor))
        _refuse_cut_jpeg_2000(data, image)
        image.load()
        return _apply_orientation(_to_rgb_or_gray(image, levels), _orientation(image))


def center_square(image: "Image", side: int, channels: int) -> np.ndarray:
    """Crop the middle square and resize it to [side, side, channels] uint8."""
    from PIL import Image

    edge = min(image.size)
    left, top = (image.width - edge) / 2, (image.height - edge) / 2
    box = (left, top, left + edge, top + edge)
    fitted = image.resize((side, side), Image.Resampling.BICUBIC, box=box)
    if channels == 1:
        return np.asarray(_drop_fourth_channel(fitted).convert("L"))[..., None]
    return np.asarray(fitted.convert("RGB") if fitted.mode == "L" else fitted)[..., :3]


def _drop_fourth_channel(image: "Image") -> "Image":
    return image.convert("RGB") if image.mode == "RGBX" else image


@contextmanager
def _open_bytes(reference: Reference, folder: Path) -> Iterator[IO[bytes]]:
    name = name_of(reference, folder)
    if reference is None:
        raise DataError(
            f"{name}: the value is missing; remove the row, or skip such rows with {SKIPPED_IN_TRAINING}", code="DL230"
        )
    if isinstance(reference, bytes):
        if reference.startswith(UNREADABLE):
            told = reference.removeprefix(UNREADABLE).decode()
            raise DataError(f"an image cannot be read ({told}); {CURE}", code="DL230")
        yield BytesIO(reference)
        return
    path = folder / reference
    try:
        if not path.is_file():  # reading a pipe of that name would block forever
            raise DataError(f"{name}: {'is not a file' if path.exists() else 'no such image'}; {CURE}", code="DL230")
        file = path.open("rb")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{name}: cannot be read ({getattr(error, 'strerror', None) or error}); {CURE}", code="DL230"
        ) from error
    with file:
        yield file


@contextmanager
def _decoder_errors(name: str) -> Iterator[None]:
    """Turn any exception of a decoder into a DataError that names the file.

    Foreign bytes meet checks of every kind, and failures of some.
    """
    from PIL import Image

    try:
        yield
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = re.search(r"\d+", str(error))
        raise _too_large(name, f"{int(pixels[0]):,}" if pixels else "far more") from error
    except Exception as error:
        raise DataError(
            f"{name}: broken or cut short ({error or type(error).__name__}); {CURE}", code="DL230"
        ) from error


def _refuse_cut_jpeg_2000(data: bytes, image: "Image") -> None:
    """Raise OSError if a picture in JPEG 2000 does not end with its own mark.

    The decoder gives a blurred picture of what is left, silently. ISO/IEC 15444-1, A.4.4.
    """
    if image.format == JPEG2000 and data.rfind(JPEG_2000_END) <= data.rfind(JPEG_2000_TILE):
        raise OSError("the end of its data is missing")


def _open(file: IO[bytes], name: str) -> "Image":
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(file, formats=decodable_formats())
    except UnidentifiedImageError:
        file.seek(0)
        head = file.read(HEAD_BYTES)
        if not head:
            raise DataError(f"{name}: the file is empty; {CURE}", code="DL230") from None
        found = image_format(head)
        if found in ADVICE and found not in decodable_formats():
            raise DataError(f"{name}: {ADVICE[found]}", code="DL230") from None
        known = ", ".join(decodable_formats())
        raise DataError(
            f"{name}: broken or cut short, or not an image of a known kind ({known}); {CURE}", code="DL230"
        ) from None
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise _too_large(name, f"{image.width:,} x {image.height:,}")
    return image


def _too_large(name: str, pixels: str) -> DataError:
    from PIL import Image

    return DataError(
        f"{name}: has {pixels} pixels, more than the {Image.MAX_IMAGE_PIXELS or 0:,} that one image may have, since "
        f"a small file could fill the memory; shrink it first, or leave it out with {SKIPPED_IN_TRAINING}",
        code="DL230",
    )


def _divisor(size: tuple[int, int], shortest: int | None) -> int:
    """Return the largest scale that leaves the shorter side at least `shortest` pixels."""
    if shortest is None:
        return 1
    return next((scale for scale in SCALES if min(size) >= scale * shortest), 1)


def _decode_with_simplejpeg(data: bytes, header: "Image", divisor: int) -> "Image | None":
    """Decode with simplejpeg, or return None.

    None where it is absent or finds anything odd: then PIL decides, as it would alone.
    """
    from PIL import Image

    if header.mode not in ("L", "RGB"):
        return None
    try:
        import simplejpeg
    except ImportError:
        return None
    width, height = (-(-side // divisor) for side in header.size)
    # PIL takes four bytes a pixel over as they are, and would copy three.
    mode, space = ("L", "GRAY") if header.mode == "L" else ("RGBX", "RGBX")
    try:
        pixels: Any = simplejpeg.decode_jpeg(data, space, min_height=height, min_width=width)
    except ValueError:
        return None
    if pixels.shape[:2] != (height, width):
        return None
    return _apply_orientation(Image.frombuffer(mode, (width, height), pixels, "raw", mode, 0, 1), _orientation(header))


def _orientation(image: "Image") -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # unreadable EXIF says nothing about the orientation, and the picture is fine
        return 1


def _apply_orientation(image: "Image", orientation: int) -> "Image":
    """Undo the rotation that the camera recorded (EXIF 2.3, tag Orientation)."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    turn = turns.get(orientation)
    return image if turn is None else image.transpose(turn)


def _is_gray(image: "Image") -> bool:
    return image.mode in GRAY_MODES or image.mode.startswith("I;16")


def _is_deep(image: "Image") -> bool:
    return image.mode == "I" or image.mode.startswith("I;16")


def _may_be_deep(image: "Image") -> bool:
    """Return whether an image of 8 bits may hold dark gray of 16."""
    return image.mode == "L" and MAYBE_DEEP in image.info


def _gray_words(values: np.ndarray) -> np.ndarray | None:
    """Return whole numbers as uint16; None if they are beyond it."""
    fits = values.dtype == np.uint16 or (values.size and values.min() >= 0 and values.max() <= LARGEST_WORD)
    return values.astype(np.uint16) if fits else None


def _to_rgb_or_gray(image: "Image", levels: Levels | Literal["own"] | None) -> "Image":
    """Convert any mode to L or RGB, with transparency on white."""
    from PIL import Image

    gray = _is_gray(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _to_uint8(image, levels)
    if _may_be_deep(image) and levels not in (None, "own"):  # the model's other images are of 16 bits
        return _to_uint8(image.convert("I"), levels)
    if image.has_transparency_data:
        shown = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")  # La converts to nothing else
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), shown)
    return image.convert("L" if gray else "RGB")


def _to_uint8(image: "Image", levels: Levels | Literal["own"] | None) -> "Image":
    """Convert grey of 16 or 32 bits to 8, by its range; PIL would clip."""
    from PIL import Image

    values = np.asarray(image)
    words = None if levels is None or not _is_deep(image) else _gray_words(values)
    if words is not None and levels is not None:
        black, white = (int(words.min()), int(words.max())) if levels == "own" else levels
        if levels != "own" or white - black < LARGEST_WORD // 2:
            share = (words.astype(np.float64) - black) / max(1, white - black)
            pixels = np.rint(np.clip(share, 0.0, 1.0) * 255.0).astype(np.uint8)
            return Image.fromarray(_with_clear_white(image, words, pixels))
    if image.mode.startswith("I;16"):
        return Image.fromarray(_with_clear_white(image, values, (values >> 8).astype(np.uint8)))
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    low, high = _value_range(values[finite], whole=image.mode == "I")
    values = np.where(finite, values, low)
    return Image.fromarray(np.rint((values - low) / (high - low) * 255.0).astype(np.uint8))


def _with_clear_white(image: "Image", values: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return pixels with those of the transparent value white."""
    clear = image.info.get("transparency")
    return np.where(values == clear, np.uint8(255), pixels) if isinstance(clear, int) else pixels


def _value_range(values: np.ndarray, whole: bool) -> tuple[float, float]:
    """Return black and white levels of an image with 32 bits per pixel.

    The smallest customary range that holds all of its values, else from its least to its greatest value.
    """
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    customary = (65535.0,) if whole else (1.0, 255.0, 65535.0)
    fitting = [top for top in customary if low >= 0 and high <= top]
    if fitting:
        return 0.0, fitting[0]
    return low, high if high > low else low + 1.0


SMALLEST_DECODE = 1  # smallest side that decoding must keep: JPEG is read whole, but decoded at an eighth of its size


def find_unreadable(references: Sequence[Reference], folder: Path) -> list[tuple[int, str]]:
    """Return row and reason of every image that cannot be decoded to its end."""
    return _collect_errors(references, lambda reference: decode(reference, folder, SMALLEST_DECODE))


def find_suspicious(references: Sequence[Reference], folder: Path) -> list[tuple[int, str]]:
    """Return row and reason of every image with a wrong header, checksum or end.

    Several times quicker than decoding and never wrong about an image that it lists, but damage inside may escape it.
    """
    return _collect_errors(references, lambda reference: verify(reference, folder))


def _collect_errors(references: Sequence[Reference], read: Callable[[Reference], object]) -> list[tuple[int, str]]:
    def reason(reference: Reference) -> str | None:
        try:
            read(reference)
        except DataError as error:
            return str(error)
        return None

    found: list[tuple[int, str]] = []
    with progress("looking at images", len(references), "images") as bar:
        for row, message in enumerate(prefetch(reason, references, usable_cores(), max_pending=256)):
            if message is not None:
                found.append((row, message))
            bar.advance(1)
    return found
