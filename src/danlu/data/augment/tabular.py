"""The augmentations of tables that a recipe may name. They work on prepared columns. Imports no torch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import NonNegativeFloat

from danlu.core.seeds import Seed
from danlu.data.augment.base import AugmentBuilder, BatchAugmentation, ImageAugmentation, Probability, TransformContext
from danlu.data.augment.hash_rng import HashRng
from danlu.data.loader import Batch, BatchTransform

if TYPE_CHECKING:
    import torch

STATISTICS_ROWS = 100_000  # training rows, spread evenly, that column deviations are estimated from
CELLS = ("numeric", "categories")  # the inputs of a table, [batch, columns] each


class Noise(ImageAugmentation, BatchAugmentation):
    """Add Gaussian noise to pixels or numbers.

    In units of a pixel's full range, or in standard deviations of a column. Columns of a table that hold two values at
    most are flags and stay as they are, as do categories.
    """

    kinds = ("image", "tabular")
    name: Literal["noise"] = "noise"
    std: NonNegativeFloat

    def add(self, builder: AugmentBuilder, rng: HashRng) -> None:
        builder.noise(np.full(builder.count, self.std * 255.0))

    def build_transform(self, setting: TransformContext) -> BatchTransform:
        import torch

        count = len(setting.dataset)
        rows = np.unique(np.linspace(0, count - 1, min(count, STATISTICS_ROWS)).astype(np.int64))
        taken, _ = setting.dataset.take(rows, torch.device("cpu"))
        if "numeric" not in taken:
            return _no_change
        numbers = taken["numeric"]
        low, high = numbers.amin(dim=0), numbers.amax(dim=0)
        flags = ((numbers == low) | (numbers == high)).all(dim=0)
        return NumberNoise(torch.where(flags, 0.0, numbers.std(dim=0) * self.std), setting.seed)


def _no_change(batch: Batch, take: Callable[[np.ndarray], Batch]) -> Batch:
    return batch


@dataclass(frozen=True)
class NumberNoise:
    """Add noise of a deviation per numeric column, [columns]."""

    deviations: "torch.Tensor"
    seed: Seed

    def __call__(self, batch: Batch, take: Callable[[np.ndarray], Batch]) -> Batch:
        from danlu.data.augment.device import hashed_normal

        numbers = batch.inputs["numeric"]
        keys = HashRng(batch.rows, self.seed.derive(batch.epoch)).keys("noise")
        noise = hashed_normal(keys, numbers.shape[1], numbers.device) * self.deviations.to(numbers.device)
        return replace(batch, inputs={**batch.inputs, "numeric": numbers + noise.to(numbers.dtype)})


class SwapNoise(BatchAugmentation):
    """Replace each cell, with a probability, by the same column of another training row.

    Swap noise (Jahrer 2017).
    """

    kinds = ("tabular",)
    name: Literal["swap-noise"] = "swap-noise"
    probability: Probability = 0.1

    def build_transform(self, setting: TransformContext) -> BatchTransform:
        return CellSwap(self.probability, len(setting.dataset), setting.seed)


@dataclass(frozen=True)
class CellSwap:
    """Replace cells by those of other rows.

    Attributes:
        probability: of a cell, in [0, 1].
        count: number of training rows to take from.
        seed: this transform's own.
    """

    probability: float
    count: int
    seed: Seed

    def __call__(self, batch: Batch, take: Callable[[np.ndarray], Batch]) -> Batch:
        import torch

        inputs = dict(batch.inputs)
        rng = HashRng(batch.rows, self.seed.derive(batch.epoch))
        for name in CELLS:
            if name not in inputs:
                continue
            columns = range(inputs[name].shape[1])
            chosen = np.stack([rng.derive(name, column).bernoulli("swap", self.probability) for column in columns], 1)
            donors = np.stack([rng.derive(name, column).integers("row", self.count) for column in columns], 1)
            row, column = np.nonzero(chosen)
            if len(row) == 0:
                continue
            given = take(donors[row, column]).inputs[name]
            cells = inputs[name].clone()
            at, of = torch.from_numpy(row).to(cells.device), torch.from_numpy(column).to(cells.device)
            cells[at, of] = given[torch.arange(len(row), device=cells.device), of]
            inputs[name] = cells
        return replace(batch, inputs=inputs)
