"""Prepared samples, and any selection of them as model inputs.

In: what a preprocessor made. Out: `{input name: tensor}`. Which rows training takes when is decided in `feed`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch

Tensors = dict[str, "torch.Tensor"]


class Feature(Protocol):
    """One or more model inputs of every sample; `take` makes their batch."""

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray, epoch: int | None = None) -> Tensors:
        """The inputs of some samples.

        Args:
            rows: positions, [batch].
            epoch: of training, for features that change their samples at random; None takes them as they are.
        """


@dataclass(frozen=True)
class Dense:
    """An input that is one tensor with the samples along its first dimension."""

    name: str
    values: "torch.Tensor"

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray, epoch: int | None = None) -> Tensors:
        import torch

        return {self.name: self.values.index_select(0, torch.from_numpy(rows))}


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

    def take(self, rows: np.ndarray, epoch: int | None = None) -> Tensors:
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

    def take(
        self, rows: np.ndarray, device: "torch.device", epoch: int | None = None
    ) -> "tuple[Tensors, torch.Tensor | None]":
        """A batch on the device: inputs by name, and the answers.

        Args:
            rows: positions, [batch].
            epoch: of training; None takes the samples as they are.
        """
        import torch

        inputs: Tensors = {}
        for feature in self.features:
            inputs.update(feature.take(rows, epoch))
        target = None if self.target is None else self.target.index_select(0, torch.from_numpy(rows)).to(device)
        return {name: values.to(device) for name, values in inputs.items()}, target


def ordered_batches(count: int, size: int) -> Iterator[np.ndarray]:
    """All rows in order."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
