"""Images from a Python program: every form gives the same pixels, and what could mean two things is refused."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from danlu.data.images.decode import decode, verify
from danlu.data.sources.in_memory import read_in_memory
from danlu.data.sources.in_memory_images import encode_images
from danlu.errors import DataError

HERE = Path()
COLOUR = np.random.default_rng(3).integers(0, 256, (20, 30, 3), dtype=np.uint8)
GRAY = COLOUR[..., 0]
FORMS = "images are paths, encoded bytes, open files, PIL images, or arrays and tensors of pixels"


def shown(values: pl.Series, row: int = 0) -> np.ndarray:
    """[height, width, 3] of one image, as danlu sees it."""
    image = decode(values[row], HERE)
    return np.asarray(image.convert("RGB") if image.mode == "L" else image)[..., :3]


def as_file(pixels: np.ndarray = COLOUR, form: str = "PNG") -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format=form)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "form",
    [
        COLOUR,
        COLOUR[None],
        COLOUR.transpose(2, 0, 1)[None],  # NCHW
        [COLOUR],
        [COLOUR.transpose(2, 0, 1)],
        COLOUR / 255,
        (COLOUR / 255).astype(np.float32)[None],
        COLOUR.astype(np.float64),  # 0 to 255
        COLOUR.astype(np.int64),
        torch.tensor(COLOUR),
        torch.tensor(COLOUR).permute(2, 0, 1),
        torch.tensor(COLOUR).permute(2, 0, 1)[None] / 255,
        [torch.tensor(COLOUR / 255, requires_grad=True).permute(2, 0, 1)],
        as_file(),
        bytearray(as_file()),
        BytesIO(as_file()),
        [BytesIO(as_file())],
        Image.fromarray(COLOUR),
        np.dstack([COLOUR, np.full((20, 30), 255, dtype=np.uint8)]),  # opaque
    ],
    ids=lambda value: f"{type(value).__name__}{list(getattr(value, 'shape', []))}{getattr(value, 'dtype', '')}",
)
def test_one_image_in_any_form_is_the_same_pixels(form: Any) -> None:
    values = encode_images(form, "the test")
    assert len(values) == 1
    np.testing.assert_array_equal(shown(values), COLOUR)


def test_an_open_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(as_file())
    with (tmp_path / "a.png").open("rb") as file:
        file.read(10)
        np.testing.assert_array_equal(shown(encode_images(file, "the test")), COLOUR)
    buffer = BytesIO(as_file())
    buffer.read()
    np.testing.assert_array_equal(shown(encode_images(buffer, "the test")), COLOUR)


@pytest.mark.parametrize(
    "form",
    [
        GRAY,
        GRAY[..., None],
        GRAY[None],
        GRAY[None, None],
        GRAY / 255,
        torch.tensor(GRAY)[None],
        torch.tensor(GRAY, dtype=torch.float32) / 255,
        GRAY.astype(np.int32),
    ],
    ids=lambda value: f"{type(value).__name__}{list(value.shape)}{value.dtype}",
)
def test_one_gray_image_in_any_form_is_the_same_pixels(form: Any) -> None:
    values = encode_images(form, "the test")
    assert len(values) == 1
    np.testing.assert_array_equal(shown(values)[..., 0], GRAY)


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("make", [np.stack, lambda images: torch.tensor(np.stack(images)), list])
def test_several_images_keep_their_number_and_order(count: int, make: Any) -> None:
    gray = [np.full((12, 9), 10 * number, dtype=np.uint8) for number in range(count)]
    values = encode_images(make(gray), "the test")
    assert [shown(values, row)[0, 0, 0] for row in range(len(values))] == [10 * number for number in range(count)]


def test_truth_values_are_black_and_white() -> None:
    assert shown(encode_images(np.array([[True, False]]), "the test"))[0, :, 0].tolist() == [255, 0]


def test_gray_of_sixteen_bits_keeps_its_values() -> None:
    ramp = np.linspace(0, 4095, 64, dtype=np.uint16).reshape(8, 8)
    for form in (ramp, ramp.astype(np.int32), torch.tensor(ramp.astype(np.int32))):
        image = Image.open(BytesIO(encode_images(form, "the test")[0]))
        assert image.mode == "I;16"
        np.testing.assert_array_equal(np.asarray(image), ramp)


def test_the_range_of_floats_is_that_of_all_images_together() -> None:
    dark, light = np.zeros((4, 4)), np.full((4, 4), 200.0)
    values = encode_images([np.full((4, 4), 1.0), dark, light], "the test")
    assert [shown(values, row)[0, 0, 0] for row in range(3)] == [1, 0, 200]


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (COLOUR.transpose(2, 0, 1), r"\[3, 20, 30\] may be one image with its channels first, or three gray ones"),
        (np.zeros((2, 20, 30, 5)), r"cannot take an array of \[2, 20, 30, 5\] as images"),
        ([np.zeros((5, 20, 30))], r"cannot take an array of \[5, 20, 30\] as an image"),
        (np.zeros((2, 0, 30, 3)), "has no pixels"),
        ((COLOUR / 127.5 - 1), "cannot take floats from -1 to 1 as pixels"),
        (np.full((4, 4), np.nan), "cannot take floats from nan to nan as pixels"),
        (np.full((4, 4), 0.5) * 3, r"cannot take floats from 1\.5 to 1\.5 as pixels"),
        (np.full((4, 4, 3), 300), "cannot take whole numbers from 300 to 300 in colour as pixels"),
        (np.full((4, 4), -1), "cannot take whole numbers from -1 to -1 as pixels"),
        ([COLOUR, "a.png", 3], "cannot take int as an image"),
        (7, "cannot take int"),
    ],
)
def test_what_is_unclear_is_refused_with_the_forms(form: Any, said: str) -> None:
    with pytest.raises(DataError, match=rf"^the test: .*{said}.*; {FORMS}") as caught:
        encode_images(form, "the test")
    assert caught.value.code == "DL207"


@given(st.integers(1, 8), st.sampled_from([None, "CMYK", "P", "LA", "RGBA", "I;16", "F", "HSV", "YCbCr", "RGBa", "La"]))
def test_an_image_turned_by_its_camera_is_upright_in_every_mode(orientation: int, mode: str | None) -> None:
    top = np.zeros((8, 8, 3), dtype=np.uint8)
    top[:4, :4] = 220
    image = Image.fromarray(top)
    image = image if mode is None else _in(image, mode)
    image.getexif()[0x0112] = orientation
    expected = {1: (0, 0), 2: (0, 7), 3: (7, 7), 4: (7, 0), 5: (0, 0), 6: (0, 7), 7: (7, 7), 8: (7, 0)}[orientation]
    brightness = shown(encode_images(image, "the test")).sum(axis=2).astype(int)
    assert brightness[expected] > brightness[7 - expected[0], 7 - expected[1]]


def _in(image: Image.Image, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    step = {"RGBa": "RGBA", "La": "LA", "F": "L"}.get(mode, mode)
    return image.convert(step).convert(mode)


def test_a_picture_turned_by_its_camera_is_one_picture_by_path_by_bytes_and_as_pil_image(tmp_path: Path) -> None:
    top_is_bright = np.zeros((32, 32, 3), dtype=np.uint8)
    top_is_bright[:16] = 220
    exif = Image.Exif()
    exif[0x0112] = 3  # stored upside down
    path = tmp_path / "turned.jpg"
    Image.fromarray(top_is_bright[::-1].copy()).save(path, exif=exif)
    forms = [
        path,
        path.read_bytes(),
        BytesIO(path.read_bytes()),
        Image.open(path),
        Image.open(path).convert("RGB"),
        Image.open(path).copy(),
    ]
    seen = [shown(encode_images([form], "the test")) for form in forms]
    assert seen[0][1, 1].min() > 200
    for each in seen[1:]:
        np.testing.assert_array_equal(each, seen[0])


def test_cmyk_keeps_its_colours() -> None:
    flat = Image.new("RGB", (16, 16), (200, 60, 20)).convert("CMYK")
    buffer = BytesIO()
    flat.save(buffer, format="JPEG", quality=95)
    for form in (flat, buffer.getvalue(), Image.open(buffer)):
        assert np.abs(shown(encode_images(form, "the test")).astype(int) - (200, 60, 20)).max() <= 4


@pytest.mark.parametrize("make", [lambda x: x / 255, lambda x: x.transpose(0, 3, 1, 2), torch.tensor, list])
def test_training_takes_the_same_forms(make: Any) -> None:
    images = np.stack([COLOUR, COLOUR // 2, COLOUR // 3])
    read = read_in_memory((make(images), ["a", "b", "a"]))
    assert read.frame.columns == ["image", "label"]
    np.testing.assert_array_equal(shown(read.frame["image"], 1), COLOUR // 2)
    column = read_in_memory({"picture": make(images), "label": ["a", "b", "a"]})
    np.testing.assert_array_equal(shown(column.frame["picture"], 2), COLOUR // 3)


def test_three_gray_images_with_answers_are_three_rows() -> None:
    read = read_in_memory((np.stack([GRAY] * 3), [1, 2, 1]))
    assert read.frame.height == 3


@pytest.mark.parametrize("missing", ["missing.png", Path("missing.png")])
def test_a_missing_file_among_bytes_is_an_error_of_its_row(missing: str | Path) -> None:
    whole, absent = encode_images([as_file(), missing], "the test").to_list()
    verify(whole, Path())
    with pytest.raises(DataError, match=r"an image cannot be read \(missing\.png: No such file") as caught:
        verify(absent, Path())
    assert caught.value.code == "DL230"
