"""Gray of 16 bits: a small range is used whole, learned from the training images, kept in the bundle and said."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import danlu as package
from danlu.data.descriptors import Origin
from danlu.data.images.decode import Levels, decode
from danlu.data.images.gray_levels import learn_gray_levels
from danlu.data.images.pixels import LazyPixels
from danlu.data.images.preprocessor import ImagePreprocessor
from danlu.data.images.store import _format_folder
from danlu.data.sources.in_memory_images import encode_images
from tests.support.pictures import classes

HERE = Path()
RAMP = np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)  # 12 bits
THERMAL = (RAMP // 4 + 20000).astype(np.uint16)


def encoded(values: np.ndarray, form: str = "PNG") -> bytes:
    buffer = BytesIO()
    Image.fromarray(values).save(buffer, format=form)
    return buffer.getvalue()


def seen(values: np.ndarray, levels: Levels | None, form: str = "PNG") -> np.ndarray:
    return np.asarray(decode(encoded(values, form), HERE, levels=levels))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize(("values", "levels"), [(RAMP, (0, 4095)), (THERMAL, (20000, 21023))])
def test_a_small_range_is_learned_and_used_whole(values: np.ndarray, levels: Levels, form: str) -> None:
    assert learn_gray_levels([encoded(values, form)], HERE) == levels
    shown = seen(values, levels, form)
    low, high = levels
    np.testing.assert_array_equal(shown, np.rint((values - float(low)) / (high - low) * 255).astype(np.uint8))
    assert len(np.unique(shown)) == 256


def test_what_is_beyond_the_learned_range_is_cut() -> None:
    values = np.array([[0, 19999, 20000, 21023, 21024, 65535]], dtype=np.uint16)
    assert seen(values, (20000, 21023)).tolist() == [[0, 0, 0, 255, 255, 255]]


@pytest.mark.parametrize("levels", [None, (0, 4095)])
def test_other_images_are_prepared_as_ever(levels: Levels | None) -> None:
    wide = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    assert learn_gray_levels([encoded(wide)], HERE) is None
    np.testing.assert_array_equal(seen(wide, None), (wide >> 8).astype(np.uint8))
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert learn_gray_levels([encoded(gray)], HERE) is None
    np.testing.assert_array_equal(seen(gray, levels), gray)
    colour = np.dstack([gray, gray.T, gray])
    np.testing.assert_array_equal(seen(colour, levels), colour)
    np.testing.assert_array_equal(seen(np.array([[0.0, 0.5, 1.0]], dtype=np.float32), levels, "TIFF"), [[0, 128, 255]])


def test_a_few_dead_and_hot_pixels_do_not_take_the_range() -> None:
    values = np.tile(THERMAL, (2, 2))
    values[3, 4], values[5, 6] = 65535, 0
    assert learn_gray_levels([encoded(values)], HERE) == (20000, 21023)


def test_the_range_is_that_of_all_images_together() -> None:
    dark, light = np.full((20, 20), 100, dtype=np.uint16), np.full((20, 20), 900, dtype=np.uint16)
    assert learn_gray_levels([encoded(dark), encoded(light)], HERE) == (100, 900)
    assert learn_gray_levels([encoded(dark)], HERE) == (100, 101)


@given(st.integers(0, 65535), st.integers(1, 32000), st.integers(0, 2**32 - 1))
def test_brighter_stays_brighter(low: int, width: int, seed: int) -> None:
    high = min(65535, low + width)
    values = np.sort(np.random.default_rng(seed).integers(0, 65536, 64).astype(np.uint16))[None]
    shown = seen(values, (low, max(high, low + 1))).astype(int)
    assert (np.diff(shown) >= 0).all()


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    """Images of 12 bits: vertical or horizontal stripes."""
    draw = np.random.default_rng(0)
    for number in range(24):
        stripes = np.tile(np.repeat([300, 3900], 8), 2)
        values = np.broadcast_to(stripes, (32, 32)) if number % 2 else np.broadcast_to(stripes[:, None], (32, 32))
        path = tmp_path / "camera" / ("across" if number % 2 else "down") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((values + draw.integers(0, 100, (32, 32))).astype(np.uint16)).save(path)
    return tmp_path / "camera"


def test_check_says_the_range(camera: Path) -> None:
    found = package.check({"data": {"source": str(camera)}})
    (said,) = [finding for finding in found["findings"] if finding["key"] == "gray-range"]
    assert said["severity"] == "note"
    assert said["message"].startswith("gray of 16 bits: 300 to 3,999 become black to white")
    assert package.check({"data": {"source": str(classes(camera.parent / "rgb"))}})["findings"] == []


def test_images_in_store_are_kept_by_their_levels() -> None:
    plain = LazyPixels(["a"], HERE, 8, 1)
    assert _format_folder(plain) != _format_folder(LazyPixels(["a"], HERE, 8, 1, levels=(0, 4095)))


def test_a_bundle_without_levels_prepares_as_before() -> None:
    kept = {"column": "image", "channels": 1, "size": 64, "mean": (0.5,), "std": (0.5,)}
    old = ImagePreprocessor.model_validate({"kind": "image", **kept})
    assert old.levels is None
    prepared = old.transform(pl.DataFrame({"image": [encoded(RAMP)]}), Origin("the test", HERE))
    pixels = prepared.columns[0].take(np.array([0]))["image"].numpy()[0, 0]
    np.testing.assert_array_equal(pixels, (RAMP >> 8).astype(np.uint8))


@pytest.mark.training
def test_the_range_is_kept_in_the_bundle_and_used_to_predict(camera: Path, tmp_path: Path) -> None:
    recipe = {
        "data": {"source": str(camera)},
        "model": {"name": "small-resnet", "size": "small"},
        "training": {"epochs": 3, "batch_size": 8},
        "evaluation": {"robustness": ["noise"]},
    }
    run = package.run(recipe, output=tmp_path / "runs")
    kept = json.loads((run.path / "model" / "bundle.json").read_text())["preprocessing"]
    assert kept["levels"] == [300, 3999]
    paths = sorted(camera.rglob("*.png"))
    model = package.load(run.path)
    by_path = model.predict(paths)
    arrays = model.predict(np.stack([np.asarray(Image.open(path)) for path in paths]))
    assert by_path.equals(arrays)


@pytest.mark.parametrize("dtype", ["int16", "int32", "int64", "uint32"])
def test_an_image_of_whole_numbers_is_read_alike_alone_and_among_others(dtype: str) -> None:
    dark, bright = (RAMP // 40).astype(dtype), RAMP.astype(dtype)
    together = encode_images([dark, bright], "the test").to_list()
    assert [encode_images(image, "the test")[0] for image in (dark, bright)] == together
    assert learn_gray_levels(together, HERE) == (0, 4095)
    alone = encode_images(dark, "the test")[0]
    as_words = encoded((RAMP // 40).astype(np.uint16))
    for levels in ((0, 4095), (50, 2000)):
        shown = [np.asarray(decode(reference, HERE, levels=levels)) for reference in (alone, as_words)]
        np.testing.assert_array_equal(*shown)


def test_whole_numbers_up_to_255_are_gray_of_eight_bits_to_a_model_of_such() -> None:
    gray = np.arange(256, dtype=np.int64).reshape(16, 16)
    reference = encode_images(gray, "the test")[0]
    assert learn_gray_levels([reference], HERE) is None
    np.testing.assert_array_equal(np.asarray(decode(reference, HERE)), gray)


def test_a_model_answers_a_dark_picture_alike_alone_and_in_a_batch(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    dark, bright = generator.integers(0, 200, (20, 8, 8)), generator.integers(1000, 4000, (20, 8, 8))
    images = [*dark.astype(np.int32), *bright.astype(np.int32)]
    recipe = {"data": {"image_size": 32}, "model": "small-resnet", "training": {"epochs": 1}}
    run = package.train(recipe, data=(images, ["dark"] * 20 + ["bright"] * 20), output=tmp_path)
    model = package.load(run.path)
    together = model.predict(images[15:25])["probability"].to_list()
    assert [model.predict(image)["probability"].item() for image in images[15:25]] == pytest.approx(together, abs=1e-6)
    words = model.predict(images[0].astype(np.uint16))["probability"].item()
    assert model.predict(images[0])["probability"].item() == pytest.approx(words, abs=1e-6)
