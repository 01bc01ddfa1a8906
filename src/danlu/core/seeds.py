"""Randomness as a function: every random choice is made from a seed derived for it by name.

A recipe has one seed. `Seed(7).derive("order", epoch)` is the same number every day, on any machine and
however many processes share the work.
"""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Seed:
    """Hold a 63-bit seed and derive others from it."""

    value: int

    def derive(self, *path: str | int) -> "Seed":
        """Derive the seed for one purpose, e.g. `derive("dropout", step)`.

        Different paths give independent seeds.
        """
        text = "/".join(str(part) for part in (self.value, *path))
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return Seed(int.from_bytes(digest, "big") >> 1)
