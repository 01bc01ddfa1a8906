"""A disk cache of decoded images, so that no run and no epoch decodes an image again.

Images of one format lie in shards of some hundred, each written whole and found by the identities of its images. So a
crash loses one shard at most, and another split, fold or seed of the same files finds all of them.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from danlu.artifacts.cache import cache_root, cached_dir, file_identity, mark_used
from danlu.core.console import info, progress
from danlu.core.prefetch import prefetch
from danlu.data.images.decode import Reference, decode
from danlu.data.images.pixels import LazyPixels, PixelSource
from danlu.errors import ArtifactError

LAYOUT = 1  # of the shards; another number invalidates all cached images
KIND, PIXELS, IDENTITIES = "images", "pixels.npy", "identities.npy"
SHARD_IMAGES, SHARD_BYTES = 1024, 32 << 20  # a shard is in memory while it is made
IN_MEMORY_BYTES = 64 << 20  # about a second of decoding: as fast as reading from disk, and leaves no files
DISK_SHARE = 0.5  # share of the free space that cached images may take


@dataclass(frozen=True, eq=False)
class CachedPixels:
    """Read decoded images from memory-mapped shards.

    Attributes:
        shards: [images, side, side, channels] uint8 each.
        places: shard and position of each image, [images, 2].
        side, channels: of every image.
    """

    shards: Sequence[np.ndarray]
    places: np.ndarray
    side: int
    channels: int

    def __len__(self) -> int:
        return len(self.places)

    def one(self, row: int) -> np.ndarray:
        shard, position = self.places[row]
        image: np.ndarray = self.shards[shard][position]
        return image

    def many(self, rows: np.ndarray) -> np.ndarray:
        images = np.empty((len(rows), self.side, self.side, self.channels), dtype=np.uint8)
        for position, row in enumerate(rows):
            images[position] = self.one(row)
        return images


def cache_pixels(decoded: LazyPixels) -> PixelSource:
    """Cache decoded images: in memory if few, else on disk, else not at all.

    Raises:
        DataError: an image cannot be decoded.
        ArtifactError: the cache cannot be written, or is damaged.
    """
    if len(decoded) * decoded.size_bytes <= IN_MEMORY_BYTES:
        return decoded.load_all()
    form = _format_folder(decoded)
    identities = [_identity(reference, decoded.folder) for reference in decoded.references]
    first = {name: row for row, name in reversed(list(enumerate(identities)))}
    found = _find_cached(form, first.keys())
    absent = [row for name, row in first.items() if name not in found]
    if absent:
        if not _has_room(len(absent) * decoded.size_bytes):
            return decoded
        _decode_into_shards(decoded, form, identities, sorted(absent))
        found = _find_cached(form, first.keys())
    shards = {folder: number for number, folder in enumerate(sorted({folder for folder, _ in found.values()}))}
    places = np.array([(shards[found[name][0]], found[name][1]) for name in identities], dtype=np.int64)
    return CachedPixels([_read(folder / PIXELS) for folder in shards], places, decoded.side, decoded.channels)


def _format_folder(decoded: LazyPixels) -> str:
    """Return the folder of a format: everything beside the file that decides the pixels."""
    decoders: dict[str, str | None] = {}
    for package in ("pillow", "simplejpeg"):
        try:
            decoders[package] = version(package)
        except PackageNotFoundError:
            decoders[package] = None
    values: dict[str, object] = {"layout": LAYOUT, "side": decoded.side, "channels": decoded.channels, **decoders}
    if decoded.levels is not None:
        values["levels"] = decoded.levels
    digest = hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=6).hexdigest()
    return f"{KIND}/{decoded.side}x{decoded.channels}-{digest}"


def _identity(reference: Reference, folder: Path) -> str:
    """Return a key of an image: its content, or its file's path, size and mtime."""
    if isinstance(reference, bytes):
        return hashlib.blake2b(reference, digest_size=16).hexdigest()
    try:
        values = file_identity(folder / str(reference))
    except (OSError, ValueError):
        decode(reference, folder)  # says what is wrong with it
        raise
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=16).hexdigest()


def _find_cached(form: str, wanted: Set[str]) -> dict[str, tuple[Path, int]]:
    """Find the shard and position of those images that are cached already."""
    found: dict[str, tuple[Path, int]] = {}
    root = cache_root() / form
    for folder in sorted(root.glob("[!.]*")) if root.is_dir() else ():
        for position, name in enumerate(_read(folder / IDENTITIES).tolist()):
            if name in wanted:
                found[name] = folder, position
    for folder in {folder for folder, _ in found.values()}:
        mark_used(folder)
    return found


def _read(path: Path) -> np.ndarray:
    try:
        values: np.ndarray = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(
            f"{path}: damaged ({error}); delete the folder {path.parent}; it is rebuilt", code="DL303"
        ) from error
    return values


def _has_room(size_bytes: int) -> bool:
    root = cache_root()
    standing = next(folder for folder in (root, *root.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(standing).free
    if size_bytes <= DISK_SHARE * free:
        return True
    info(
        f"images are decoded again for every batch: caching them would take {size_bytes / 1e9:,.1f} GB of the "
        f"{free / 1e9:,.1f} GB free in {standing}; to cache them, set the environment "
        "variable DANLU_CACHE to another folder"
    )
    return False


def _decode_into_shards(decoded: LazyPixels, form: str, identities: Sequence[str], rows: Sequence[int]) -> None:
    """Decode some rows into new shards, overlapping decoding and writing."""
    size = max(1, min(SHARD_IMAGES, SHARD_BYTES // decoded.size_bytes))

    def make(members: Sequence[int]) -> int:
        names = [identities[row] for row in members]
        cached_dir(form, names, partial(_write_shard, decoded=decoded, rows=np.array(members), names=names))
        return len(members)

    groups = [rows[start : start + size] for start in range(0, len(rows), size)]
    with progress("decoding images", len(rows), "images") as bar:
        for count in prefetch(make, groups, threads=2):
            bar.advance(count)
    info(f"decoded {len(rows):,} images and cached them in {cache_root() / form}")


def _write_shard(folder: Path, decoded: LazyPixels, rows: np.ndarray, names: list[str]) -> None:
    # Not through a memory map: on a full disk writing to one ends the process instead of raising an error.
    np.save(folder / PIXELS, decoded.many(rows))
    np.save(folder / IDENTITIES, np.array(names))
