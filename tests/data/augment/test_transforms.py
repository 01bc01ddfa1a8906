"""Augmentation of images: one plan, two executors, both in step with torchvision; texts, tables and mixing are apart.

Tolerances are in grey levels of 255. The photos are scikit-learn's.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from danlu.core.seeds import Seed
from danlu.data.augment.base import FILTERS, AugmentBuilder, AugmentParams, draw_params
from danlu.data.augment.host import HostAugment
from danlu.data.augment.images import (
    Blur,
    Color,
    Erase,
    Flip,
    RandAugment,
    RandomCrop,
    Rotate,
    Scale,
    Shear,
    Translate,
    TrivialAugment,
)
from danlu.data.augment.tabular import Noise
from danlu.data.augment.transforms import (
    CropWindow,
    flipping,
    rotation,
    scaling,
    shearing,
    translation,
)

SIZE = 160
Build = Callable[[AugmentBuilder], None]
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
    from danlu.core.imports import patch_torchvision

    patch_torchvision()
    from torchvision.transforms.v2 import functional

    return functional


def on_host(image: np.ndarray, plan: AugmentParams, index: int = 0, size: int = SIZE) -> np.ndarray:
    return HostAugment((), size, image.shape[2], Seed(0)).apply(image, plan, index)


def on_device(images: np.ndarray, plan: AugmentParams, size: int = SIZE) -> np.ndarray:
    """[batch, height, width, channels] in and out."""
    import torch

    from danlu.data.augment.device import apply

    return apply(torch.from_numpy(images).permute(0, 3, 1, 2), plan, size).permute(0, 2, 3, 1).numpy()


def sketched(build: Build, channels: int = 3) -> AugmentParams:
    builder = AugmentBuilder(1, channels)
    build(builder)
    return builder.build(np.array([7], dtype=np.uint32))


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
    "rotate": (lambda s: s.add_geometry(rotation(one(25))), lambda v: bilinear(v.rotate, angle=25.0), 1, 1),
    "rotate the other way": (
        lambda s: s.add_geometry(rotation(one(-80))),
        lambda v: bilinear(v.rotate, angle=-80.0),
        1,
        1,
    ),
    "enlarge": (lambda s: s.add_geometry(scaling(one(1.4))), lambda v: affine(v, scale=1.4), 1, 1),
    "reduce": (lambda s: s.add_geometry(scaling(one(0.7))), lambda v: affine(v, scale=0.7), 1, 1),
    "shear x": (lambda s: s.add_geometry(shearing(one(15), one(0))), lambda v: affine(v, shear=(15.0, 0.0)), 1, 1),
    "shear y": (lambda s: s.add_geometry(shearing(one(0), one(-9))), lambda v: affine(v, shear=(0.0, -9.0)), 1, 1),
    "translate": (
        lambda s: s.add_geometry(translation(one(0.25), one(-0.1))),
        lambda v: affine(v, move=(40, -16)),
        0,
        0,
    ),
    "mirror": (
        lambda s: s.add_geometry(flipping(np.array([True]), np.array([False]))),
        lambda v: v.horizontal_flip,
        0,
        0,
    ),
    "upside down": (
        lambda s: s.add_geometry(flipping(np.array([False]), np.array([True]))),
        lambda v: v.vertical_flip,
        0,
        0,
    ),
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
    shown = (
        theirs(vision)(planes(np.full_like(image, 255)))[:1].float()
        if "add_geometry" in build.__code__.co_names
        else None
    )
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
    window = CropWindow(one(300 * 250 / (640 * 427)), one(1.2), np.array([[100 / 340, 77 / 177]]))
    assert window.boxes(640, 427).tolist() == [[100, 77, 300, 250]]
    wanted = (
        vision.resized_crop(planes(photo), 77, 100, 250, 300, [SIZE, SIZE], antialias=True).permute(1, 2, 0).numpy()
    )
    assert difference(on_host(photo, sketched(lambda s: s.crop(window))), wanted).max() <= 1


def test_a_chain_agrees_with_torchvisions_steps_one_after_the_other(smooth: np.ndarray, vision: Any) -> None:
    """Away from the corners: torchvision's are black, ours show what was outside the crop."""

    def turned(builder: AugmentBuilder) -> None:
        builder.crop(CropWindow(one(300 * 250 / (640 * 427)), one(1.2), np.array([[100 / 340, 77 / 177]])))
        builder.add_geometry(rotation(one(20)))
        builder.add_geometry(flipping(np.array([True]), np.array([False])))

    theirs = vision.resized_crop(planes(smooth), 77, 100, 250, 300, [SIZE, SIZE], antialias=True)
    theirs = vision.horizontal_flip(bilinear(vision.rotate, angle=20.0)(theirs)).permute(1, 2, 0).numpy()
    plan = sketched(turned)
    for found in (on_host(smooth, plan), on_device(smooth[None], plan)[0]):
        off = difference(found, theirs)[40:-40, 40:-40]
        assert off.max() <= 5 and off.mean() <= 1


