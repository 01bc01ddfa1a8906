"""Near duplicates: texts with a word changed, photos resized or recompressed.

In: texts, or references to images. Out: a group number for each; near duplicates share one. Time is linear in the
number of samples: only samples that share a part of their signature (MinHash of texts, perceptual hash of images) are
compared.
"""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from danlu.core.prefetch import prefetch
from danlu.core.threads import usable_cores
from danlu.data.images.decode import Reference, decode

SHINGLE, SHINGLE_OF_IDEOGRAPHS = 5, 2  # characters; two of Chinese carry as much as five of an alphabet
FIRST_IDEOGRAPH = 0x2E80
BUCKETS, BANDS = 64, 16  # of a text's signature; two texts alike by 0.8 share one of 16 bands of 4 with 99.98 %
MAX_COMPARED = 20  # predecessors that a sample with the same signature part is compared with, besides the first
HASH_BITS = 64


def near_texts(texts: Sequence[str], similarity: float) -> np.ndarray:
    """Group texts whose character n-grams overlap by `similarity` (Jaccard) or more.

    Candidates come from MinHash signatures (Broder 1997, https://doi.org/10.1109/SEQUEN.1997.666900), made with one
    hash function whose range is cut into buckets (one permutation hashing, Li et al. 2012,
    https://arxiv.org/abs/1208.1259); each pair of candidates is then compared in full. Case and white space are
    ignored.

    Args:
        texts: a missing one counts as empty.
        similarity: in (0, 1].

    Returns:
        [texts] int64: the position of the first text of its group.
    """
    plain = [" ".join(str(text or "").lower().split()) for text in texts]
    first: dict[str, int] = {}
    same_as = np.array([first.setdefault(text, position) for position, text in enumerate(plain)], dtype=np.int64)
    distinct = np.unique(same_as)
    shingles = [_shingles(plain[position]) for position in distinct]
    signatures = np.stack([_signature(found) for found in shingles]) if shingles else np.zeros((0, BUCKETS), np.uint64)
    bands = signatures.reshape(len(distinct), BANDS, BUCKETS // BANDS)
    groups = _UnionFind(len(distinct))
    for band in range(BANDS):
        _union_similar(groups, _keys(bands[:, band]), lambda a, b: _jaccard(shingles[a], shingles[b]) >= similarity)
    return np.asarray(distinct[groups.labels()][np.searchsorted(distinct, same_as)])


def near_images(references: Sequence[Reference], folder: Path, similarity: float) -> np.ndarray:
    """Group images whose perceptual hashes share `similarity` of their bits or more.

    Returns:
        [images] int64: the position of the first image of its group.

    Raises:
        DataError: an image cannot be decoded.
    """

    hashes = perceptual_hashes(references, folder)
    apart = round(HASH_BITS * (1 - similarity))
    groups = _UnionFind(len(hashes))
    # Of apart + 1 pieces, two hashes that differ in `apart` bits have one in common.
    edges = np.linspace(0, HASH_BITS, apart + 2).round().astype(int)
    for low, high in itertools.pairwise(edges.tolist()):
        piece = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        _union_similar(groups, piece, lambda a, b: int(hashes[a] ^ hashes[b]).bit_count() <= apart)
    return groups.labels()


class _UnionFind:
    """Join positions into groups, each named by its smallest member (union-find)."""

    def __init__(self, count: int) -> None:
        self.parent = list(range(count))

    def find(self, position: int) -> int:
        while self.parent[position] != position:
            self.parent[position] = self.parent[self.parent[position]]
            position = self.parent[position]
        return position

    def union(self, one: int, other: int) -> None:
        low, high = sorted((self.find(one), self.find(other)))
        self.parent[high] = low

    def labels(self) -> np.ndarray:
        return np.array([self.find(position) for position in range(len(self.parent))], dtype=np.int64)


def _union_similar(groups: _UnionFind, keys: np.ndarray, alike: Callable[[int, int], bool]) -> None:
    """Join similar samples with equal keys.

    Each is compared with a few before it and the first.
    """
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    for start, end in zip(starts, np.append(starts[1:], len(ordered)), strict=True):
        members = order[start:end].tolist()
        for index in range(1, len(members)):
            one = members[index]
            for other in dict.fromkeys([members[0], *members[max(0, index - MAX_COMPARED) : index]]):
                if groups.find(one) != groups.find(other) and alike(other, one):
                    groups.union(other, one)


def _shingles(text: str) -> np.ndarray:
    """Return the distinct hashes of a text's character n-grams, [hashes] uint64, ascending."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    ideographs = (codes >= FIRST_IDEOGRAPH).sum() > len(codes) / 2
    width = min(SHINGLE_OF_IDEOGRAPHS if ideographs else SHINGLE, max(1, len(codes)))
    if len(codes) == 0:
        return np.zeros(1, dtype=np.uint64)
    hashes = np.zeros(len(codes) - width + 1, dtype=np.uint64)
    for offset in range(width):
        hashes = hashes * np.uint64(1_099_511_628_211) + codes[offset : offset + len(hashes)]
    return np.unique(_mix_bits(hashes))


def _mix_bits(values: np.ndarray) -> np.ndarray:
    """Spread numbers evenly over 64 bits (SplitMix64's finaliser, Steele et al. 2014).

    https://doi.org/10.1145/2660193.2660195
    """
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


def _signature(shingles: np.ndarray) -> np.ndarray:
    """Return the least hash in each bucket, [BUCKETS] uint64.

    An empty bucket copies the next one that is not.
    """
    signature = np.full(BUCKETS, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(signature, (shingles % np.uint64(BUCKETS)).astype(np.int64), shingles)
    filled = np.flatnonzero(signature != np.iinfo(np.uint64).max)
    nearest = filled[np.searchsorted(filled, np.arange(BUCKETS)) % len(filled)]
    return signature[nearest]


def _keys(band: np.ndarray) -> np.ndarray:
    """Hash each row of a band to one number, [texts] uint64."""
    keys = np.zeros(len(band), dtype=np.uint64)
    for column in band.T:
        keys = _mix_bits(keys * np.uint64(31) + column)
    return keys


def _jaccard(one: np.ndarray, other: np.ndarray) -> float:
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)


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

    image = decode(reference, folder, SIDE, "own")
    gray = (image.convert("RGB") if image.mode == "RGBX" else image).convert("L")
    small = np.asarray(gray.resize((SIDE, SIDE), Resampling.BICUBIC), dtype=np.float64)
    strengths = (waves @ small @ waves.T).ravel()
    # Rounded, so that rounding errors of sums over a blank image decide no bit.
    strengths = strengths.round(6)
    bits = strengths > np.median(strengths)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
