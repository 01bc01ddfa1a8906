"""Which rows each batch takes, by hand."""

import numpy as np
import pytest
import torch

from danlu.core.seeds import Seed
from danlu.data.loader import TrainLoader, batch_bounds, number_repeats, shuffled_order
from tests.support.machines import feed_of, rows_of_classes


@pytest.mark.parametrize(
    ("count", "size", "bounds"),
    [
        (64, 32, [(0, 32), (32, 64)]),
        (65, 32, [(0, 32), (32, 64)]),  # a last batch of one row is left out
        (66, 32, [(0, 32), (32, 64), (64, 66)]),
        (33, 32, [(0, 32)]),
        (31, 32, [(0, 31)]),  # short batches stay
        (2, 32, [(0, 2)]),
        (1, 32, [(0, 1)]),  # a single row is all there is
        (3, 1, [(0, 1), (1, 2), (2, 3)]),  # batches of one are wanted
        (5, 2, [(0, 2), (2, 4)]),
        (6, 2, [(0, 2), (2, 4), (4, 6)]),
        (7, 3, [(0, 3), (3, 6)]),
        (0, 3, []),
    ],
)
def test_where_batches_begin_and_end(count: int, size: int, bounds: list[tuple[int, int]]) -> None:
    assert batch_bounds(count, size) == bounds


def test_a_row_that_no_epoch_takes_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    loader = feed_of(65)
    for size in (32, 33, 65, 1):
        loader.log_dropped_row(size)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("each epoch trains on 64 of 65 rows: a last batch of one row is left out")
    assert "another training.batch_size than 32" in line


def test_an_order_is_a_permutation_by_seed_and_epoch() -> None:
    order = shuffled_order(20, Seed(5))
    expected = np.random.default_rng(Seed(5).derive("order", 3).value).permutation(20)
    assert order(3).tolist() == expected.tolist()


def test_repetitions_have_numbers_of_their_own() -> None:
    assert number_repeats(np.array([2, 0, 2, 2, 1, 0]), 3).tolist() == [2, 0, 5, 8, 1, 3]
    assert number_repeats(np.array([1, 0]), 3).tolist() == [1, 0]
    assert number_repeats(np.array([0, 0, 0]), 10).tolist() == [0, 10, 20]


def some(feed: TrainLoader, size: int, count: int, first: int = 0) -> list[tuple[int, list[int]]]:
    batches = feed.batches(size, torch.device("cpu"), first)
    return [(batch.epoch, batch.rows.tolist()) for batch, _ in zip(batches, range(count), strict=False)]


def test_batches_of_epoch_after_epoch() -> None:
    feed = feed_of(7, seed=2)
    order = shuffled_order(7, Seed(2))
    expected = [(epoch, order(epoch)[start : start + 3].tolist()) for epoch in range(3) for start in (0, 3)]
    assert some(feed, 3, 6) == expected  # the seventh row of each order is left out


@pytest.mark.parametrize("first", range(1, 6))
def test_batches_that_a_run_has_had_are_left_out(first: int) -> None:
    feed = feed_of(8, seed=2)
    assert some(feed, 3, 4, first) == some(feed, 3, 4 + first)[first:]


def test_a_batch_holds_its_rows() -> None:
    examples = rows_of_classes(7)
    batch = next(feed_of(7).batches(3, torch.device("cpu")))
    whole, target = examples.take(np.arange(7), torch.device("cpu"))
    assert target is not None
    assert torch.equal(batch.inputs["x"], whole["x"][batch.rows]) and torch.equal(batch.target, target[batch.rows])
    assert batch.samples == 3 and batch.epoch == 0
