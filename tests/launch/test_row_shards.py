"""Which rows of a source each of several processes answers."""

from pathlib import Path

import polars as pl
import pytest

from danlu.core.distributed.env import DistEnv
from danlu.data.descriptors import RawData
from danlu.launch import row_shards
from danlu.launch.row_shards import RowShards


def shares_of(rows: int, size: int, rank: int, monkeypatch: pytest.MonkeyPatch) -> RowShards:
    world = DistEnv(rank=rank, world_size=size, local_rank=rank, local_world_size=size)
    monkeypatch.setattr(row_shards, "dist_env", lambda: world)
    return RowShards.split(rows)


@pytest.mark.parametrize(
    ("rows", "size", "bounds"),
    [
        (10, 1, ((0, 10),)),
        (10, 2, ((0, 5), (5, 10))),
        (10, 3, ((0, 3), (3, 6), (6, 10))),
        (2, 3, ((0, 1), (1, 2))),  # no more shares than rows
        (0, 3, ((0, 0),)),
        (7, 4, ((0, 1), (1, 3), (3, 5), (5, 7))),
    ],
)
def test_bounds(rows: int, size: int, bounds: tuple[tuple[int, int], ...], monkeypatch: pytest.MonkeyPatch) -> None:
    assert shares_of(rows, size, 0, monkeypatch).bounds == bounds


@pytest.mark.parametrize(("rank", "expected"), [(0, [0, 1, 2]), (1, [3, 4, 5]), (2, [6, 7, 8, 9])])
def test_each_process_has_its_rows(rank: int, expected: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    source = RawData(pl.DataFrame({"x": range(10)}), "t", Path())
    assert shares_of(10, 3, rank, monkeypatch).local_rows(source).frame["x"].to_list() == expected


def test_a_process_without_rows_answers_the_first_and_a_lone_one_all(monkeypatch: pytest.MonkeyPatch) -> None:
    source = RawData(pl.DataFrame({"x": [7, 8]}), "t", Path())
    assert shares_of(2, 4, 3, monkeypatch).local_rows(source).frame["x"].to_list() == [7]
    assert shares_of(2, 1, 0, monkeypatch).local_rows(source) is source
