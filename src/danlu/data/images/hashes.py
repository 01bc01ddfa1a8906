"""Perceptual hashes: 64 bits per image, mostly equal for copies that were resized, recompressed or re-toned.

How near is too near, and how pairs are found, is decided where duplicates are searched.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from danlu.core.ahead import prefetch
from danlu.core.threads import usable_cores
from danlu.data.images.decode import Reference, decode

SIDE, FREQUENCIES = 32, 8  # side of the transformed image, and frequencies kept per axis


def perceptual_hashes(references: Sequence[Reference], folder: Path) -> np.ndarray:
    """Return the DCT hash of every image (pHash, Zauner 2010).

    Implementation and Benchmarking of Perceptual Image Hash Functions. Bit i says whether the i-th of the 64 lowest
    frequencies, without the constant ones, is above their median.

    Returns:
        [images] uint64, of which the Hamming distance is small for near duplicates: up to about 10 bits.

    Raises:
        DataError: an image cannot be decoded.
    """
    waves = _dct_basis()
    hashes = prefetch(lambda reference: _hash(reference, folder, waves), references, usable_cores(), max_pending=256)
    return np.fromiter(hashes, dtype=np.uint64, count=len(references))


def _dct_basis() -> np.ndarray:
    """Return cosines of the type-II transform at frequencies 1 to FREQUENCIES, [FREQUENCIES, SIDE]."""
    frequencies, positions = np.arange(1, FREQUENCIES + 1)[:, None], np.arange(SIDE)[None]
    cosines: np.ndarray = np.cos(np.pi / SIDE * (positions + 0.5) * frequencies)
    return cosines


def _hash(reference: Reference, folder: Path, waves: np.ndarray) -> int:
    from PIL.Image import Resampling

    image = decode(reference, folder, SIDE)
    gray = (image.convert("RGB") if image.mode == "RGBX" else image).convert("L")
    small = np.asarray(gray.resize((SIDE, SIDE), Resampling.BICUBIC), dtype=np.float64)
    strengths = (waves @ small @ waves.T).ravel()
    # Rounded, so that rounding errors of sums over a blank image decide no bit.
    strengths = strengths.round(6)
    bits = strengths > np.median(strengths)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
