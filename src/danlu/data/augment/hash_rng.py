"""Random numbers as functions of (seed, epoch, row): the same for a row whatever its batch, and on any machine.

Parameters of a sample come from SplitMix64 with the row as its counter (Steele et al. 2014,
https://doi.org/10.1145/2660193.2660195), single pixels and tokens from MurmurHash3's finaliser, which 32-bit integer
arithmetic gives alike in numpy and in torch.
"""

from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

from danlu.core.seeds import Seed

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_A, MIX_B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
FINAL_A, FINAL_B = 0x85EBCA6B, 0xC2B2AE35
NORMAL_BITS = 16  # index bits of the table of normal numbers; the largest are 4.3 deviations


@dataclass(frozen=True)
class HashRng:
    """Draw random numbers for rows by name; different names are independent.

    Attributes:
        rows: positions among the training samples, [rows].
        seed: of one epoch and one purpose.
    """

    rows: np.ndarray
    seed: Seed

    def derive(self, *path: str | int) -> "HashRng":
        """Derive a generator of the same rows for a narrower purpose."""
        return HashRng(self.rows, self.seed.derive(*path))

    def bits(self, name: str) -> np.ndarray:
        """Draw 64 random bits, [rows] uint64."""
        state = np.uint64(self.seed.derive(name).value) + self.rows.astype(np.uint64) * GOLDEN
        state = (state ^ (state >> np.uint64(30))) * MIX_A
        state = (state ^ (state >> np.uint64(27))) * MIX_B
        return np.asarray(state ^ (state >> np.uint64(31)))

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """Draw uniform numbers in [low, high), [rows] float64."""
        unit: np.ndarray = (self.bits(name) >> np.uint64(11)) * 2.0**-53
        return np.asarray(low + (high - low) * unit)

    def bernoulli(self, name: str, probability: float) -> np.ndarray:
        """Draw booleans, true with the given probability, [rows] bool."""
        return np.asarray(self.uniform(name) < probability)

    def integers(self, name: str, count: int) -> np.ndarray:
        """Draw integers in [0, count), [rows] int64."""
        drawn: np.ndarray = np.floor(self.uniform(name) * count).astype(np.int64)
        return drawn

    def keys(self, name: str) -> np.ndarray:
        """Draw a key for the hashes of each row's pixels or tokens, [rows] uint32."""
        return (self.bits(name) >> np.uint64(32)).astype(np.uint32)


def hash_counters(counters: np.ndarray, key: np.uint32) -> np.ndarray:
    """Hash counters by MurmurHash3's finaliser, uint32 in and out."""
    mixed = counters ^ key
    mixed ^= mixed >> np.uint32(16)
    mixed *= np.uint32(FINAL_A)
    mixed ^= mixed >> np.uint32(13)
    mixed *= np.uint32(FINAL_B)
    mixed ^= mixed >> np.uint32(16)
    return mixed


@cache
def normal_table() -> np.ndarray:
    """Return quantiles of the standard normal distribution, [2 ** NORMAL_BITS] float32.

    Indexed by random bits it gives normal numbers.
    """
    inverse = NormalDist().inv_cdf
    size = 2**NORMAL_BITS
    return np.array([inverse((index + 0.5) / size) for index in range(size)], dtype=np.float32)
