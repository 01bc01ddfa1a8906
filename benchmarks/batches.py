"""Shuffled batches of a table a second: danlu's feed beside torch's DataLoader, all in one run on one machine.

    python benchmarks/batches.py

DataLoader stands in its usual form, with workers, and in the form that its documentation gives for datasets that take
a list of rows at once (`sampler=BatchSampler(...), batch_size=None`). All of them go over the same tensors in an order
of their own each epoch, on the CPU, without pinning, and leave out no row. Whole epochs are
timed, in turns and after an epoch that starts the workers; the median epoch counts.
"""

import statistics
import time
from collections.abc import Callable, Iterable

import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from danlu.core.seeds import Seed
from danlu.data.loader import PreparedDataset, TensorColumn, TrainLoader, batch_bounds, shuffled_order

ROWS, COLUMNS = 100_000, 20
SIZES = (64, 256, 1024)
WORKERS = 2
ROUNDS = 5

Epoch = Callable[[], Iterable[object]]


def ways(size: int) -> dict[str, Epoch]:
    """Each way's name, and what gives one epoch of its batches."""
    numbers = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(0))
    answers = torch.randint(0, 2, (ROWS,), generator=torch.Generator().manual_seed(1))
    dataset = TensorDataset(numbers, answers)
    whole = BatchSampler(RandomSampler(dataset), size, drop_last=False)
    usual = DataLoader(dataset, batch_size=size, shuffle=True)
    workers = DataLoader(dataset, batch_size=size, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    by_batch = DataLoader(dataset, sampler=whole, batch_size=None)
    feed = TrainLoader(
        PreparedDataset((TensorColumn("numeric", numbers),), answers), shuffled_order(ROWS, Seed(0)), ROWS
    )
    batches = feed.batches(size, torch.device("cpu"))
    count = len(batch_bounds(ROWS, size))
    return {
        "danlu": lambda: (next(batches) for _ in range(count)),
        "DataLoader": lambda: usual,
        f"DataLoader, {WORKERS} workers": lambda: workers,
        "DataLoader, lists of rows": lambda: by_batch,
        "a loop by hand": lambda: by_hand(numbers, answers, size),
    }


def by_hand(numbers: torch.Tensor, answers: torch.Tensor, size: int) -> Iterable[object]:
    """The least that shuffled batches cost: no epochs to resume, no rows to know, no device."""
    for rows in torch.split(torch.randperm(len(numbers)), size):
        yield numbers.index_select(0, rows), answers.index_select(0, rows)


def rate(epoch: Epoch) -> float:
    """Batches a second over one epoch."""
    started = time.perf_counter()
    taken = sum(1 for _ in epoch())
    return taken / (time.perf_counter() - started)


def compare_batches() -> None:
    """Print batches a second of each way, and how many times as many danlu gives."""
    print(f"torch {torch.__version__}, {ROWS:,} rows of {COLUMNS} float32 and a class; median of {ROUNDS} epochs")
    print(f"{'batch size':>10}  {'way':<28} {'batches/s':>12} {'danlu is':>10}")
    for size in SIZES:
        rivals = ways(size)
        rates: dict[str, list[float]] = {name: [] for name in rivals}
        for epoch in rivals.values():
            rate(epoch)  # starts the workers and warms the caches
        for _ in range(ROUNDS):
            for name, epoch in rivals.items():
                rates[name].append(rate(epoch))
        found = {name: statistics.median(values) for name, values in rates.items()}
        for name, value in found.items():
            print(f"{size:>10}  {name:<28} {value:>12,.0f} {found['danlu'] / value:>9.1f}x", flush=True)


if __name__ == "__main__":
    compare_batches()
