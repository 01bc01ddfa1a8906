"""AVIF and HEIC are read where a decoder is installed, and named with the line that installs it where none is."""

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image, features

from danlu.data.columns import infer_columns
from danlu.data.images import decode as decoding
from danlu.data.images.decode import decode, read_header, verify
from danlu.data.sources import image_files
from danlu.data.sources.image_files import decodable_formats, image_format
from danlu.errors import DataError
from tests.support.pictures import picture

HERE = Path()
# 32x32, the upper half bright; written with pillow-heif, whose wheels are not installed for tests.
HEIC = base64.b64decode(
    b"AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    b"ACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAAGQAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt"
    b"AAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA"
    b"AAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5j"
    b"bHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAACAAAAABAAAAIAAAAAH////gAAAAAv///+AAAAACAAAAEHBp"
    b"eGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAAGxtZGF0AAAAYCgBrwY4PPvXr9gJ///0xj9DxHX9N92R99+V3f/0"
    b"mS6833JOQ9Lejit/vP13LZn+OOE3i1akv/3Fr94/JBj/8vQK/+IPE4N4rJfIXZ3YoDhvKBsdyPIllJoUm/T0Z6CibA=="
)
COMMON = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")


def encoded(form: str) -> bytes:
    buffer = BytesIO()
    picture(1).save(buffer, format=form)
    return buffer.getvalue()


@pytest.mark.parametrize("form", [*COMMON, "AVIF", "JPEG2000"])
def test_every_format_is_known_by_its_first_bytes(form: str) -> None:
    assert image_format(encoded(form)[:32]) == form
    assert image_format(HEIC[:32]) == "HEIF"


@pytest.mark.parametrize("content", [b"", b"BM is a text", b"P5", b"II*", b"\0\0\0\x18ftypisom", b"\xff" * 16])
def test_other_bytes_are_no_image(content: bytes) -> None:
    assert image_format(content) is None


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_read_and_refused_cut_short() -> None:
    content = encoded("AVIF")
    assert np.asarray(decode(content, HERE)).shape == (24, 24, 3)
    for end in range(10, len(content) - 1, 37):
        with pytest.raises(DataError):
            decode(content[:end], HERE)


@pytest.mark.skipif(not features.check("jpg_2000"), reason="this Pillow has no JPEG 2000")
@pytest.mark.parametrize("options", [{}, {"no_jp2": True}, {"tile_size": (32, 32)}], ids=str)
def test_jpeg_2000_is_read_and_refused_cut_short(options: dict[str, Any]) -> None:
    buffer, pixels = BytesIO(), np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, format="JPEG2000", **options)
    content = buffer.getvalue()
    np.testing.assert_array_equal(np.asarray(decode(content, HERE)), pixels)
    for end in (*range(13, len(content), 97), len(content) - 1):
        with pytest.raises(DataError, match="broken or cut short"):
            decode(content[:end], HERE)
        with pytest.raises(DataError, match="broken or cut short"):
            verify(content[:end], HERE)


def test_heic_is_read_and_refused_cut_short() -> None:
    pytest.importorskip("pi_heif")
    image = np.asarray(decode(HEIC, HERE)).astype(int)
    assert image.shape == (32, 32, 3)
    assert np.abs(image[2, 16] - 220).max() <= 4
    assert image[30, 16].max() <= 4
    assert read_header(HEIC, HERE).width == 32
    for end in range(10, len(HEIC) - 1, 7):
        with pytest.raises(DataError):
            decode(HEIC[:end], HERE)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (HEIC, r"HEIC is read with an extra: pip install 'danlu\[heif\]'"),
        (encoded("AVIF"), r"AVIF is read by Pillow 11\.3 and later: pip install 'pillow>=11\.3'"),
        (encoded("JPEG2000"), "JPEG 2000 is read by a Pillow built with OpenJPEG"),
    ],
)
def test_what_cannot_be_decoded_here_is_named_with_its_cure(
    content: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "decodable_formats", lambda: COMMON)
    with pytest.raises(DataError, match=said) as caught:
        decode(content, HERE)
    assert caught.value.code == "DL230"


def test_without_the_extra_heic_is_not_among_the_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    decodable_formats.cache_clear()
    monkeypatch.setattr(image_files, "missing_packages", lambda extra: ("pi_heif",))
    try:
        assert "HEIF" not in decodable_formats()
    finally:
        decodable_formats.cache_clear()


def columns(values: list[bytes | None]) -> tuple[str, bool, str]:
    frame = pl.DataFrame({"key": values}, schema={"key": pl.Binary})
    (column,), _ = infer_columns(frame, {}, "the test")
    return column.type, column.used, column.reason


def test_a_column_of_keys_is_not_a_column_of_images() -> None:
    keys = [np.random.default_rng(row).bytes(16) for row in range(200)]
    assert columns([*keys, None]) == ("identifier", False, "holds bytes that are no images")


def test_a_column_of_images_may_hold_broken_ones() -> None:
    images: list[bytes | None] = [encoded("PNG") for _ in range(20)]
    assert columns([b"", None, b"broken", *images]) == ("image", True, "holds encoded bytes")


def test_a_table_with_keys_learns_from_its_other_columns(tmp_path: Path) -> None:
    import danlu as package

    draw = np.random.default_rng(0)
    frame = pl.DataFrame(
        {"key": [draw.bytes(16) for _ in range(60)], "x": draw.normal(size=60), "y": ["a", "b", "b"] * 20}
    )
    frame.write_parquet(tmp_path / "t.parquet")
    found = package.check({"data": {"source": str(tmp_path / "t.parquet"), "target": "y"}})
    assert (found["kind"], [column["used"] for column in found["columns"]]) == ("tabular", [False, True])


def test_pillow_opens_what_its_suffix_does_not_say(tmp_path: Path) -> None:
    picture(3).save(tmp_path / "a.heic", format="PNG")
    assert Image.open(tmp_path / "a.heic").format == "PNG"
    assert decode("a.heic", tmp_path).size == (24, 24)
