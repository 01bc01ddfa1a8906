"""Training batches, one after the other: which rows, prepared, changed at random, on the device.

Which rows an epoch takes and what becomes of each is a function of (seed, epoch, row), so any batch can be had again.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from danlu.core.seeds import Seed
from danlu.core.team import ALONE, Team
from danlu.data.examples import Examples, Tensors

if TYPE_CHECKING:
    import torch

# An epoch -> the rows it takes, in order; as many in every epoch. Of n rows, row + k * n is a row's k-th repetition.
Order = Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Batch:
    """Some training samples on the device.

    Attributes:
        inputs: model inputs by name.
        target: the answers, [batch], or where samples are mixed the share of each class, [batch, classes].
        rows: positions as the order gives them, [batch]; a repeated row has another number each time.
        epoch: counted from 0; with the row it decides every random change.
        whole: samples of the batch that all processes take together; 0 where this is all of it.
        stands_in: whether its one sample counts for nothing, and is there since every process must take a step.
    """

    inputs: Tensors
    target: "torch.Tensor"
    rows: np.ndarray
    epoch: int
    whole: int = 0
    stands_in: bool = False

    @property
    def samples(self) -> int:
        """Samples of the optimizer step."""
        return self.whole or len(self.rows)


class Change(Protocol):
    """A random change of a whole batch on the device."""

    def __call__(self, batch: Batch, take: Callable[[np.ndarray], Batch]) -> Batch:
        """Change a batch.

        Args:
            batch: as the change before left it.
            take: gives other rows of the same epoch, likewise changed so far; for changes that mix samples.
        """


def shuffled(count: int, seed: Seed) -> Order:
    """Every row once an epoch, in an order of its own."""
    return lambda epoch: np.random.default_rng(seed.derive("order", epoch).value).permutation(count)


def repeats_apart(rows: np.ndarray, count: int) -> np.ndarray:
    """Give rows that an epoch takes more than once other numbers, so that each time they are changed differently.

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
class Feed:
    """What the training loop is fed with.

    Attributes:
        examples: the training split, prepared and balanced.
        order: the rows of each epoch.
        length: how many rows an epoch takes.
        changes: random changes on the device, in order.
    """

    examples: Examples
    order: Order
    length: int
    changes: tuple[Change, ...] = ()

    def batches(self, size: int, device: "torch.device", first: int = 0, team: Team = ALONE) -> Iterator[Batch]:
        """The batches of epoch after epoch, without end.

        Args:
            size: samples a batch, of all processes together.
            device: where they are wanted.
            first: batches left out at the beginning, as a run that goes on has had them.
            team: each process gets its share of every batch; one for which nothing is left a sample that stands in.
        """

        def make(chosen: tuple[int, np.ndarray]) -> Batch:
            epoch, rows = chosen
            if team.alone:
                return self.take(rows, epoch, device, changed=0)
            own = rows[team.slice_of(len(rows))]
            found = self.take(own if len(own) else rows[:1], epoch, device, changed=0)
            return replace(found, whole=len(rows), stands_in=not len(own))

        for batch in self.examples.made(make, self._rows(size, first)):
            yield self._change(batch, self.changes, device)

    def _rows(self, size: int, first: int) -> Iterator[tuple[int, np.ndarray]]:
        """The epoch and the rows of one batch after the other."""
        bounds = batch_bounds(self.length, size)
        begun, left_out = divmod(first, len(bounds))
        for epoch in itertools.count(begun):
            order = self.order(epoch)
            for start, end in bounds[left_out:]:
                yield epoch, order[start:end]
            left_out = 0

    def take(self, rows: np.ndarray, epoch: int, device: "torch.device", changed: int | None = None) -> Batch:
        """Some rows as they are in an epoch, after the first `changed` changes (all, when left out)."""
        inputs, target = self.examples.take(rows, device, epoch)
        assert target is not None
        return self._change(Batch(inputs, target, rows, epoch), self.changes[:changed], device)

    def _change(self, batch: Batch, changes: tuple[Change, ...], device: "torch.device") -> Batch:
        for position, change in enumerate(changes):
            batch = change(batch, partial(self.take, epoch=batch.epoch, device=device, changed=position))
        return batch


def batch_bounds(count: int, size: int) -> list[tuple[int, int]]:
    """Where the batches of an epoch begin and end.

    A last batch of one row is left out: batch normalisation has no variance to divide by there.
    """
    starts = range(0, count, size)
    return [(start, min(start + size, count)) for start in starts if count - start > 1 or 1 in (size, count)]
