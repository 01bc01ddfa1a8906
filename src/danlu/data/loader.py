"""Prepared samples, and the training batches made of them: which rows, prepared, randomly transformed, on the device.

In: the output of a preprocessor, and each epoch's order of rows. Out: `{input name: tensor}` and Batches. An epoch's
rows and each row's transforms are a function of (seed, epoch, row), so any batch can be reproduced.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

import numpy as np

from danlu.core.console import info
from danlu.core.devices import accelerator_of
from danlu.core.distributed.process_groups import SINGLE_PROCESS, ProcessGroups
from danlu.core.prefetch import prefetch
from danlu.core.seeds import Seed
from danlu.core.threads import num_concurrent_batches, usable_cores

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Result = TypeVar("Result")
Tensors = dict[str, "torch.Tensor"]
TARGET = "target"  # the name of targets that an input column provides itself, as a corpus does

DEVICE_SHARE = 0.25  # of an accelerator's free memory that one input may take; the rest is the model's
PINNED_FOR = ("cuda", "xpu")  # copies to these from pinned memory are asynchronous


class InputColumn(Protocol):
    """Provide one or more model inputs of every sample; `take` makes a batch."""

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray, epoch: int | None = None) -> Tensors:
        """Return the inputs of some samples.

        Args:
            rows: positions, [batch]; of n samples, row + k * n is the k-th repetition of a row in an epoch.
            epoch: of training, for columns with random transforms; None takes the samples as they are.
        """


@runtime_checkable
class Cacheable(InputColumn, Protocol):
    """Provide inputs whose batches cost CPU work, such as decoding; they are prefetched."""

    def cache(self, device: "torch.device", threads: int) -> InputColumn:
        """Return the same samples with that work done once, on the device where they fit.

        Args:
            device: where batches are needed.
            threads: how many do the work that remains for every batch.
        """


def fits_on_device(size_bytes: int, device: "torch.device") -> bool:
    """Return whether an accelerator has room for data beside a model; False for the CPU."""
    if device.type == "cpu":
        return False
    free = accelerator_of(device).free_bytes()
    return free is not None and size_bytes <= DEVICE_SHARE * free


@dataclass(frozen=True)
class TensorColumn:
    """Provide an input that is one tensor with samples along its first dimension."""

    name: str
    values: "torch.Tensor"

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray, epoch: int | None = None) -> Tensors:
        import torch

        return {self.name: self.gather(torch.from_numpy(rows % len(self)).to(self.values.device))}

    def gather(self, positions: "torch.Tensor") -> "torch.Tensor":
        """Gather samples by position, [batch], on the device of the values.

        index_select is faster for tables; only indexing keeps the memory layout of images.
        """
        return self.values.index_select(0, positions) if self.values.dim() <= 2 else self.values[positions]

    def cache(self, device: "torch.device", threads: int | None = None) -> "TensorColumn":
        """Move the input to the device, if it fits."""
        return replace(self, values=_to_device_if_fits(self.values, device))


@dataclass(frozen=True)
class PreparedDataset:
    """Hold samples ready for a model.

    Attributes:
        columns: the inputs.
        target: the labels, [samples]; None when only predictions are needed, or when a column provides them.
        threads: that make batches; one per core by default. A batch's contents do not depend on it.
    """

    columns: tuple[InputColumn, ...]
    target: "torch.Tensor | None" = None
    threads: int | None = None

    def __len__(self) -> int:
        return len(self.columns[0])

    def take(
        self, rows: np.ndarray, device: "torch.device", epoch: int | None = None
    ) -> "tuple[Tensors, torch.Tensor | None]":
        """Return a batch on the device: inputs by name, and the targets.

        Args:
            rows: positions, [batch], repetitions numbered as for columns.
            epoch: of training; None takes the samples as they are.
        """
        import torch

        positions = torch.from_numpy(rows % len(self))  # once for all tensors: for tables it is half of the work
        inputs: Tensors = {}
        for feature in self.columns:
            if isinstance(feature, TensorColumn):
                inputs[feature.name] = feature.gather(positions.to(feature.values.device))
            else:
                inputs.update(feature.take(rows, epoch))
        target = inputs.pop(TARGET, None)
        if self.target is not None:
            target = self.target.index_select(0, positions.to(self.target.device))
        brought = {name: to_device(values, device) for name, values in inputs.items()}
        return brought, None if target is None else to_device(target, device)

    def cache(self, device: "torch.device", threads: int | None = None) -> "PreparedDataset":
        """Cache all work that is the same every epoch, on the device where it fits.

        Args:
            device: where batches are needed.
            threads: that make batches, where that is more than gathering rows; one per core by default.
        """
        work = threads or usable_cores()
        features = tuple(f.cache(device, work) if isinstance(f, Cacheable) else f for f in self.columns)
        return PreparedDataset(features, None if self.target is None else _to_device_if_fits(self.target, device), work)

    @property
    def prefetches(self) -> bool:
        """Whether batches are made ahead in threads, because making one costs CPU work."""
        return any(isinstance(feature, Cacheable) and not isinstance(feature, TensorColumn) for feature in self.columns)

    def iter_batches(
        self, size: int, device: "torch.device"
    ) -> "Iterator[tuple[np.ndarray, Tensors, torch.Tensor | None]]":
        """Yield rows, inputs and targets of all samples in order, batch by batch.

        They are on the device.
        """

        def make(rows: np.ndarray) -> "tuple[np.ndarray, Tensors, torch.Tensor | None]":
            return rows, *self.take(rows, device)

        return self.imap(make, sequential_batches(len(self), size))

    def imap(self, make: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Map `make` over items in order; prefetch in threads if it is CPU work."""
        if not self.prefetches:
            return map(make, items)
        return prefetch(make, items, num_concurrent_batches(self.threads or usable_cores()))


