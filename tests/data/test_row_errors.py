"""Rows in error: their predictions are empty, the others untouched, and they count from the whole source."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from danlu.data.row_errors import RowErrors, errors_in, without_errors
from danlu.errors import DataError

ANSWERS = pl.DataFrame(
    {"prediction": ["a", "b", "c"], "probability": [0.5, 0.7, 0.9], "prediction_set": [["a"], ["b", "c"], []]}
)


def test_rows_in_error_are_empty_and_say_why() -> None:
    errors = RowErrors()
    errors.from_row(1).from_row(1).add(0, DataError("c.png: the file is empty", code="DL230"))
    errors.add(2, DataError("a second reason", code="DL211"))
    marked = errors.mark(ANSWERS)
    assert marked.columns == [*ANSWERS.columns, "error"]
    assert marked.row(2) == (None, None, None, "DL230: c.png: the file is empty")
    assert marked.drop("error").head(2).equals(ANSWERS.head(2))
    assert errors_in(marked) == [(2, "DL230: c.png: the file is empty")]
    assert without_errors(marked).equals(ANSWERS.head(2))


def test_without_errors_there_is_no_column() -> None:
    assert RowErrors().mark(ANSWERS).equals(ANSWERS)
    assert errors_in(ANSWERS) == []
    assert without_errors(ANSWERS).equals(ANSWERS)


@given(st.sets(st.integers(0, 49)))
def test_count_order_and_the_other_rows_stay(broken: set[int]) -> None:
    answers = pl.DataFrame({"prediction": list(range(50))})
    errors = RowErrors()
    for row in broken:
        errors.from_row(row // 10 * 10).add(row % 10, DataError("no", code="DL230"))
    marked = errors.mark(answers)
    assert marked["prediction"].to_list() == [None if row in broken else row for row in range(50)]
    assert {row for row, _ in errors_in(marked)} == broken
    assert without_errors(marked)["prediction"].to_list() == [row for row in range(50) if row not in broken]
