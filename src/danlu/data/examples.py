"""Prepared samples as tensors, and the batches taken from them.

In: what a preprocessor made. Out: `{input name: tensor}` for any selection of rows. The order of rows in an epoch is a
function of (seed, epoch), so it can be had again at any time.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from danlu.core.seeds import Seed

if TYPE_CHECKING:
    import torch

Tensors = dict[str, "torch.Tensor"]


class Feature(Protocol):
    """One or more model inputs of every sample; `take` makes their batch."""

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> Tensors:
        """The inputs of some samples.

        Args:
            rows: positions, [batch].
        """


@dataclass(frozen=True)
class Dense:
    """An input that is one tensor with the samples along its first dimension."""

    name: str
    values: "torch.Tensor"

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> Tensors:
        import torch

        return {self.name: self.values[torch.from_numpy(rows)]}


@dataclass(frozen=True)
class TokenLists:
    """Token ids of texts of any length, padded to the longest of a batch when it is taken.

    Attributes:
        tokens: all texts' ids behind one another, [tokens] int32.
        offsets: where each text begins, and the end of the last, [samples + 1].
        pad: the id that fills shorter texts; `attention_mask` tells it from text.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    pad: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: np.ndarray) -> Tensors:
        import torch

        lengths = self.offsets[rows + 1] - self.offsets[rows]
        ids = np.full((len(rows), max(1, int(lengths.max()))), self.pad, dtype=np.int64)
        mask = np.zeros_like(ids)
        for position, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            ids[position, :length] = self.tokens[self.offsets[row] : self.offsets[row + 1]]
            mask[position, :length] = 1
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


@dataclass(frozen=True)
class Examples:
    """Samples ready for a model.

    Attributes:
        features: the inputs.
        target: the answers, [samples] or [samples, length]; None when only predictions are wanted.
    """

    features: tuple[Feature, ...]
    target: "torch.Tensor | None" = None

    def __len__(self) -> int:
        return len(self.features[0])

    def take(self, rows: np.ndarray, device: "torch.device") -> "tuple[Tensors, torch.Tensor | None]":
        """A batch on the device: inputs by name, and the answers.

        Args:
            rows: positions, [batch].
        """
        import torch

        inputs: Tensors = {}
        for feature in self.features:
            inputs.update(feature.take(rows))
        target = None if self.target is None else self.target[torch.from_numpy(rows)].to(device)
        return {name: values.to(device) for name, values in inputs.items()}, target


def shuffled_batches(count: int, size: int, seed: Seed, epoch: int) -> Iterator[np.ndarray]:
    """The rows of each training batch of an epoch, a function of (seed, epoch) alone.

    A last batch of one row is left out: batch normalisation has no variance to divide by there.
    """
    order = np.random.default_rng(seed.derive("order", epoch).value).permutation(count)
    for start in range(0, count, size):
        if count - start > 1 or count == 1:
            yield order[start : start + size]


def endless_batches(count: int, size: int, seed: Seed) -> Iterator[np.ndarray]:
    """The batches of epoch after epoch."""
    for epoch in itertools.count():
        yield from shuffled_batches(count, size, seed, epoch)


def ordered_batches(count: int, size: int) -> Iterator[np.ndarray]:
    """All rows in order."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


def batches_an_epoch(count: int, size: int) -> int:
    """How many batches `shuffled_batches` yields."""
    return max(1, count // size + (1 if count % size > 1 else 0))
