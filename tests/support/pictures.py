"""Folders of pictures as people have them: small, every class a colour."""

from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from PIL import Image

SIDE = 24


def picture(seed: int, channel: int = 0) -> Image.Image:
    """Noise in which one channel is brighter."""
    pixels = np.random.default_rng(seed).integers(0, 120, (SIDE, SIDE, 3), dtype=np.uint8)
    pixels[:, :, channel] += 100
    return Image.fromarray(pixels)


def save(path: Path, seed: int = 0, channel: int = 0, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, channel).save(path, **options)
    return path


def classes(root: Path, count: int = 12, names: tuple[str, ...] = ("cat", "dog"), suffix: str = "png") -> Path:
    """A folder for each class, of different pictures."""
    for channel, name in enumerate(names):
        for number in range(count):
            save(root / name / f"{number}.{suffix}", crc32(f"{root.name} {channel} {number}".encode()), channel)
    return root
