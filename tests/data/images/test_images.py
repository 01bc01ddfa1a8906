"""Every form of image comes out as the known picture or is refused by name; decoded once, then kept."""

import os
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from danlu.core.prefetch import prefetch
from danlu.core.threads import usable_cores
from danlu.data.descriptors import Origin
from danlu.data.images import store
from danlu.data.images.column import ImageColumn
from danlu.data.images.decode import center_square, decode, find_suspicious, find_unreadable, read_header
from danlu.data.images.pixels import InMemoryPixels, LazyPixels
from danlu.data.images.preprocessor import ImagePreprocessor
from danlu.data.near_duplicates import perceptual_hashes
from danlu.errors import ArtifactError, DataError

HERE = Path()


def picture(height: int = 40, width: int = 60) -> np.ndarray:
    """Smooth colours, another in every corner: [height, width, 3] uint8."""
    y, x = np.mgrid[0:height, 0:width]
    red, green, blue = x * 255 // max(1, width - 1), y * 255 // max(1, height - 1), (x + y) * 2 % 256
    return np.stack([red, green, np.where(x > width // 2, blue, 40)], axis=2).astype(np.uint8)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, format=form, **options)
    return file.getvalue()


def rgb(data: bytes | str, folder: Path = HERE) -> np.ndarray:
    """[height, width, 3] int, as danlu sees it."""
    image = decode(data, folder)
    shown = image.convert("RGB") if image.mode in ("L", "RGB") else image
    return np.asarray(shown)[..., :3].astype(int)


PLAIN = Image.fromarray(picture())


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
def test_a_lossless_image_comes_out_exactly(form: str) -> None:
    np.testing.assert_array_equal(rgb(encoded(PLAIN, form)), picture())


@pytest.mark.parametrize("options", [{"lossless": True, "form": "WEBP"}, {"form": "JPEG", "quality": 95}])
def test_other_formats_come_out_closely(options: dict[str, Any]) -> None:
    assert np.abs(rgb(encoded(PLAIN, **options)) - picture()).mean() < 3


def test_cmyk_is_shown_in_its_colours() -> None:
    flat = Image.new("RGB", (16, 16), (200, 60, 20)).convert("CMYK")
    for data in (encoded(flat, "JPEG", quality=95), encoded(flat, "TIFF")):
        assert np.abs(rgb(data) - (200, 60, 20)).max() <= 4


def test_sixteen_bits_are_scaled_by_their_range() -> None:
    ramp = np.linspace(0, 65535, 64 * 32).reshape(32, 64).astype(np.uint16)
    for form in ("PNG", "TIFF"):
        np.testing.assert_array_equal(rgb(encoded(Image.fromarray(ramp), form))[..., 0], ramp >> 8)
    big_endian = b"P5 64 32 65535\n" + ramp.astype(">u2").tobytes()
    assert np.abs(rgb(big_endian)[..., 0] - (ramp >> 8).astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        ([0.0, 0.25, 1.0], [0, 64, 255]),  # a float image of [0, 1]
        ([0.0, 51.0, 255.0], [0, 51, 255]),  # 8 bits, written as float
        ([0.0, 13107.0, 65535.0], [0, 51, 255]),  # 16 bits, written as float
        ([-1.0, 0.0, 1.0], [0, 128, 255]),  # any other: from its least to its greatest
        ([np.nan, 0.0, 1.0], [0, 0, 255]),
        ([-3.0, -3.0, -3.0], [0, 0, 0]),
    ],
)
def test_float_tiff_is_scaled_by_the_range_it_has(values: list[float], seen: list[int]) -> None:
    image = Image.fromarray(np.array([values], dtype=np.float32))
    assert rgb(encoded(image, "TIFF"))[0, :, 0].tolist() == seen


@pytest.mark.parametrize(("values", "seen"), [([0, 13107, 65535], [0, 51, 255]), ([-100, 0, 100], [0, 128, 255])])
def test_integer_tiff_is_scaled_by_the_range_it_has(values: list[int], seen: list[int]) -> None:
    image = Image.fromarray(np.array([values], dtype=np.int32))
    assert image.mode == "I"
    assert rgb(encoded(image, "TIFF"))[0, :, 0].tolist() == seen


def test_a_palette_is_looked_up() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    for form in ("PNG", "GIF", "BMP", "TIFF"):
        assert rgb(encoded(image, form)).tolist() == [[[10, 20, 30], [200, 100, 50]]]
    clear = encoded(image, "PNG", transparency=1)
    assert rgb(clear).tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize(
    ("mode", "color", "seen"),
    [
        ("RGBA", (100, 0, 0, 255), (100, 0, 0)),
        ("RGBA", (100, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (100, 0, 0, 51), (224, 204, 204)),
        ("LA", (100, 51), (224, 224, 224)),
        ("LA", (100, 0), (255, 255, 255)),
    ],
)
def test_transparency_is_shown_on_white(mode: str, color: Any, seen: tuple[int, int, int]) -> None:
    image = Image.new(mode, (3, 3), color)
    assert np.abs(rgb(encoded(image, "PNG")) - seen).max() <= 1


def test_a_transparent_colour_key_is_shown_on_white() -> None:
    image = Image.fromarray(np.array([[0, 7, 255]], dtype=np.uint8))
    assert rgb(encoded(image, "PNG", transparency=7))[0, :, 0].tolist() == [0, 255, 255]
    deep = Image.fromarray(np.array([[0, 700, 65535]], dtype=np.uint16))
    assert rgb(encoded(deep, "PNG", transparency=700))[0, :, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_counts(form: str) -> None:
    first, second = Image.new("RGB", (9, 9), (255, 0, 0)), Image.new("RGB", (9, 9), (0, 0, 255))
    options = {"lossless": True} if form == "WEBP" else {}
    data = encoded(first, form, save_all=True, append_images=[second], **options)
    assert rgb(data)[4, 4].tolist() == [255, 0, 0]


def test_one_bit_is_black_and_white() -> None:
    image = Image.fromarray(np.array([[True, False, True]]))
    assert image.mode == "1"
    for form in ("PNG", "TIFF", "BMP"):
        assert rgb(encoded(image, form))[0, :, 0].tolist() == [255, 0, 255]


TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_that_a_camera_noted_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = TURNS[orientation](picture()).astype(int)
    for form, limit in (("PNG", 0.0), ("TIFF", 0.0), ("JPEG", 3.0)):
        options = {"quality": 95} if form == "JPEG" else {}
        found = rgb(encoded(PLAIN, form, exif=exif, **options))
        assert found.shape == expected.shape, form
        assert np.abs(found - expected).mean() <= limit, form


def test_exif_that_cannot_be_read_does_not_spoil_the_picture() -> None:
    data = encoded(PLAIN, "JPEG", quality=95, exif=b"Exif\0\0" + b"\xff" * 40)
    assert np.abs(rgb(data) - picture()).mean() < 3


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 2), (33, 31)])
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_shape_becomes_a_square(size: tuple[int, int], form: str, channels: int) -> None:
    data = encoded(Image.new("RGB", size, (90, 90, 90)), form)
    found = center_square(decode(data, HERE, 8), 8, channels)
    assert found.shape == (8, 8, channels) and found.dtype == np.uint8
    assert np.abs(found.astype(int) - 90).max() <= 2


def test_the_middle_square_is_kept() -> None:
    values = np.zeros((10, 30, 3), dtype=np.uint8)
    values[:, 10:20] = 200
    assert (center_square(decode(encoded(Image.fromarray(values), "PNG"), HERE), 10, 3) == 200).all()


def test_simplejpeg_changes_the_speed_and_no_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    big, gray = Image.fromarray(picture(301, 453)), Image.fromarray(picture(301, 453)).convert("L")
    exif = Image.Exif()
    exif[0x0112] = 6
    files = [encoded(image, "JPEG", quality=q, subsampling=s) for image in (big, gray) for q, s in ((90, 0), (60, 2))]
    files += [encoded(big, "JPEG", progressive=True, exif=exif)]
    fast = [center_square(decode(data, HERE, side), side, 3) for data in files for side in (20, 37, 75, 150, 301)]
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    slow = [center_square(decode(data, HERE, side), side, 3) for data in files for side in (20, 37, 75, 150, 301)]
    for one, other in zip(fast, slow, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_large_jpeg_is_decoded_no_larger_than_needed() -> None:
    data = encoded(Image.fromarray(picture(400, 800)), "JPEG")
    assert decode(data, HERE, 100).size == (200, 100)
    assert decode(data, HERE, 101).size == (400, 200)
    assert decode(data, HERE).size == (800, 400)


def test_the_name_of_a_file_decides_nothing(tmp_path: Path) -> None:
    (tmp_path / "picture.jpg").write_bytes(encoded(PLAIN, "PNG"))
    (tmp_path / "picture").write_bytes(encoded(PLAIN, "BMP"))
    for name in ("picture.jpg", "picture"):
        np.testing.assert_array_equal(rgb(name, tmp_path), picture())


def test_a_path_and_its_bytes_are_the_same_picture(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(PLAIN, "JPEG"))
    np.testing.assert_array_equal(rgb("a.jpg", tmp_path), rgb((tmp_path / "a.jpg").read_bytes()))


@pytest.fixture
def wrong_files(tmp_path: Path) -> dict[str, str]:
    """File name -> what is said of it."""
    (tmp_path / "empty.png").touch()
    (tmp_path / "words.png").write_text("this is no image")
    (tmp_path / "vector.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (tmp_path / "program.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "cut.png").write_bytes(encoded(PLAIN, "PNG")[:-30])
    said = dict.fromkeys(("words.png", "vector.svg", "program.eps"), "not an image of a known kind")
    return said | {
        "empty.png": "the file is empty",
        "folder.png": "is not a file",
        "pipe.png": "is not a file",
        "absent.png": "no such image",
        "cut.png": "broken or cut short",
        "nul\0.png": "",
        "x" * 5000: "",
    }


def test_a_wrong_file_is_refused_by_name_with_a_cure(wrong_files: dict[str, str], tmp_path: Path) -> None:
    for name, said in wrong_files.items():
        with pytest.raises(DataError) as refused:
            decode(name, tmp_path)
        assert str(tmp_path / name) in str(refused.value)
        assert said in str(refused.value)
        assert "data.clean.broken: skip" in str(refused.value)


def test_a_row_without_an_image_is_refused() -> None:
    with pytest.raises(DataError, match="without an image"):
        decode(None, HERE)


def test_unreadable_images_are_listed_with_their_rows(wrong_files: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(encoded(PLAIN, "PNG"))
    names = ["good.png", *wrong_files, "good.png", None]
    found = find_unreadable(names, tmp_path)
    assert [row for row, _ in found] == [*range(1, len(wrong_files) + 1), len(names) - 1]
    assert all(said in reason for (_, reason), said in zip(found, wrong_files.values(), strict=False))
    assert [row for row, _ in find_suspicious(names, tmp_path)] == [row for row, _ in found]


def test_bytes_behind_a_jpeg_are_no_damage() -> None:
    behind = encoded(PLAIN, "JPEG") + b"\xff\xda of another program"
    assert find_suspicious([behind], HERE) == find_unreadable([behind], HERE) == []


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 20_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    data = bytearray(encoded(Image.new("1", (64, 64)), "BMP"))
    data[18:26] = np.array([side, side], dtype="<i4").tobytes()
    for read in (decode, read_header):
        with pytest.raises(DataError, match="pixels, more than the 89,478,485") as refused:
            read(bytes(data), HERE)
        assert f"{side:,} x {side:,}" in str(refused.value) or f"{side * side:,}" in str(refused.value)


def samples() -> dict[str, bytes]:
    photo, turned = Image.fromarray(picture(24, 40)), Image.Exif()
    turned[0x0112] = 6  # a camera held upright
    return {
        "jpeg": encoded(photo, "JPEG"),
        "progressive": encoded(photo, "JPEG", progressive=True),
        "cmyk": encoded(photo.convert("CMYK"), "JPEG"),
        "png": encoded(photo, "PNG"),
        "palette": encoded(photo.convert("P"), "PNG"),
        "gif": encoded(photo, "GIF", save_all=True, append_images=[photo.rotate(90)]),
        "webp": encoded(photo, "WEBP"),
        "bmp": encoded(photo, "BMP"),
        "tiff": encoded(photo, "TIFF", compression="tiff_lzw"),
        "ppm": encoded(photo, "PPM"),
        "sixteen bits": encoded(Image.fromarray(picture(24, 40)[..., 0].astype(np.uint16) * 257), "PNG"),
        "transparent": encoded(photo.convert("RGBA"), "PNG"),
        "animated": encoded(photo, "WEBP", save_all=True, append_images=[photo.rotate(90)]),
        "animated png": encoded(photo, "PNG", save_all=True, append_images=[photo.rotate(90)]),
        "rotated": encoded(photo, "JPEG", exif=turned.tobytes()),
        "cmyk tiff": encoded(photo.convert("CMYK"), "TIFF"),
    }


SAMPLES = samples()


@pytest.mark.filterwarnings("ignore")  # what PIL says of damaged metadata
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    data=st.sampled_from(sorted(SAMPLES)).flatmap(
        lambda form: st.tuples(
            st.just(SAMPLES[form]),
            st.integers(0, len(SAMPLES[form])),
            st.lists(st.tuples(st.integers(0, len(SAMPLES[form]) - 1), st.integers(0, 255)), max_size=6),
        )
    )
)
def test_damaged_bytes_give_a_picture_or_a_data_error(data: tuple[bytes, int, list[tuple[int, int]]]) -> None:
    content, end, changes = data
    damaged = bytearray(content)
    for position, value in changes:
        damaged[position] = value
    try:
        found = center_square(decode(bytes(damaged[:end]), HERE, 16), 16, 3)
    except DataError:
        return
    assert found.shape == (16, 16, 3) and found.dtype == np.uint8


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_give_a_picture_or_a_data_error(data: bytes) -> None:
    try:
        decode(data, HERE)
    except DataError:
        return


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", sorted(SAMPLES))
def test_a_file_cut_anywhere_is_refused_or_the_whole_picture(form: str) -> None:
    whole = SAMPLES[form]
    expected, refused = rgb(whole), 0
    for cut in range(1, len(whole), max(1, len(whole) // 150)):
        try:
            found = rgb(whole[:cut])
        except DataError:
            refused += 1
        else:  # only what stands behind the picture was cut off
            np.testing.assert_array_equal(found, expected, err_msg=f"cut at byte {cut} of {len(whole)}")
    assert refused


# Kept images


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, used for the smallest set, in shards of four images."""
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(store, "SHARD_IMAGES", 4)
    return tmp_path / "cache"


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every image that is decoded from now on."""
    from danlu.data.images import pixels

    seen: list[object] = []

    def counted(reference: Any, folder: Path, *options: Any) -> Image.Image:
        seen.append(reference)
        return decode(reference, folder, *options)

    monkeypatch.setattr(pixels, "decode", counted)
    return seen


@pytest.fixture
def photos(tmp_path: Path) -> LazyPixels:
    """Eleven photographs in files, to be 16 pixels a side."""
    names = [f"{index:02}.jpg" for index in range(11)]
    for index, name in enumerate(names):
        (tmp_path / name).write_bytes(encoded(Image.fromarray(np.roll(picture(50, 70), index * 5, axis=1)), "JPEG"))
    return LazyPixels(names, tmp_path, 16, 3)


def test_kept_images_are_the_decoded_ones_and_decoded_once(
    photos: LazyPixels, cache: Path, decodings: list[object]
) -> None:
    expected = photos.many(np.arange(11))
    decodings.clear()
    kept = store.cache_pixels(photos)
    assert isinstance(kept, store.CachedPixels) and sorted(map(str, decodings)) == list(photos.references)
    again = store.cache_pixels(photos)
    rows = np.array([7, 0, 10, 7])
    np.testing.assert_array_equal(again.many(rows), expected[rows])
    assert len(decodings) == 11


def test_another_split_finds_the_images_of_the_first(photos: LazyPixels, cache: Path, decodings: list[object]) -> None:
    store.cache_pixels(LazyPixels(photos.references[:6], photos.folder, 16, 3))
    decodings.clear()
    mixed = LazyPixels([*photos.references[4:8], photos.references[4]], photos.folder, 16, 3)
    kept = store.cache_pixels(mixed)
    assert sorted(map(str, decodings)) == ["06.jpg", "07.jpg"]
    np.testing.assert_array_equal(kept.many(np.arange(5)), mixed.many(np.arange(5)))


def test_a_changed_file_is_decoded_again(photos: LazyPixels, cache: Path) -> None:
    store.cache_pixels(photos)
    (photos.folder / "03.jpg").write_bytes(encoded(Image.new("RGB", (30, 30), (250, 0, 0)), "JPEG"))
    found = store.cache_pixels(photos).one(3)
    assert np.abs(found.astype(int) - (250, 0, 0)).max() < 5


def test_an_interrupted_making_goes_on_where_it_stopped(
    photos: LazyPixels, cache: Path, decodings: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    make = store._write_shard

    def crash_at_the_third(folder: Path, decoded: LazyPixels, rows: np.ndarray, names: list[str]) -> None:
        if rows[0] == 8:  # not the third to begin: two threads work
            raise KeyboardInterrupt
        make(folder, decoded, rows, names)

    monkeypatch.setattr(store, "_write_shard", crash_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        store.cache_pixels(photos)
    monkeypatch.setattr(store, "_write_shard", make)
    decodings.clear()
    kept = store.cache_pixels(photos)
    assert sorted(map(str, decodings)) == ["08.jpg", "09.jpg", "10.jpg"]
    np.testing.assert_array_equal(kept.many(np.arange(11)), photos.many(np.arange(11)))


def test_a_damaged_shard_is_named(photos: LazyPixels, cache: Path) -> None:
    store.cache_pixels(photos)
    shard = sorted(cache.rglob("pixels.npy"))[0]
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(ArtifactError, match="delete the folder"):
        store.cache_pixels(photos)


def test_without_room_images_are_decoded_as_they_are_asked_for(
    photos: LazyPixels, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(store, "DISK_SHARE", 0.0)
    assert store.cache_pixels(photos) is photos
    assert "again for every batch" in capsys.readouterr().err
    assert not cache.exists()


def test_a_broken_image_stops_the_keeping_with_its_name(photos: LazyPixels, cache: Path) -> None:
    (photos.folder / "09.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=r"09\.jpg"):
        store.cache_pixels(photos)


# Batches


def test_the_same_pixels_from_files_bytes_memory_and_disk(photos: LazyPixels, cache: Path) -> None:
    import torch

    rows, device = np.array([3, 9, 0]), torch.device("cpu")
    decoded = ImageColumn(photos)
    from_disk = decoded.cache(device)
    from_bytes = ImageColumn(
        LazyPixels([(photos.folder / str(n)).read_bytes() for n in photos.references], HERE, 16, 3)
    )
    held = ImageColumn(photos.load_all()).cache(device)
    expected = decoded.take(rows)["image"]
    assert expected.shape == (3, 3, 16, 16) and expected.dtype == torch.uint8
    for feature in (from_disk, from_bytes, held):
        found = feature.take(rows)["image"]
        assert torch.equal(found, expected)
        assert found.stride() == expected.stride()  # another layout would round differently in the model


@pytest.mark.parametrize(("free", "moved"), [(1 << 30, True), (1000, False), (None, False)])
def test_what_fits_an_accelerators_memory_becomes_a_tensor_there(
    photos: LazyPixels, cache: Path, monkeypatch: pytest.MonkeyPatch, free: int | None, moved: bool
) -> None:
    import torch

    from danlu.data import loader as examples
    from danlu.data.loader import PreparedDataset, TensorColumn

    def fits(size_bytes: int, device: torch.device) -> bool:
        return free is not None and size_bytes <= free

    monkeypatch.setattr(examples, "fits_on_device", fits)
    table = TensorColumn("numeric", torch.arange(22.0).reshape(11, 2))
    device, rows = torch.device("cpu"), np.array([3, 9, 0])
    whole = PreparedDataset((ImageColumn(photos), table), torch.arange(11))
    settled = whole.cache(device)
    assert isinstance(settled.columns[0], TensorColumn) == moved
    (inputs, target), (expected, wanted) = settled.take(rows, device), whole.take(rows, device)
    assert torch.equal(inputs["image"], expected["image"])
    assert inputs["image"].stride() == expected["image"].stride()
    assert torch.equal(inputs["numeric"], table.values[[3, 9, 0]]) and expected["numeric"].shape == (3, 2)
    assert target is not None and wanted is not None and target.tolist() == wanted.tolist() == [3, 9, 0]


def test_augmentation_is_given_row_and_epoch_and_larger_images(photos: LazyPixels, cache: Path) -> None:
    seen: list[tuple[int, int, tuple[int, ...]]] = []

    class Corner:
        def prefers_batches(self, side: int) -> bool:
            return False

        def apply_batch(self, images: np.ndarray, plan: list[tuple[int, int]]) -> np.ndarray:
            raise AssertionError("larger images are changed one by one")

        def draw_params(self, rows: np.ndarray, epoch: int) -> list[tuple[int, int]]:
            return [(int(row), epoch) for row in rows]

        def apply(self, image: np.ndarray, plan: list[tuple[int, int]], index: int) -> np.ndarray:
            seen.append((*plan[index], image.shape))
            return image[:8, :8] + np.uint8(0)

    preprocessor = ImagePreprocessor(column="image", channels=3, size=8, mean=(0.0,) * 3, std=(1.0,) * 3)
    frame = pl.DataFrame({"image": photos.references})
    place = Origin("photos", photos.folder)
    examples = preprocessor.transform(frame, place, augment=Corner(), stored_size=400)
    import torch

    settled = examples.cache(torch.device("cpu"))
    batch = settled.columns[0].take(np.array([5, 2]), epoch=1)["image"]
    assert sorted(seen) == [(2, 1, (50, 50, 3)), (5, 1, (50, 50, 3))]  # not more than the images have
    assert batch.shape == (2, 3, 8, 8)
    large = preprocessor.transform(frame, place, stored_size=32).columns[0].take(np.array([5]))["image"]
    assert large.shape == (1, 3, 32, 32)


def test_batches_made_ahead_are_the_same_in_content_and_order(photos: LazyPixels) -> None:
    import itertools

    import torch

    from danlu.core.seeds import Seed
    from danlu.data.loader import PreparedDataset, TrainLoader, shuffled_order

    class Tinted:
        def draw_params(self, rows: np.ndarray, epoch: int) -> np.ndarray:
            return (rows * 3 + epoch).astype(np.uint8)

        def apply(self, image: np.ndarray, plan: np.ndarray, index: int) -> np.ndarray:
            return image + plan[index]

        def prefers_batches(self, side: int) -> bool:
            return False

        def apply_batch(self, images: np.ndarray, plan: np.ndarray) -> np.ndarray:
            raise NotImplementedError

    device = torch.device("cpu")
    feed = TrainLoader(
        PreparedDataset((ImageColumn(photos, Tinted()),), torch.arange(11)), shuffled_order(11, Seed(5)), 11
    )
    batches = list(itertools.islice(feed.batches(4, device), 7))
    assert [batch.epoch for batch in batches] == [0, 0, 0, 1, 1, 1, 2]
    for batch in batches:
        again = feed.take(batch.rows, batch.epoch, device)
        assert torch.equal(batch.inputs["image"], again.inputs["image"])
        assert batch.target.tolist() == batch.rows.tolist()
    assert sorted(np.concatenate([batch.rows for batch in batches[:3]]).tolist()) == list(range(11))


def test_work_ahead_keeps_order_and_stops_at_an_error() -> None:
    started: list[int] = []

    def make(number: int) -> int:
        started.append(number)
        if number == 20:
            raise DataError("twenty")
        return number * number

    found: list[int] = []
    with pytest.raises(DataError, match="twenty"):
        found.extend(prefetch(make, iter(range(10_000)), threads=3, max_pending=5))
    assert found == [number * number for number in range(20)]
    assert max(started) < 40  # bounded: nothing far beyond was begun


def test_mean_and_deviation_are_those_of_all_training_pixels(photos: LazyPixels) -> None:
    from danlu.data.images.preprocessor import _statistics

    pixels = photos.many(np.arange(11))
    for source in (photos, InMemoryPixels(pixels)):
        mean, std = _statistics(source)
        np.testing.assert_allclose(mean, (pixels / 255).mean(axis=(0, 1, 2)), atol=1e-12)
        np.testing.assert_allclose(std, (pixels / 255).std(axis=(0, 1, 2)), atol=1e-12)


def test_near_copies_have_near_hashes() -> None:
    from sklearn.datasets import load_sample_images

    first, second = (Image.fromarray(image) for image in load_sample_images().images)
    copies = [
        encoded(first, "PNG"),
        encoded(first, "JPEG", quality=40),
        encoded(first.resize((200, 133)), "PNG"),
        encoded(first.point(lambda value: int(value * 0.8)), "PNG"),
        encoded(second, "PNG"),
    ]
    hashes = perceptual_hashes(copies, HERE)
    assert hashes.dtype == np.uint64
    distances = [bin(int(hashes[0]) ^ int(other)).count("1") for other in hashes]
    assert max(distances[:4]) <= 8
    assert distances[4] >= 20
    assert perceptual_hashes([encoded(Image.new("L", (50, 50), 90), "PNG")], HERE).tolist() == [0]


def test_a_containers_quota_counts(tmp_path: Path) -> None:
    cores = usable_cores(tmp_path)
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert usable_cores(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_cores(tmp_path) == cores


MEMORY_SCRIPT = """
import sys, threading, time
from pathlib import Path
import numpy as np
from danlu.data.images import store
from danlu.data.images.pixels import LazyPixels
from danlu.data.images.preprocessor import _statistics

store.IN_MEMORY_BYTES, store.SHARD_BYTES = 0, 2 << 20
folder, peak, ended = Path(sys.argv[1]), 0, False

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

def watch():
    global peak
    while not ended:
        peak = max(peak, anonymous())
        time.sleep(0.002)

names = sorted(path.name for path in folder.iterdir())
store.cache_pixels(LazyPixels(names[:20], folder, 128, 3))  # imports and threads count with the start
start = anonymous()
thread = threading.Thread(target=watch)
thread.start()
pixels = store.cache_pixels(LazyPixels(names[: int(sys.argv[2])], folder, 128, 3))
_statistics(pixels)
for first in range(0, len(pixels), 50):
    pixels.many(np.arange(first, min(first + 50, len(pixels))))
ended = True
thread.join()
print((peak - start) * 1024)
"""


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the memory of a process")
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    content = encoded(PLAIN, "JPEG")
    for index in range(1000):
        (tmp_path / "photos" / f"{index:04}.jpg").write_bytes(content)

    def growth(count: int) -> int:
        environment = {**os.environ, "DANLU_CACHE": str(tmp_path / f"cache-{count}")}
        arguments = [sys.executable, "-c", MEMORY_SCRIPT, str(tmp_path / "photos"), str(count)]
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True, timeout=120)
        return int(done.stdout)

    decoded_bytes = 750 * 128 * 128 * 3  # what the larger run decodes beyond the smaller
    assert growth(1000) - growth(250) < decoded_bytes / 3


# From a recipe


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """Two classes of 30 JPEG files each, larger than the model's images; two more files are broken."""
    generator = np.random.default_rng(0)
    for index in range(60):
        values = picture(90, 130)
        values[..., index % 2] = generator.integers(0, 256)
        path = tmp_path / "photos" / ("left", "right")[index % 2] / f"{index:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(Image.fromarray(values), "JPEG"))
    (tmp_path / "photos" / "left" / "07.jpg").write_bytes(encoded(PLAIN, "JPEG")[:-200])
    (tmp_path / "photos" / "right" / "08.png").write_text("no image")
    return tmp_path / "photos"


def recipe_for(folder: Path, **clean: str) -> dict[str, Any]:
    return {
        "name": "photos",
        "data": {"source": str(folder), "image_size": 32, "clean": clean},
        "model": "timm:test_resnet",
        "training": {"epochs": 1, "batch_size": 16},
    }


def test_check_finds_what_is_no_image_and_what_was_cut_short(photo_folder: Path) -> None:
    import danlu

    findings = danlu.check(recipe_for(photo_folder))["findings"]
    assert findings[0]["subject"] == "broken images"
    assert findings[0]["message"].startswith("2 of 62 images cannot be read")
    assert "07.jpg" in findings[0]["message"]


@pytest.mark.slow
@pytest.mark.training
def test_broken_images_end_a_run_or_are_skipped_as_the_recipe_says(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    import danlu

    with pytest.raises(DataError, match=r"(07\.jpg|08\.png)"):
        danlu.train(recipe_for(photo_folder), output=tmp_path / "runs")
    run = danlu.run(recipe_for(photo_folder, broken="skip"), output=tmp_path / "runs")
    assert "dropped 2 of 62 rows: 2 cannot be read" in capsys.readouterr().err
    dropped = pl.read_parquet(run.path / "data" / "dropped.parquet")
    assert [Path(reason.split(": ")[1]).name for reason in dropped["reason"]] == ["07.jpg", "08.png"]
    assert pl.read_parquet(run.path / "data" / "split.parquet").height == 60
    recorded = pl.read_parquet(run.path / "predictions" / "validation.parquet")
    names = [*sorted((photo_folder / "left").iterdir()), *sorted((photo_folder / "right").iterdir())]
    predictor = danlu.load(run.path)
    chosen = [names[row] for row in recorded["row"]]
    for form in ([str(name) for name in chosen], [name.read_bytes() for name in chosen]):
        assert predictor.predict(form).equals(recorded.drop("row", "truth"))


def test_a_folder_of_nothing_but_broken_images_is_refused(tmp_path: Path) -> None:
    import danlu

    for label in ("a", "b"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for index in range(5):
            (tmp_path / "photos" / label / f"{index}.png").write_text("no image")
    with pytest.raises(DataError, match="cleaning removed all 10 rows \\(10 cannot be read\\)"):
        danlu.check(recipe_for(tmp_path / "photos", broken="skip"))
