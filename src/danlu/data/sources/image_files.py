"""Which files are images, by their suffix and their first bytes, and which of them can be decoded here.

Needs no decoder to tell: a folder of a million files is looked through by names, and only odd ones are opened.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from danlu.core.imports import install_command, missing_packages

# Not all of PIL's formats: some run other programs (EPS) or hold several sizes (ICO).
ALWAYS_DECODED = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
AVIF, HEIF, JPEG2000 = "AVIF", "HEIF", "JPEG2000"
SUFFIXES: dict[str, str] = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo"), "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".bmp", ".dib"), "BMP"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PPM"),
    **dict.fromkeys((".avif", ".avifs"), AVIF),
    **dict.fromkeys((".heic", ".heif", ".hif", ".heics", ".heifs"), HEIF),
    **dict.fromkeys((".jp2", ".j2k", ".jpx", ".jpf", ".jpc"), JPEG2000),
    ".gif": "GIF",
    ".webp": "WEBP",
}
IMAGE_SUFFIXES = tuple(SUFFIXES)
# Notes and tables beside images; never opened to see whether they are images.
_TEXTS = (
    ".txt .csv .tsv .json .jsonl .ndjson .xml .yaml .yml .md .html .log .ini .py .pdf .parquet .arrow .feather .gz "
    ".zip .xlsx"
)
TEXT_SUFFIXES = frozenset(_TEXTS.split())
# Stands in the text of a PNG whose gray came in whole numbers of more than 8 bits, though none is above 255.
MAYBE_DEEP = "danlu:maybe-deep"
# Stands before the reason where an image was handed over that cannot be read; whoever opens it refuses it by that.
UNREADABLE = b"danlu:unreadable "
HEAD_BYTES = 32  # that tell a format
MOST_LOOKED_AT = 64  # values of a column of bytes
SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", JPEG2000),
    (b"\xff\x4f\xff\x51", JPEG2000),
)
BRANDS = {**dict.fromkeys((b"avif", b"avis"), AVIF)} | dict.fromkeys(
    (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), HEIF
)
ADVICE = {
    AVIF: "AVIF is read by Pillow 11.3 and later: pip install 'pillow>=11.3'",
    HEIF: f"HEIC is read with an extra: {install_command('heif')}",
    JPEG2000: "JPEG 2000 is read by a Pillow built with OpenJPEG, as PyPI has it: pip install --force-reinstall pillow",
}


def image_format(head: bytes) -> str | None:
    """Return an image's format by its first HEAD_BYTES, as Pillow names it; else None."""
    for signature, name in SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        return _by_brand(head)
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":  # reserved
        return "BMP"
    if len(head) > 2 and head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "PPM"
    return None


def holds_images(values: pl.Series) -> bool:
    """Return whether most of a column of bytes begin like images; some may be broken."""
    present = values.drop_nulls()
    looked_at = present.gather_every(max(1, len(present) // MOST_LOOKED_AT)).head(MOST_LOOKED_AT)
    found = [image_format(head) is not None for head in looked_at.bin.slice(0, HEAD_BYTES).to_list()]
    return sum(found) > len(found) / 2


def _by_brand(head: bytes) -> str | None:
    """Return the format by the brands of a file: a general one, then compatible ones."""
    brands = [head[8:12], *(head[start : start + 4] for start in range(16, len(head), 4))]
    found = [BRANDS[brand] for brand in brands if brand in BRANDS]
    return AVIF if AVIF in found else next(iter(found), None)


@cache
def decodable_formats() -> tuple[str, ...]:
    """Return the formats that can be decoded here; register HEIC's decoder with Pillow."""
    if find_spec("PIL") is None:  # whoever decodes names the extra
        return ALWAYS_DECODED
    from PIL import features

    found = list(ALWAYS_DECODED)
    if AVIF.lower() in features.modules and features.check(AVIF.lower()):
        found.append(AVIF)
    if features.check("jpg_2000"):
        found.append(JPEG2000)
    if not missing_packages("heif"):
        from pi_heif import register_heif_opener

        register_heif_opener()
        found.append(HEIF)
    return tuple(found)


def is_decodable(file: Path) -> bool:
    """Return whether a file can be decoded as an image, by suffix or content."""
    suffix = file.suffix.lower()
    if SUFFIXES.get(suffix) in ALWAYS_DECODED:
        return True
    if suffix in TEXT_SUFFIXES:
        return False
    try:
        with file.open("rb") as stream:
            found = image_format(stream.read(HEAD_BYTES))
    except OSError:  # whoever reads it says what is wrong
        return SUFFIXES.get(suffix) in decodable_formats()
    return found is not None and found in decodable_formats()


def advice_for(suffixes: set[str]) -> str:
    """Return what would make files of these suffixes readable, a sentence a format."""
    unread = {SUFFIXES[suffix] for suffix in suffixes if suffix in SUFFIXES} - set(decodable_formats())
    return "; ".join(ADVICE[name] for name in sorted(unread))


def count_suffixes(files: list[str]) -> dict[str, int]:
    """Count files by suffix in lower case, empty for none; the most frequent first."""
    counts: dict[str, int] = {}
    for file in files:
        suffix = Path(file).suffix.lower()
        counts[suffix] = counts.get(suffix, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def describe_suffixes(counts: dict[str, int]) -> str:
    """Describe counts of `count_suffixes`: `12 .heic, 3 without suffix`."""
    return ", ".join(f"{count:,} {suffix or 'without suffix'}" for suffix, count in counts.items())
