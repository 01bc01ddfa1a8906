"""Codes of categories and their target's mean, by hand."""

import numpy as np
import polars as pl
import pytest

from danlu.core.seeds import Seed
from danlu.data.tabular.categories import (
    MISSING,
    OTHER,
    CategoryState,
    OneHotState,
    TargetEncoding,
    TargetState,
    TargetValues,
    normalize_spelling,
)

WORDS = ["b", "b", "a", "a", "a", "c", None]


def test_frequent_values_have_codes_from_2_on() -> None:
    state = CategoryState.fit(pl.Series("x", WORDS), rare=2, merged=False)
    assert state.values == ("a", "b") and state.size == 4 and (MISSING, OTHER) == (0, 1)
    assert state.names == ("missing", "other", "a", "b")
    assert state.codes(pl.DataFrame({"x": ["a", "b", "c", "z", None]})).tolist() == [2, 3, 1, 1, 0]


@pytest.mark.parametrize(("rare", "values"), [(1, ("a", "b", "c")), (2, ("a", "b")), (3, ("a",)), (4, ())])
def test_rare_values_share_one_code(rare: int, values: tuple[str, ...]) -> None:
    assert CategoryState.fit(pl.Series("x", WORDS), rare, merged=False).values == values


def test_of_many_values_the_most_frequent_are_kept() -> None:
    assert CategoryState.fit(pl.Series("x", WORDS), 1, merged=False, most=2).values == ("a", "b")
    tied = pl.Series("x", ["c", "c", "b", "b", "a", "a"])
    assert CategoryState.fit(tied, 1, merged=False, most=2).values == ("a", "b")  # the earlier in the alphabet


def test_spelling_is_folded_where_asked() -> None:
    words = pl.Series("x", [" New  York", "new york ", "NEW\tYORK", "Rome"])
    assert normalize_spelling(words).to_list() == ["new york"] * 3 + ["rome"]
    assert CategoryState.fit(words, 2, merged=True).values == ("new york",)
    assert CategoryState.fit(words, 2, merged=False).values == ()


def test_one_hot_has_a_column_a_code() -> None:
    state = OneHotState(category=CategoryState.fit(pl.Series("x", WORDS), 2, merged=False))
    assert state.names == ("x=missing", "x=other", "x=a", "x=b")
    assert state.apply(pl.DataFrame({"x": ["b", None]}), None).tolist() == [[0, 0, 0, 1], [1, 0, 0, 0]]


def encoded(smoothing: float | str, values: list[float], words: list[str], continuous: bool = True) -> TargetState:
    category = CategoryState.fit(pl.Series("x", words), 1, merged=False)
    options = TargetEncoding(folds=2, smoothing=smoothing)  # type: ignore[arg-type]
    answers = TargetValues(np.array(values), continuous, Seed(0))
    return TargetState.fit(category, options, pl.DataFrame({"x": words}), answers)


def test_means_are_shrunk_towards_the_mean_of_all() -> None:
    # a: (1 + 3) / 2 = 2; b: 8; all: 4. Smoothing 2 counts the mean of all twice.
    plain = encoded(0.0, [1.0, 3.0, 8.0], ["a", "a", "b"])
    assert plain.table.array[2:, 0].tolist() == pytest.approx([2.0, 8.0])
    shrunk = encoded(2.0, [1.0, 3.0, 8.0], ["a", "a", "b"])
    assert shrunk.table.array[2:, 0].tolist() == pytest.approx([(4 + 8) / 4, (8 + 8) / 3])
    assert shrunk.table.array[:2, 0].tolist() == pytest.approx([4.0, 4.0])  # missing and unseen: the mean of all


def test_training_rows_do_not_see_their_own_answer() -> None:
    """Each row has a value of its own, and as answer something nobody else has: other folds know only the mean."""
    words = [f"w{index}" for index in range(40)]
    values = [float(index) for index in range(40)]
    state = encoded(0.0, values, words)
    frame, answers = pl.DataFrame({"x": words}), TargetValues(np.array(values), True, Seed(0))
    fitted = state.apply(frame, answers)[:, 0]
    applied = state.apply(frame, None)[:, 0]
    assert len(set(np.round(fitted, 4).tolist())) == 2  # the mean of either half
    assert np.corrcoef(applied, values)[0, 1] > 0.999
    assert abs(np.corrcoef(fitted, values)[0, 1]) < 0.9


def test_classes_have_a_column_each_where_there_are_three() -> None:
    words = ["a", "b"] * 6
    two = encoded(0.0, [0, 1] * 6, words, continuous=False)
    assert two.names == ("x target",) and two.table.array[2:, 0].tolist() == pytest.approx([0.0, 1.0])
    three = encoded(0.0, [0, 1, 2] * 4, words, continuous=False)
    assert three.names == ("x target 0", "x target 1", "x target 2")
    assert three.table.array[2:].sum(axis=1).tolist() == pytest.approx([1.0, 1.0])