def test_a_chain_of_colours_agrees_with_torchvisions_steps(square: np.ndarray, vision: Any) -> None:
    image = (square * 0.7 + 20).astype(np.uint8)  # so that no step runs into black or white
    wanted = vision.adjust_saturation(vision.adjust_contrast(vision.adjust_brightness(planes(image), 0.9), 1.1), 0.8)
    plan = sketched(lambda s: s.colour(one(0.9), one(1.1), one(0.8)))
    for found in (on_host(image, plan), on_device(image[None], plan)[0]):
        # torchvision cuts to whole levels four times.
        assert difference(found, wanted.permute(1, 2, 0).numpy()).max() <= 3


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
    plan = draw_params(EVERYTHING, np.arange(24), 3, Seed(5), 3)
    device = on_device(np.repeat(image[None], 24, axis=0), plan)
    for index in range(24):
        off = difference(on_host(image, plan, index), device[index])
        assert (off > 3).mean() < EDGE_SHARE
        assert off.mean() < 0.5


def test_policies_do_the_same_on_host_and_device(smooth: np.ndarray) -> None:
    image = np.ascontiguousarray(smooth[100 : 100 + SIZE, 200 : 200 + SIZE])
    plan = draw_params((TrivialAugment(), RandAugment()), np.arange(60), 0, Seed(1), 3)
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
        plan = host.draw_params(np.array(rows), 2)
        assert np.array_equal(host.apply(square, plan, rows.index(41)), alone)
        device = on_device(
            np.repeat(square[None], len(rows), axis=0), draw_params(steps, np.array(rows), 2, Seed(3), 3)
        )
        single = on_device(square[None], draw_params(steps, np.array([41]), 2, Seed(3), 3))[0]
        assert difference(device[rows.index(41)], single).max() <= 1  # sums of another batch size round otherwise
    others = [host(square, 42, 2), host(square, 41, 3), HostAugment(steps, SIZE, 3, Seed(4))(square, 41, 2)]
    assert not any(np.array_equal(alone, other) for other in others)


def test_there_is_one_resampling_whatever_the_steps(square: np.ndarray) -> None:
    """Turned, enlarged and slanted there and back again, a photo full of detail comes back as it was."""

    def there_and_back(builder: AugmentBuilder) -> None:
        for step in (rotation(one(37)), scaling(one(1.7)), shearing(one(12), one(0)), translation(one(0.1), one(0.2))):
            builder.add_geometry(step)
        for step in (
            translation(one(-0.1), one(-0.2)),
            shearing(one(-12), one(0)),
            scaling(one(1 / 1.7)),
            rotation(one(-37)),
        ):
            builder.add_geometry(step)

    plan = sketched(there_and_back)
    for found in (on_host(square, plan), on_device(square[None], plan)[0]):
        assert difference(found, square)[1:-1, 1:-1].max() <= 1


