"""Augmentation of images: one plan, two executors, both in step with torchvision; texts, tables and mixing are apart.

Tolerances are in grey levels of 255. The photos are scikit-learn's.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.core.seeds import Seed
from danlu.data.augment.affine import (
    Map,
    Window,
    back_to_source,
    flipping,
    rotation,
    scaling,
    shearing,
    translation,
    unchanged,
)
from danlu.data.augment.colour import unmixed
from danlu.data.augment.draw import Draw, hashed, normal_table
from danlu.data.augment.host import HostAugment
from danlu.data.augment.pictures import Blur, Color, Erase, Flip, RandomCrop, Rotate, Scale, Shear, Translate
from danlu.data.augment.plan import FILTERS, Plan, Sketch, plan_images
from danlu.data.augment.policies import RandAugment, TrivialAugment
from danlu.data.augment.rows import Noise

SIZE = 160
Build = Callable[[Sketch], None]
# Whether a border pixel is half black, and cut boxes by a rounding, differ among implementations: these few may.
EDGE_SHARE = 0.01


def one(value: float) -> np.ndarray:
    return np.array([value])


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """The temple: fine detail, [427, 640, 3] uint8."""
    from sklearn.datasets import load_sample_images

    return np.array(load_sample_images().images[0])


@pytest.fixture(scope="module")
def square(photo: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(photo[80 : 80 + SIZE, 120 : 120 + SIZE])


@pytest.fixture(scope="module")
def smooth(photo: np.ndarray) -> np.ndarray:
    """The photo without detail, in which resampling once and several times comes to the same."""
    from PIL import Image, ImageFilter

    return np.array(Image.fromarray(photo).filter(ImageFilter.GaussianBlur(3)))


@pytest.fixture(scope="module")
def vision() -> Any:
    """torchvision's functions."""
    from danlu.core.torchvision import mend_torchvision

    mend_torchvision()
    from torchvision.transforms.v2 import functional

    return functional


def on_host(image: np.ndarray, plan: Plan, index: int = 0, size: int = SIZE) -> np.ndarray:
    return HostAugment((), size, image.shape[2], Seed(0)).apply(image, plan, index)


def on_device(images: np.ndarray, plan: Plan, size: int = SIZE) -> np.ndarray:
    """[batch, height, width, channels] in and out."""
    import torch

    from danlu.data.augment.device import apply

    return apply(torch.from_numpy(images).permute(0, 3, 1, 2), plan, size).permute(0, 2, 3, 1).numpy()


def sketched(build: Build, channels: int = 3) -> Plan:
    sketch = Sketch(1, channels)
    build(sketch)
    return sketch.plan(np.array([7], dtype=np.uint32))


