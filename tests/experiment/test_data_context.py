"""Rows that a short run takes are spread over all of them."""

import pytest

from danlu.data.splits import evenly_spaced_rows


@pytest.mark.parametrize(
    ("rows", "count", "expected"),
    [(5, 10, [0, 1, 2, 3, 4]), (10, 2, [0, 9]), (101, 5, [0, 25, 50, 75, 100]), (1, 4, [0]), (10, 1, [0])],
)
def test_positions(rows: int, count: int, expected: list[int]) -> None:
    assert evenly_spaced_rows(rows, count).tolist() == expected