def to_device(values: "torch.Tensor", device: "torch.device") -> "torch.Tensor":
    """Move a tensor to the device.

    From the CPU to an accelerator it is pinned, so that the copy does not wait for earlier work there.
    """
    if device.type in PINNED_FOR and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def _to_device_if_fits(values: "torch.Tensor", device: "torch.device") -> "torch.Tensor":
    return values.to(device) if fits_on_device(values.numel() * values.element_size(), device) else values


def sequential_batches(count: int, size: int) -> Iterator[np.ndarray]:
    """Yield all rows in order, in batches."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


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

    def batches(
        self, size: int, device: "torch.device", first: int = 0, groups: ProcessGroups = SINGLE_PROCESS
    ) -> Iterator[Batch]:
        """Yield the batches of epoch after epoch, without end.

        Args:
            size: global batch size, over all processes.
            device: where batches are needed.
            first: batches to skip at the beginning, which a resumed run has had already.
            groups: each process gets its share of every batch, or a dummy sample where none is left.
        """

        def make(chosen: tuple[int, np.ndarray]) -> Batch:
            epoch, rows = chosen
            if groups.is_single_process:
                return self.take(rows, epoch, device, changed=0)
            own = rows[groups.local_slice(len(rows))]
            found = self.take(own if len(own) else rows[:1], epoch, device, changed=0)
            return replace(found, global_batch_size=len(rows), is_dummy=not len(own))

        for batch in self.dataset.imap(make, self._rows(size, first)):
            yield self._change(batch, self.transforms, device)

    def log_dropped_row(self, size: int) -> None:
        """Say that each epoch drops a row, where its last batch would have no other."""
        kept = batch_bounds(self.epoch_length, size)[-1][1]
        if kept < self.epoch_length:
            info(
                f"each epoch trains on {kept:,} of {self.epoch_length:,} rows: a last batch of one row is left out; "
                f"another training.batch_size than {size} takes them all"
            )

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
