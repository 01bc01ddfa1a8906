"""Plans of augmentation: the composed equals the steps one after the other; the drawn is even and independent."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.core.seeds import Seed
from danlu.data.augment.hash_rng import HashRng, hash_counters, normal_table
from danlu.data.augment.transforms import (
    Affine,
    CropWindow,
    back_to_source,
    flipping,
    identity,
    identity_colour,
    rotation,
    scaling,
    shearing,
    translation,
)


def one(value: float) -> np.ndarray:
    return np.array([value])


MAPS = st.one_of(
    st.floats(-180, 180).map(lambda v: rotation(one(v))),
    st.floats(0.3, 3).map(lambda v: scaling(one(v))),
    st.tuples(st.floats(-60, 60), st.floats(-60, 60)).map(lambda v: shearing(one(v[0]), one(v[1]))),
    st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(lambda v: translation(one(v[0]), one(v[1]))),
    st.tuples(st.booleans(), st.booleans()).map(lambda v: flipping(np.array([v[0]]), np.array([v[1]]))),
)


def traced(step: Affine, point: np.ndarray, width: float, height: float) -> np.ndarray:
    """One step by itself: a point of its result back to its source."""
    middle = np.array([width, height]) / 2
    return np.asarray(step.linear[0] @ (point - middle) - step.shift[0] @ [width, height] + middle)


@settings(max_examples=60, deadline=None)
@given(
    before=st.lists(MAPS, max_size=4),
    after=st.lists(MAPS, max_size=4),
    box=st.tuples(st.integers(0, 50), st.integers(0, 40), st.integers(1, 100), st.integers(1, 90)),
    sides=st.tuples(st.integers(20, 500), st.integers(20, 500), st.integers(8, 300)),
    point=st.tuples(st.floats(0, 300), st.floats(0, 300)),
)
def test_the_composed_matrix_is_the_steps_one_after_the_other(
    before: list[Affine], after: list[Affine], box: Any, sides: Any, point: Any
) -> None:
    width, height, size = sides
    composed = [identity(1), identity(1)]
    for index, steps in enumerate((before, after)):
        for step in steps:
            composed[index] = composed[index].compose(step)
    matrix = back_to_source(composed[0], np.array([box], dtype=float), composed[1], width, height, size)[0]
    place = np.array(point)
    for step in reversed(after):
        place = traced(step, place, size, size)
    place = np.array(box[:2]) + place * np.array(box[2:]) / size
    for step in reversed(before):
        place = traced(step, place, width, height)
    assert np.allclose(matrix @ [*point, 1.0], place, rtol=1e-6, atol=1e-4)


FACTORS = st.tuples(st.sampled_from(["adjust_brightness", "adjust_contrast", "adjust_saturation"]), st.floats(0, 2))


@settings(max_examples=60, deadline=None)
@given(chain=st.lists(FACTORS, max_size=5), seed=st.integers(0, 1000), channels=st.sampled_from([1, 3]))
def test_the_colour_matrix_is_the_steps_one_after_the_other(
    chain: list[tuple[str, float]], seed: int, channels: int
) -> None:
    pixels = np.random.default_rng(seed).uniform(0, 255, (50, channels))
    luma = np.array([0.2989, 0.587, 0.114]) if channels == 3 else np.array([1.0])
    mix, wanted = identity_colour(1, channels), pixels
    for name, factor in chain:
        mix = getattr(mix, name)(one(factor))
        grey = (wanted @ luma)[:, None]
        anchor = {"adjust_brightness": 0.0, "adjust_contrast": grey.mean(), "adjust_saturation": grey}[name]
        wanted = factor * wanted + (1 - factor) * anchor
    found = pixels @ mix.pixel[0].T + mix.mean[0] @ pixels.mean(axis=0)
    assert np.allclose(found, wanted, atol=1e-6 * max(1.0, np.abs(wanted).max()))


@settings(max_examples=60, deadline=None)
@given(
    window=st.builds(
        lambda area, ratio, x, y: CropWindow(one(area), one(ratio), np.array([[x, y]])),
        *(st.floats(0.001, 1), st.floats(0.1, 10), st.floats(0, 1), st.floats(0, 1)),
    ),
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
)
def test_a_window_lies_within_its_image_at_whole_pixels(window: CropWindow, width: int, height: int) -> None:
    left, top, wide, high = window.boxes(width, height)[0]
    assert left >= 0 and top >= 0 and wide >= 1 and high >= 1 and left + wide <= width and top + high <= height
    assert all(value == int(value) for value in (left, top, wide, high))


def test_draws_are_even_and_independent() -> None:
    draw = HashRng(np.arange(40_000), Seed(11).derive("augment", 0))
    first, second = draw.uniform("a"), draw.uniform("b")
    following = HashRng(np.arange(40_000), Seed(11).derive("augment", 1)).uniform("a")
    for values in (first, second, following):
        counts = np.histogram(values, 20, (0, 1))[0]
        assert ((counts - 2000) ** 2 / 2000).sum() < 50  # chi-squared, 19 degrees of freedom: p = 1e-4
    pairs = [(first, second), (first, following), (first[1:], first[:-1])]
    assert all(abs(np.corrcoef(*pair)[0, 1]) < 0.025 for pair in pairs)


def test_numpy_and_torch_hash_alike_and_the_noise_is_normal() -> None:
    import torch

    from danlu.data.augment.device import hashed_normal

    keys = np.array([0, 7, 2**32 - 1], dtype=np.uint32)
    found = hashed_normal(keys, 90_000, torch.device("cpu")).numpy()
    for row, key in enumerate(keys):
        bits = hash_counters(np.arange(90_000, dtype=np.uint32), key) >> np.uint32(16)
        assert np.array_equal(found[row], normal_table()[bits])
        assert abs(found[row].mean()) < 0.02 and abs(found[row].std() - 1) < 0.02
        assert abs(np.corrcoef(found[row][1:], found[row][:-1])[0, 1]) < 0.02
    assert abs(np.corrcoef(found[0], found[1])[0, 1]) < 0.02
