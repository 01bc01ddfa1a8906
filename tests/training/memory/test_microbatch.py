"""A batch in parts, and how it is told that memory ran out."""

import pytest
import torch
from torch import nn

from danlu.training.memory.microbatch import is_out_of_memory, min_microbatch_rows, split_batch
from tests.support.machines import batch_of


@pytest.mark.parametrize(
    ("rows", "parts", "least", "sizes"),
    [
        (12, 1, 1, [12]),
        (10, 2, 1, [5, 5]),
        (12, 3, 1, [4, 4, 4]),
        (10, 3, 1, [3, 3, 4]),
        (10, 4, 1, [2, 3, 2, 3]),
        (3, 8, 1, [1, 1, 1]),
        (10, 8, 2, [2, 2, 2, 2, 2]),
        (7, 8, 2, [2, 2, 3]),
        (3, 2, 2, [3]),
        (1, 4, 2, [1]),
    ],
)
def test_parts_are_of_nearly_equal_size_and_in_order(rows: int, parts: int, least: int, sizes: list[int]) -> None:
    batch = batch_of(rows)
    found = split_batch(batch, parts, least)
    assert [len(part.rows) for part in found] == sizes
    assert torch.equal(torch.cat([part.inputs["x"] for part in found]), batch.inputs["x"])
    assert torch.equal(torch.cat([part.target for part in found]), batch.target)
    assert [row for part in found for row in part.rows.tolist()] == batch.rows.tolist()


def test_a_part_may_be_a_single_row() -> None:
    assert [len(part.rows) for part in split_batch(batch_of(5), 5)] == [1] * 5
    assert len(split_batch(batch_of(5), 1)) == 1


def test_batch_norm_wants_two_rows() -> None:
    assert min_microbatch_rows(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))) == 2
    assert min_microbatch_rows(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))) == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8 bytes"), True),
        (RuntimeError("CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_which_errors_say_that_memory_ran_out(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
    outer = RuntimeError("the compiler failed")
    outer.__cause__ = error
    assert is_out_of_memory(outer) is expected
