"""Balancing by drawing some rows more or less often. Rows are chosen by position, so any kind of data can be.

Which rows an epoch takes is a function of (seed, epoch), and every epoch chooses anew: undersampling thereby sees all
rows in the course of training, and no row of a class is repeated more often than the others for good.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from danlu.core.seeds import Seed
from danlu.data.balance.balancer import Balancer
from danlu.data.feed import Order, repeats_apart
from danlu.data.reasons import reason

Ratio = Annotated[float, Field(gt=0.0, le=1.0)]


class Oversample(Balancer):
    """Repeat rows of smaller classes until each has `ratio` times the rows of the largest.

    Every row is taken; what is left to a multiple of the class is drawn without repetition.
    """

    name: Literal["oversample"] = "oversample"
    ratio: Ratio = 1.0

    @property
    def effect(self) -> str:
        return reason("balance.oversample", ratio=self.ratio)

    def order(self, codes: np.ndarray, seed: Seed) -> Order:
        counts = np.bincount(codes)
        return _drawn(codes, np.maximum(counts, raised(counts, self.ratio)), seed)


class Undersample(Balancer):
    """Leave out rows of larger classes until the smallest has `ratio` times the rows of each."""

    name: Literal["undersample"] = "undersample"
    ratio: Ratio = 1.0

    @property
    def effect(self) -> str:
        return reason("balance.undersample", ratio=self.ratio)

    def order(self, codes: np.ndarray, seed: Seed) -> Order:
        counts = np.bincount(codes)
        most = round(int(counts[counts > 0].min()) / self.ratio)
        return _drawn(codes, np.minimum(counts, most), seed)


class WeightedSampling(Balancer):
    """Draw as many rows as there are, with replacement, each with probability 1 / (size of its class) ^ `power`.

    Power 1 draws all classes alike often, 0 as often as they occur.
    """

    name: Literal["weighted-sampling"] = "weighted-sampling"
    power: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0

    @property
    def effect(self) -> str:
        return reason("balance.weighted", power=self.power)

    def order(self, codes: np.ndarray, seed: Seed) -> Order:
        weights = (np.bincount(codes).astype(np.float64) ** -self.power)[codes]
        bounds = np.cumsum(weights / weights.sum())

        def draw(epoch: int) -> np.ndarray:
            generator = np.random.default_rng(seed.derive("order", epoch).value)
            rows = np.searchsorted(bounds, generator.random(len(codes)), side="right")
            return repeats_apart(np.minimum(rows, len(codes) - 1), len(codes))

        return draw


def raised(counts: np.ndarray, ratio: float) -> np.ndarray:
    """How many samples each class gets at least, [classes]; a class that has none gets none."""
    return np.where(counts > 0, np.round(ratio * counts.max()), 0).astype(np.int64)


def _drawn(codes: np.ndarray, wanted: np.ndarray, seed: Seed) -> Order:
    """So many rows of each class an epoch, every row of a class as often as any other, give or take one."""
    members = [np.flatnonzero(codes == code) for code in range(len(wanted))]

    def draw(epoch: int) -> np.ndarray:
        generator = np.random.default_rng(seed.derive("order", epoch).value)
        chosen: list[np.ndarray] = []
        for rows, count in zip(members, wanted.tolist(), strict=True):
            if count:
                whole, rest = divmod(count, len(rows))
                chosen += [np.tile(rows, whole), generator.choice(rows, rest, replace=False)]
        return repeats_apart(generator.permutation(np.concatenate(chosen)), len(codes))

    return draw
