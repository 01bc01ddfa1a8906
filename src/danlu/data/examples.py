"""Prepared samples, and any selection of them as model inputs.

In: what a preprocessor made. Out: `{input name: tensor}`. Which rows training takes when is decided in `feed`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

import numpy as np

from danlu.core.ahead import ahead
from danlu.core.devices import accelerator_of
from danlu.core.threads import batches_side_by_side, usable_cores

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Result = TypeVar("Result")
Tensors = dict[str, "torch.Tensor"]
TARGET = "target"  # what a feature calls answers that it gives beside its inputs, as a corpus does

DEVICE_SHARE = 0.25  # of an accelerator's free memory that one input may take; the rest is the model's
PINNED_FOR = ("cuda", "xpu")  # copies to these from pinned memory need nobody to wait for them


class Feature(Protocol):
    """One or more model inputs of every sample; `take` makes their batch."""

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray, epoch: int | None = None) -> Tensors:
        """The inputs of some samples.

        Args:
            rows: positions, [batch]; of n samples, row + k * n is the k-th repetition of a row in an epoch.
            epoch: of training, for features that change their samples at random; None takes them as they are.
        """


@runtime_checkable
class Settling(Feature, Protocol):
    """A feature whose batches cost the host work, such as decoding; they are made ahead of their use."""

    def settle(self, device: "torch.device", threads: int) -> Feature:
        """The same samples where that work is least: done once and kept, on the device where they fit.

        Args:
            device: where batches are wanted.
            threads: how many do the work that is left for every batch.
        """


def fits(size_bytes: int, device: "torch.device") -> bool:
    """Whether an accelerator has room for so much data beside a model; never so for the CPU."""
    if device.type == "cpu":
        return False
    free = accelerator_of(device).free_bytes()
    return free is not None and size_bytes <= DEVICE_SHARE * free


@dataclass(frozen=True)
class Dense:
    """An input that is one tensor with the samples along its first dimension."""

    name: str
    values: "torch.Tensor"

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray, epoch: int | None = None) -> Tensors:
        import torch

        return {self.name: self.pick(torch.from_numpy(rows % len(self)).to(self.values.device))}

    def pick(self, positions: "torch.Tensor") -> "torch.Tensor":
        """Some samples by their positions, [batch], on the device of the values.

        Of tables index_select is the faster; of images only indexing keeps the layout.
        """
        return self.values.index_select(0, positions) if self.values.dim() <= 2 else self.values[positions]

    def settle(self, device: "torch.device", threads: int | None = None) -> "Dense":
        """The same input on the device, where it fits."""
        return replace(self, values=_near(self.values, device))


@dataclass(frozen=True)
class Examples:
    """Samples ready for a model.

    Attributes:
        features: the inputs.
        target: the answers, [samples]; None when only predictions are wanted, or when a feature gives them.
        threads: that make batches; as many as cores, when left out. What a batch holds does not depend on it.
    """

    features: tuple[Feature, ...]
    target: "torch.Tensor | None" = None
    threads: int | None = None

    def __len__(self) -> int:
        return len(self.features[0])

    def take(
        self, rows: np.ndarray, device: "torch.device", epoch: int | None = None
    ) -> "tuple[Tensors, torch.Tensor | None]":
        """A batch on the device: inputs by name, and the answers.

        Args:
            rows: positions, [batch], repetitions numbered as for features.
            epoch: of training; None takes the samples as they are.
        """
        import torch

        positions = torch.from_numpy(rows % len(self))  # once for all tensors: of tables it is half of the work
        inputs: Tensors = {}
        for feature in self.features:
            if isinstance(feature, Dense):
                inputs[feature.name] = feature.pick(positions.to(feature.values.device))
            else:
                inputs.update(feature.take(rows, epoch))
        target = inputs.pop(TARGET, None)
        if self.target is not None:
            target = self.target.index_select(0, positions.to(self.target.device))
        brought = {name: bring(values, device) for name, values in inputs.items()}
        return brought, None if target is None else bring(target, device)

    def settle(self, device: "torch.device", threads: int | None = None) -> "Examples":
        """The same samples as near to the device as they fit, with all work that is the same every epoch done.

        Args:
            device: where batches are wanted.
            threads: that make batches, where that is more than picking rows; as many as cores, when left out.
        """
        work = threads or usable_cores()
        features = tuple(f.settle(device, work) if isinstance(f, Settling) else f for f in self.features)
        return Examples(features, None if self.target is None else _near(self.target, device), work)

    @property
    def worth_making_ahead(self) -> bool:
        """Whether making a batch costs the host more than picking rows of a tensor."""
        return any(isinstance(feature, Settling) and not isinstance(feature, Dense) for feature in self.features)

    def in_order(
        self, size: int, device: "torch.device"
    ) -> "Iterator[tuple[np.ndarray, Tensors, torch.Tensor | None]]":
        """Rows, inputs and answers of all samples as they are, batch by batch on the device."""

        def make(rows: np.ndarray) -> "tuple[np.ndarray, Tensors, torch.Tensor | None]":
            return rows, *self.take(rows, device)

        return self.made(make, ordered_batches(len(self), size))

    def made(self, make: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """What `make` makes of items, in order; ahead of its use where that is work for the host."""
        if not self.worth_making_ahead:
            return map(make, items)
        return ahead(make, items, batches_side_by_side(self.threads or usable_cores()))


def bring(values: "torch.Tensor", device: "torch.device") -> "torch.Tensor":
    """A tensor on the device. On its way to a card it is pinned, so that nobody waits for what the card does before."""
    if device.type in PINNED_FOR and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def _near(values: "torch.Tensor", device: "torch.device") -> "torch.Tensor":
    return values.to(device) if fits(values.numel() * values.element_size(), device) else values


def ordered_batches(count: int, size: int) -> Iterator[np.ndarray]:
    """All rows in order."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