def test_an_image_reduced_a_lot_is_antialiased_on_the_host() -> None:
    """Stripes of one pixel become grey, not a pattern."""
    stripes = np.zeros((900, 900, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    found = on_host(stripes, sketched(lambda s: s.add_geometry(rotation(one(10)))), size=100)[30:-30, 30:-30]
    assert np.abs(found.astype(int) - 127).max() <= 8


def test_an_image_decoded_smaller_gives_the_same_result(photo: np.ndarray) -> None:
    from PIL import Image

    host = HostAugment((RandomCrop(size=64, scale=(0.6, 0.9)), Rotate(degrees=20)), 64, 3, Seed(2))
    plan = host.draw_params(np.arange(8), 0)
    for index in range(8):
        width, height = host.least_size(plan, index, 640, 427)
        assert 64 <= width < 400
        reduced = np.array(Image.fromarray(photo).resize((width, height), Image.Resampling.BOX))
        off = difference(host.apply(reduced, plan, index), host.apply(photo, plan, index))
        assert off.mean() < 16  # one is antialiased by a box, the other by a triangle
        assert (
            np.corrcoef(host.apply(reduced, plan, index).ravel(), host.apply(photo, plan, index).ravel())[0, 1] > 0.95
        )


def test_without_a_crop_steps_act_on_the_middle_square(photo: np.ndarray) -> None:
    """Half of its side, not of the image's width: 150 pixels of an image of 500 x 300."""
    image = np.ascontiguousarray(photo[:300, :500])
    plan = sketched(lambda s: s.add_geometry(translation(one(0.5), one(0.0))))
    for found in (on_host(image, plan, size=300), on_device(image[None], plan, size=300)[0]):
        assert np.array_equal(found[:, 150:], image[:, 100:250])


def test_a_store_keeps_images_so_large_that_crops_stay_sharp() -> None:
    assert HostAugment((Flip(), RandomCrop(scale=(0.1, 0.4))), 100, 3, Seed(0)).stored_size == 200
    assert HostAugment((Flip(),), 100, 3, Seed(0)).stored_size == 100


def test_grey_images_keep_one_channel(square: np.ndarray) -> None:
    steps = (*EVERYTHING, Color(hue=0.3, saturation=0.5), Blur(probability=1.0), RandAugment())
    plan = draw_params(steps, np.arange(8), 0, Seed(0), 1)
    grey = np.ascontiguousarray(square[:, :, :1])
    device = on_device(np.repeat(grey[None], 8, axis=0), plan)
    for index in range(8):
        found = on_host(grey, plan, index)
        assert found.shape == device[index].shape == (SIZE, SIZE, 1)
        assert found.std() > 1


def test_erasing_blackens_the_said_share(square: np.ndarray) -> None:
    host = HostAugment((Erase(probability=1.0, scale=(0.2, 0.3), ratio=(0.5, 2.0)),), SIZE, 3, Seed(0))
    white = np.full_like(square, 255)
    white.flags.writeable = False  # the original stays as it is
    shares = [float((host(white, row, 0) == 0).mean()) for row in range(50)]
    assert min(shares) > 0.19 and max(shares) < 0.31 and max(shares) - min(shares) > 0.05


SMALL_STEPS: dict[str, tuple[Any, ...]] = {
    "as padded crops do": (Flip(), Translate(fraction=0.1, whole_pixels=True)),
    "geometry, colour, noise": (
        Rotate(degrees=20),
        Scale(),
        Shear(degrees=10),
        Translate(fraction=0.1),
        Color(brightness=0.3, contrast=0.3, saturation=0.3),
        Noise(std=0.02),
        Erase(),
    ),
}


@pytest.fixture(scope="module")
def small(photo: np.ndarray) -> np.ndarray:
    """40 pieces of the photo, [40, 28, 28, 3] uint8."""
    return np.stack([photo[y : y + 28, x : x + 28] for y in range(0, 250, 50) for x in range(0, 400, 50)])


@pytest.mark.parametrize("name", SMALL_STEPS)
def test_small_images_changed_by_the_batch_are_those_changed_one_by_one(name: str, small: np.ndarray) -> None:
    host, rows = HostAugment(SMALL_STEPS[name], 28, 3, Seed(3)), np.arange(100, 140)
    assert host.prefers_batches(28)
    together = host.apply_batch(small, host.draw_params(rows, 2))
    singly = np.stack([host(image, row, 2) for image, row in zip(small, rows, strict=True)])
    assert difference(together, singly).max() <= 1
    assert (together != small).any(axis=(1, 2, 3)).mean() > 0.9
    for some in (slice(0, 1), slice(7, 30)):  # a batch's other samples change nothing, to the bit
        assert (host.apply_batch(small[some], host.draw_params(rows[some], 2)) == together[some]).all()


@pytest.mark.parametrize(
    ("steps", "size", "side", "wanted"),
    [
        ((), 28, 28, True),
        ((Scale(factor=(0.6, 1.0)),), 64, 64, True),
        ((Flip(),), 28, 40, False),  # stored larger
        ((Flip(),), 96, 96, False),  # pixels are what costs
        ((RandomCrop(),), 28, 28, False),
        ((Blur(),), 28, 28, False),
        ((RandAugment(),), 28, 28, False),
        ((Color(hue=0.1),), 28, 28, False),
        ((Scale(factor=(0.6, 1.0)), Scale(factor=(0.6, 1.0))), 28, 28, False),  # reduced to 0.36: antialiased
    ],
)
def test_only_what_both_executors_do_alike_is_done_by_the_batch(
    steps: tuple[Any, ...], size: int, side: int, wanted: bool
) -> None:
    assert HostAugment(steps, size, 3, Seed(0)).prefers_batches(side) is wanted


@pytest.mark.parametrize("size", [28, 33])
def test_moves_by_whole_pixels_only_copy_pixels(size: int, photo: np.ndarray) -> None:
    image = np.ascontiguousarray(photo[40 : 40 + size, 40 : 40 + size])
    host = HostAugment((Flip(), Translate(fraction=1.48 / size, whole_pixels=True)), size, 3, Seed(1))
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    possible = {
        view.tobytes(): (down, right, mirrored)
        for down in range(3)
        for right in range(3)
        for mirrored, view in enumerate(
            (
                padded[down : down + size, right : right + size],
                padded[down : down + size, right : right + size][:, ::-1],
            )
        )
    }
    found = [possible[host(image, row, 0).tobytes()] for row in range(300)]
    assert len(set(found)) == 18  # three places each way, mirrored or not
