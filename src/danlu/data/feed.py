"""Training batches, one after the other: which rows, prepared, randomly transformed, on the device.

An epoch's rows and each row's transforms are a function of (seed, epoch, row), so any batch can be reproduced.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from danlu.core.seeds import Seed
from danlu.core.team import SINGLE_PROCESS, ProcessGroups
from danlu.data.examples import PreparedDataset, Tensors

if TYPE_CHECKING:
    import torch

# An epoch -> the rows it takes, in order; as many in every epoch. Of n rows, row + k * n is a row's k-th repetition.
EpochOrder = Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Batch:
    """Hold some training samples on the device.

    Attributes:
        inputs: model inputs by name.
        target: the labels, [batch], or where samples are mixed the share of each class, [batch, classes].
        rows: positions as the order gives them, [batch]; repetitions of a row have different numbers.
        epoch: counted from 0; with the row it decides every random transform.
        global_batch_size: samples of the batch over all processes; 0 where this is all of it.
        is_dummy: whether its one sample is not counted, and only lets this process take part in the step.
    """

    inputs: Tensors
    target: "torch.Tensor"
    rows: np.ndarray
    epoch: int
    global_batch_size: int = 0
    is_dummy: bool = False

    @property
    def samples(self) -> int:
        """The number of samples in the optimizer step."""
        return self.global_batch_size or len(self.rows)


class BatchTransform(Protocol):
    """Transform a whole batch at random on the device."""

    def __call__(self, batch: Batch, take: Callable[[np.ndarray], Batch]) -> Batch:
        """Transform a batch.

        Args:
            batch: the output of the transform before.
            take: returns other rows of the same epoch with the same earlier transforms; for mixing samples.
        """


def shuffled_order(count: int, seed: Seed) -> EpochOrder:
    """Return an order that takes every row once per epoch, shuffled."""
    return lambda epoch: np.random.default_rng(seed.derive("order", epoch).value).permutation(count)


def number_repeats(rows: np.ndarray, count: int) -> np.ndarray:
    """Give repeated rows of an epoch different numbers, so each is transformed differently.

    Args:
        rows: positions among `count` rows, [taken].

    Returns:
        [taken]: the k-th repetition of a row is row + k * count.
    """
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    begins = np.flatnonzero(np.diff(ordered, prepend=-1))
    apart = np.empty_like(rows)
    times = np.arange(len(rows)) - np.repeat(begins, np.diff(begins, append=len(rows)))
    apart[order] = ordered + times * count
    return apart


@dataclass(frozen=True)
class TrainLoader:
    """Yield the training batches of the loop.

    Attributes:
        dataset: the training split, prepared and balanced.
        order: the rows of each epoch.
        epoch_length: how many rows an epoch takes.
        transforms: random transforms on the device, in order.
    """

    dataset: PreparedDataset
    order: EpochOrder
    epoch_length: int
    transforms: tuple[BatchTransform, ...] = ()

    def batches(self, size: int, device: "torch.device", first: int = 0, groups: ProcessGroups = SINGLE_PROCESS) -> Iterator[Batch]:
        """Yield the batches of epoch after epoch, without end.

        Args:
            size: global batch size, over all processes.
            device: where batches are needed.
            first: batches to skip at the beginning, which a resumed run has had already.
            team: each process gets its share of every batch, or a dummy sample where none is left.
        """

        def make(chosen: tuple[int, np.ndarray]) -> Batch:
            epoch, rows = chosen
            if groups.is_single_process:
                return self.take(rows, epoch, device, changed=0)
            own = rows[groups.local_slice(len(rows))]
            found = self.take(own if len(own) else rows[:1], epoch, device, changed=0)
            return replace(found, whole=len(rows), stands_in=not len(own))

        for batch in self.dataset.imap(make, self._rows(size, first)):
            yield self._change(batch, self.transforms, device)

    def _rows(self, size: int, first: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the epoch and the rows of one batch after the other."""
        bounds = batch_bounds(self.epoch_length, size)
        begun, left_out = divmod(first, len(bounds))
        for epoch in itertools.count(begun):
            order = self.order(epoch)
            for start, end in bounds[left_out:]:
                yield epoch, order[start:end]
            left_out = 0

    def take(self, rows: np.ndarray, epoch: int, device: "torch.device", changed: int | None = None) -> Batch:
        """Return some rows of an epoch, after the first `changed` transforms (all by default)."""
        inputs, target = self.dataset.take(rows, device, epoch)
        assert target is not None
        return self._change(Batch(inputs, target, rows, epoch), self.transforms[:changed], device)

    def _change(self, batch: Batch, changes: tuple[BatchTransform, ...], device: "torch.device") -> Batch:
        for position, change in enumerate(changes):
            batch = change(batch, partial(self.take, epoch=batch.epoch, device=device, changed=position))
        return batch


def batch_bounds(count: int, size: int) -> list[tuple[int, int]]:
    """Return the start and end of each batch of an epoch.

    A last batch of one row is dropped: batch normalisation has no variance to divide by there.
    """
    starts = range(0, count, size)
    return [(start, min(start + size, count)) for start in starts if count - start > 1 or 1 in (size, count)]
