"""Balancing by drawing some rows more or less often. Rows are chosen by position, so it suits any kind of data.

An epoch's rows are a function of (seed, epoch), and every epoch chooses again: undersampling thereby sees all rows in
the course of training, and no row of a class is repeated more often than the others for good.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from danlu.core.seeds import Seed
from danlu.data.balance.base import Balancer
from danlu.data.loader import EpochOrder, number_repeats
from danlu.data.messages import reason

Ratio = Annotated[float, Field(gt=0.0, le=1.0)]


class Oversample(Balancer):
    """Repeat rows of smaller classes up to `ratio` times the size of the largest.

    Every row is taken; the remainder of a class is drawn without repetition.
    """

    name: Literal["oversample"] = "oversample"
    ratio: Ratio = 1.0

    @property
    def effect(self) -> str:
        return reason("balance.oversample", ratio=self.ratio)

    def order(self, codes: np.ndarray, seed: Seed) -> EpochOrder:
        counts = np.bincount(codes)
        return _draw_per_class(codes, np.maximum(counts, target_counts(counts, self.ratio)), seed)


class Undersample(Balancer):
    """Drop rows of larger classes until the smallest has `ratio` times their size."""

    name: Literal["undersample"] = "undersample"
    ratio: Ratio = 1.0

    @property
    def effect(self) -> str:
        return reason("balance.undersample", ratio=self.ratio)

    def order(self, codes: np.ndarray, seed: Seed) -> EpochOrder:
        counts = np.bincount(codes)
        most = round(int(counts[counts > 0].min()) / self.ratio)
        return _draw_per_class(codes, np.minimum(counts, most), seed)


class WeightedSampling(Balancer):
    """Draw rows with replacement, weighted by 1 / (class size) ^ `power`.

    As many as there are. Power 1 draws all classes equally often, 0 as often as they occur.
    """

    name: Literal["weighted-sampling"] = "weighted-sampling"
    power: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0

    @property
    def effect(self) -> str:
        return reason("balance.weighted", power=self.power)

    def order(self, codes: np.ndarray, seed: Seed) -> EpochOrder:
        weights = (np.bincount(codes).astype(np.float64) ** -self.power)[codes]
        bounds = np.cumsum(weights / weights.sum())

        def draw(epoch: int) -> np.ndarray:
            generator = np.random.default_rng(seed.derive("order", epoch).value)
            rows = np.searchsorted(bounds, generator.random(len(codes)), side="right")
            return number_repeats(np.minimum(rows, len(codes) - 1), len(codes))

        return draw


def target_counts(counts: np.ndarray, ratio: float) -> np.ndarray:
    """Return the least number of samples per class, [classes]; 0 for an empty class."""
    return np.where(counts > 0, np.round(ratio * counts.max()), 0).astype(np.int64)


def _draw_per_class(codes: np.ndarray, wanted: np.ndarray, seed: Seed) -> EpochOrder:
    """Draw `wanted` rows of each class per epoch, all rows of a class equally often.

    Give or take one.
    """
    members = [np.flatnonzero(codes == code) for code in range(len(wanted))]

    def draw(epoch: int) -> np.ndarray:
        generator = np.random.default_rng(seed.derive("order", epoch).value)
        chosen: list[np.ndarray] = []
        for rows, count in zip(members, wanted.tolist(), strict=True):
            if count:
                whole, rest = divmod(count, len(rows))
                chosen += [np.tile(rows, whole), generator.choice(rows, rest, replace=False)]
        return number_repeats(generator.permutation(np.concatenate(chosen)), len(codes))

    return draw