def planes(image: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(image.copy()).permute(2, 0, 1)


def difference(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.abs(found.astype(int) - wanted.astype(int)).max(axis=-1)


def bilinear(function: Any, **options: Any) -> Any:
    from torchvision.transforms import InterpolationMode

    return partial(function, interpolation=InterpolationMode.BILINEAR, **options)


def affine(
    vision: Any, scale: float = 1.0, shear: tuple[float, float] = (0.0, 0.0), move: tuple[int, int] = (0, 0)
) -> Any:
    return bilinear(vision.affine, angle=0.0, translate=list(move), scale=scale, shear=list(shear))


# Name: our step, torchvision's, the largest difference on the host and on the device.
STEPS: dict[str, tuple[Build, Callable[[Any], Any], int, int]] = {
    "rotate": (lambda s: s.move(rotation(one(25))), lambda v: bilinear(v.rotate, angle=25.0), 1, 1),
    "rotate the other way": (lambda s: s.move(rotation(one(-80))), lambda v: bilinear(v.rotate, angle=-80.0), 1, 1),
    "enlarge": (lambda s: s.move(scaling(one(1.4))), lambda v: affine(v, scale=1.4), 1, 1),
    "reduce": (lambda s: s.move(scaling(one(0.7))), lambda v: affine(v, scale=0.7), 1, 1),
    "shear x": (lambda s: s.move(shearing(one(15), one(0))), lambda v: affine(v, shear=(15.0, 0.0)), 1, 1),
    "shear y": (lambda s: s.move(shearing(one(0), one(-9))), lambda v: affine(v, shear=(0.0, -9.0)), 1, 1),
    "translate": (lambda s: s.move(translation(one(0.25), one(-0.1))), lambda v: affine(v, move=(40, -16)), 0, 0),
    "mirror": (lambda s: s.move(flipping(np.array([True]), np.array([False]))), lambda v: v.horizontal_flip, 0, 0),
    "upside down": (lambda s: s.move(flipping(np.array([False]), np.array([True]))), lambda v: v.vertical_flip, 0, 0),
    "darker": (lambda s: s.colour(one(0.6)), lambda v: partial(v.adjust_brightness, brightness_factor=0.6), 1, 1),
    "brighter": (lambda s: s.colour(one(1.4)), lambda v: partial(v.adjust_brightness, brightness_factor=1.4), 1, 1),
    "less contrast": (
        lambda s: s.colour(contrast=one(0.6)),
        lambda v: partial(v.adjust_contrast, contrast_factor=0.6),
        1,
        1,
    ),
    "more contrast": (
        lambda s: s.colour(contrast=one(1.4)),
        lambda v: partial(v.adjust_contrast, contrast_factor=1.4),
        1,
        1,
    ),
    # torchvision cuts grey down to whole levels, and the result once more: up to 2 levels lower.
    "less colour": (
        lambda s: s.colour(saturation=one(0.3)),
        lambda v: partial(v.adjust_saturation, saturation_factor=0.3),
        2,
        2,
    ),
    "more colour": (
        lambda s: s.colour(saturation=one(1.8)),
        lambda v: partial(v.adjust_saturation, saturation_factor=1.8),
        2,
        2,
    ),
    # Pillow keeps hue, saturation and value in 8 bits each: up to 6 levels off what floats give.
    "hue": (lambda s: s.turn_hue(one(0.1)), lambda v: partial(v.adjust_hue, hue_factor=0.1), 6, 1),
    "hue far": (lambda s: s.turn_hue(one(-0.4)), lambda v: partial(v.adjust_hue, hue_factor=-0.4), 6, 1),
    "posterize": (
        lambda s: s.filter(np.array([FILTERS.index("posterize")]), one(3)),
        lambda v: partial(v.posterize, bits=3),
        0,
        0,
    ),
    "solarize": (
        lambda s: s.filter(np.array([FILTERS.index("solarize")]), one(100.5)),
        lambda v: partial(v.solarize, threshold=100.5),
        0,
        0,
    ),
    "autocontrast": (
        lambda s: s.filter(np.array([FILTERS.index("autocontrast")]), one(0)),
        lambda v: v.autocontrast,
        1,
        1,
    ),
    "equalize": (lambda s: s.filter(np.array([FILTERS.index("equalize")]), one(0)), lambda v: v.equalize, 0, 0),
    "sharper": (
        lambda s: s.filter(np.array([FILTERS.index("sharpness")]), one(1.7)),
        lambda v: partial(v.adjust_sharpness, sharpness_factor=1.7),
        1,
        1,
    ),
    # Below 0.9 pixels the host takes the Gaussian itself, above it Pillow's, which is three boxes: up to 4 levels off.
    "blur a little": (
        lambda s: s.blur(one(0.6)),
        lambda v: partial(v.gaussian_blur, kernel_size=[5, 5], sigma=[0.6, 0.6]),
        1,
        1,
    ),
    "blur": (
        lambda s: s.blur(one(2.0)),
        lambda v: partial(v.gaussian_blur, kernel_size=[13, 13], sigma=[2.0, 2.0]),
        4,
        1,
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_each_step_agrees_with_torchvision(name: str, square: np.ndarray, vision: Any) -> None:
    import torch

    build, theirs, host_most, device_most = STEPS[name]
    # Not the full range, so that stretching contrast is put to the test.
    image = (square * 0.8 + 10).astype(np.uint8)
    wanted = theirs(vision)(planes(image)).permute(1, 2, 0).numpy()
    # Where the result shows the inside of the image, two pixels from any border.
    shown = theirs(vision)(planes(np.full_like(image, 255)))[:1].float() if "move" in build.__code__.co_names else None
    inner = torch.zeros(1, SIZE, SIZE)
    inner[:, 8:-8, 8:-8] = 1
    if shown is not None:
        inner *= -torch.nn.functional.max_pool2d(-(shown >= 254).float(), 5, 1, 2)
    chosen = inner[0].bool().numpy()
    plan = sketched(build)
    assert chosen.mean() > 0.3
    assert difference(on_host(image, plan), wanted)[chosen].max() <= host_most
    assert difference(on_device(image[None], plan)[0], wanted)[chosen].max() <= device_most


@pytest.mark.parametrize("executor", ["host", "device"])
def test_without_a_step_an_image_stays_as_it_is(executor: str, square: np.ndarray) -> None:
    plan = sketched(lambda s: None)
    found = on_host(square, plan) if executor == "host" else on_device(square[None], plan)[0]
    assert np.array_equal(found, square)


def test_a_crop_is_torchvisions_antialiased_resized_crop(photo: np.ndarray, vision: Any) -> None:
    window = Window(one(300 * 250 / (640 * 427)), one(1.2), np.array([[100 / 340, 77 / 177]]))
    assert window.boxes(640, 427).tolist() == [[100, 77, 300, 250]]
    wanted = (
        vision.resized_crop(planes(photo), 77, 100, 250, 300, [SIZE, SIZE], antialias=True).permute(1, 2, 0).numpy()
    )
    assert difference(on_host(photo, sketched(lambda s: s.crop(window))), wanted).max() <= 1


def test_a_chain_agrees_with_torchvisions_steps_one_after_the_other(smooth: np.ndarray, vision: Any) -> None:
    window = Window(one(300 * 250 / (640 * 427)), one(1.2), np.array([[100 / 340, 77 / 177]]))

    def ours(sketch: Sketch) -> None:
        sketch.crop(window)
        sketch.move(rotation(one(20)))
        sketch.move(flipping(np.array([True]), np.array([False])))
        sketch.colour(one(0.9), one(1.1), one(0.8))

    theirs = vision.resized_crop(planes(smooth), 77, 100, 250, 300, [SIZE, SIZE], antialias=True)
    theirs = vision.horizontal_flip(bilinear(vision.rotate, angle=20.0)(theirs))
    # torchvision's contrast sees its own black corners; ours sees what was outside the crop, so they are left out here.
    plain = theirs.permute(1, 2, 0).numpy()
    chosen = slice(40, -40)
    without_colour = sketched(
        lambda s: (s.crop(window), s.move(rotation(one(20))), s.move(flipping(np.array([True]), np.array([False]))))[0]
    )
    for found in (on_host(smooth, without_colour), on_device(smooth[None], without_colour)[0]):
        assert difference(found, plain)[chosen, chosen].max() <= 5
        assert difference(found, plain)[chosen, chosen].mean() <= 1
    inside = np.ascontiguousarray(on_host(smooth, without_colour)[30:-30, 30:-30])
    wanted = vision.adjust_saturation(vision.adjust_contrast(vision.adjust_brightness(planes(inside), 0.9), 1.1), 0.8)
    found = on_host(inside, sketched(lambda s: s.colour(one(0.9), one(1.1), one(0.8))), size=len(inside))
    assert difference(found, wanted.permute(1, 2, 0).numpy()).max() <= 3  # torchvision cuts to whole levels three times


EVERYTHING = (
    RandomCrop(size=SIZE),
    Rotate(degrees=30),
    Scale(),
    Translate(fraction=0.1),
    Shear(degrees=10),
    Flip(),
    Color(brightness=0.3, contrast=0.3, saturation=0.3),
    Noise(std=0.05),
    Erase(probability=0.5),
)


def test_host_and_device_carry_out_the_same_plan(smooth: np.ndarray) -> None:
    """On an image about as large as the result, where the device, too, has no need of antialiasing."""
    image = np.ascontiguousarray(smooth[100:300, 200:420])
    plan = plan_images(EVERYTHING, np.arange(24), 3, Seed(5), 3)
    device = on_device(np.repeat(image[None], 24, axis=0), plan)
    for index in range(24):
        off = difference(on_host(image, plan, index), device[index])
        assert (off > 3).mean() < EDGE_SHARE
        assert off.mean() < 0.5


def test_policies_do_the_same_on_host_and_device(smooth: np.ndarray) -> None:
    image = np.ascontiguousarray(smooth[100 : 100 + SIZE, 200 : 200 + SIZE])
    plan = plan_images((TrivialAugment(), RandAugment()), np.arange(60), 0, Seed(1), 3)
    assert {code for slot in plan.filters for code in slot.codes} == set(range(len(FILTERS)))
    device = on_device(np.repeat(image[None], 60, axis=0), plan)
    apart = [(difference(on_host(image, plan, index), device[index]) > 8).mean() for index in range(60)]
    # Filters that make much of a level's difference (posterize to two bits, equalize) part a few images more.
    assert np.median(apart) < EDGE_SHARE
    assert np.mean(np.array(apart) < 0.2) > 0.9


@pytest.mark.parametrize("steps", [EVERYTHING, (Color(hue=0.1), Blur(), RandAugment(), TrivialAugment())])
def test_what_becomes_of_a_sample_depends_on_seed_epoch_and_row_alone(square: np.ndarray, steps: Any) -> None:
    host = HostAugment(steps, SIZE, 3, Seed(3))
    alone = host(square, row=41, epoch=2)
    for rows in ([41, 7], [5, 90, 41], list(range(64))):
        plan = host.plan(np.array(rows), 2)
        assert np.array_equal(host.apply(square, plan, rows.index(41)), alone)
        device = on_device(
            np.repeat(square[None], len(rows), axis=0), plan_images(steps, np.array(rows), 2, Seed(3), 3)
        )
        single = on_device(square[None], plan_images(steps, np.array([41]), 2, Seed(3), 3))[0]
        assert difference(device[rows.index(41)], single).max() <= 1  # sums of another batch size round otherwise
    others = [host(square, 42, 2), host(square, 41, 3), HostAugment(steps, SIZE, 3, Seed(4))(square, 41, 2)]
    assert not any(np.array_equal(alone, other) for other in others)


def test_there_is_one_resampling_whatever_the_steps(square: np.ndarray) -> None:
    """Turned, enlarged and slanted there and back again, a photo full of detail comes back as it was."""

    def there_and_back(sketch: Sketch) -> None:
        for step in (rotation(one(37)), scaling(one(1.7)), shearing(one(12), one(0)), translation(one(0.1), one(0.2))):
            sketch.move(step)
        for step in (
            translation(one(-0.1), one(-0.2)),
            shearing(one(-12), one(0)),
            scaling(one(1 / 1.7)),
            rotation(one(-37)),
        ):
            sketch.move(step)

    plan = sketched(there_and_back)
    for found in (on_host(square, plan), on_device(square[None], plan)[0]):
        assert difference(found, square)[1:-1, 1:-1].max() <= 1


def test_an_image_reduced_a_lot_is_antialiased_on_the_host() -> None:
    """Stripes of one pixel become grey, not a pattern."""
    stripes = np.zeros((900, 900, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    found = on_host(stripes, sketched(lambda s: s.move(rotation(one(10)))), size=100)[30:-30, 30:-30]
    assert np.abs(found.astype(int) - 127).max() <= 8


def test_an_image_decoded_smaller_gives_the_same_result(photo: np.ndarray) -> None:
    from PIL import Image

    host = HostAugment((RandomCrop(size=64, scale=(0.6, 0.9)), Rotate(degrees=20)), 64, 3, Seed(2))
    plan = host.plan(np.arange(8), 0)
    for index in range(8):
        width, height = host.least_size(plan, index, 640, 427)
        assert 64 <= width < 400
        reduced = np.array(Image.fromarray(photo).resize((width, height), Image.Resampling.BOX))
        off = difference(host.apply(reduced, plan, index), host.apply(photo, plan, index))
        assert off.mean() < 16  # one is antialiased by a box, the other by a triangle
        assert (
            np.corrcoef(host.apply(reduced, plan, index).ravel(), host.apply(photo, plan, index).ravel())[0, 1] > 0.95
        )


def test_a_store_keeps_images_so_large_that_crops_stay_sharp() -> None:
    assert HostAugment((Flip(), RandomCrop(scale=(0.1, 0.4))), 100, 3, Seed(0)).stored_size == 200
    assert HostAugment((Flip(),), 100, 3, Seed(0)).stored_size == 100


def test_grey_images_keep_one_channel(square: np.ndarray) -> None:
    steps = (*EVERYTHING, Color(hue=0.3, saturation=0.5), Blur(probability=1.0), RandAugment())
    plan = plan_images(steps, np.arange(8), 0, Seed(0), 1)
    grey = np.ascontiguousarray(square[:, :, :1])
    device = on_device(np.repeat(grey[None], 8, axis=0), plan)
    for index in range(8):
        found = on_host(grey, plan, index)
        assert found.shape == device[index].shape == (SIZE, SIZE, 1)
        assert found.std() > 1


MAPS = st.one_of(
    st.floats(-180, 180).map(lambda v: rotation(one(v))),
    st.floats(0.3, 3).map(lambda v: scaling(one(v))),
    st.tuples(st.floats(-60, 60), st.floats(-60, 60)).map(lambda v: shearing(one(v[0]), one(v[1]))),
    st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(lambda v: translation(one(v[0]), one(v[1]))),
    st.tuples(st.booleans(), st.booleans()).map(lambda v: flipping(np.array([v[0]]), np.array([v[1]]))),
)


def traced(step: Map, point: np.ndarray, width: float, height: float) -> np.ndarray:
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
    before: list[Map], after: list[Map], box: Any, sides: Any, point: Any
) -> None:
    width, height, size = sides
    composed = [unchanged(1), unchanged(1)]
    for index, steps in enumerate((before, after)):
        for step in steps:
            composed[index] = composed[index].then(step)
    matrix = back_to_source(composed[0], np.array([box], dtype=float), composed[1], width, height, size)[0]
    place = np.array(point)
    for step in reversed(after):
        place = traced(step, place, size, size)
    place = np.array(box[:2]) + place * np.array(box[2:]) / size
    for step in reversed(before):
        place = traced(step, place, width, height)
    assert np.allclose(matrix @ [*point, 1.0], place, rtol=1e-6, atol=1e-4)


FACTORS = st.tuples(st.sampled_from(["brightened", "contrasted", "saturated"]), st.floats(0, 2))


@settings(max_examples=60, deadline=None)
@given(chain=st.lists(FACTORS, max_size=5), seed=st.integers(0, 1000), channels=st.sampled_from([1, 3]))
def test_the_colour_matrix_is_the_steps_one_after_the_other(
    chain: list[tuple[str, float]], seed: int, channels: int
) -> None:
    pixels = np.random.default_rng(seed).uniform(0, 255, (50, channels))
    luma = np.array([0.2989, 0.587, 0.114]) if channels == 3 else np.array([1.0])
    mix, wanted = unmixed(1, channels), pixels
    for name, factor in chain:
        mix = getattr(mix, name)(one(factor))
        grey = (wanted @ luma)[:, None]
        anchor = {"brightened": 0.0, "contrasted": grey.mean(), "saturated": grey}[name]
        wanted = factor * wanted + (1 - factor) * anchor
    found = pixels @ mix.pixel[0].T + mix.mean[0] @ pixels.mean(axis=0)
    assert np.allclose(found, wanted, atol=1e-6 * max(1.0, np.abs(wanted).max()))


@settings(max_examples=60, deadline=None)
@given(
    window=st.builds(
        lambda area, ratio, x, y: Window(one(area), one(ratio), np.array([[x, y]])),
        *(st.floats(0.001, 1), st.floats(0.1, 10), st.floats(0, 1), st.floats(0, 1)),
    ),
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
)
def test_a_window_lies_within_its_image_at_whole_pixels(window: Window, width: int, height: int) -> None:
    left, top, wide, high = window.boxes(width, height)[0]
    assert left >= 0 and top >= 0 and wide >= 1 and high >= 1 and left + wide <= width and top + high <= height
    assert all(value == int(value) for value in (left, top, wide, high))


def test_draws_are_even_and_independent() -> None:
    draw = Draw(np.arange(40_000), Seed(11).derive("augment", 0))
    first, second = draw.uniform("a"), draw.uniform("b")
    following = Draw(np.arange(40_000), Seed(11).derive("augment", 1)).uniform("a")
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
        bits = hashed(np.arange(90_000, dtype=np.uint32), key) >> np.uint32(16)
        assert np.array_equal(found[row], normal_table()[bits])
        assert abs(found[row].mean()) < 0.02 and abs(found[row].std() - 1) < 0.02
        assert abs(np.corrcoef(found[row][1:], found[row][:-1])[0, 1]) < 0.02
    assert abs(np.corrcoef(found[0], found[1])[0, 1]) < 0.02


def test_erasing_blackens_the_said_share(square: np.ndarray) -> None:
    host = HostAugment((Erase(probability=1.0, scale=(0.2, 0.3), ratio=(0.5, 2.0)),), SIZE, 3, Seed(0))
    white = np.full_like(square, 255)
    white.flags.writeable = False  # the original stays as it is
    shares = [float((host(white, row, 0) == 0).mean()) for row in range(50)]
    assert min(shares) > 0.19 and max(shares) < 0.31 and max(shares) - min(shares) > 0.05
