"""How many rows each part gets, by hand, and which."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from danlu.core.seeds import Seed
from danlu.data.folds import fold_dataset
from danlu.data.splits import NEVER_TESTED, TEST, TRAIN, VALIDATION, _shuffled
from danlu.errors import DataError
from danlu.recipe.sections.data import SplitOptions
from danlu.tasks.table import get_task
from tests.support.datasets import dataset_of, split, splitter


def sizes(parts: np.ndarray) -> tuple[int, int, int]:
    train, validation, test = (int((parts == part).sum()) for part in (TRAIN, VALIDATION, TEST))
    return train, validation, test


@pytest.mark.parametrize(
    ("count", "validation", "test", "expected"),
    [
        (100, 0.15, 0.15, (70, 15, 15)),
        (100, 0.1, 0.3, (60, 10, 30)),  # which share is whose
        (10, 0.15, 0.15, (6, 2, 2)),  # 1.5 to the even number
        (10, 0.25, 0.25, (6, 2, 2)),  # 2.5 too
        (10, 0.14, 0.26, (6, 1, 3)),
        (20, 0.03, 0.03, (18, 1, 1)),  # no part is empty
        (3, 0.15, 0.15, (1, 1, 1)),
        (3, 0.1, 0.8, (1, 1, 1)),  # one row each, whatever the shares say
        (4, 0.8, 0.1, (1, 2, 1)),
        (5, 0.1, 0.85, (1, 1, 3)),
        (2, 0.4, 0.4, (2, 0, 0)),
        (1, 0.4, 0.4, (1, 0, 0)),
    ],
)
def test_sizes_are_rounded_and_no_part_is_empty(
    count: int, validation: float, test: float, expected: tuple[int, int, int]
) -> None:
    assert sizes(_shuffled(count, validation, test, np.random.default_rng(0))) == expected


def test_rows_of_a_part_are_chosen_at_random() -> None:
    parts = _shuffled(1000, 0.2, 0.2, np.random.default_rng(0))
    assert all(150 < (parts[half] == TEST).sum() * 2 < 250 for half in (slice(0, 500), slice(500, 1000)))
    assert (parts != _shuffled(1000, 0.2, 0.2, np.random.default_rng(1))).any()


def test_each_class_is_split_by_itself() -> None:
    splits = split(dataset_of(["a"] * 40 + ["b"] * 20 + ["c"] * 3), "stratified", validation=0.1, test=0.2)
    held = {name: part.frame["y"].value_counts(sort=True).rows() for name, part in splits.items()}
    assert {name: dict(rows) for name, rows in held.items()} == {
        "train": {"a": 28, "b": 14, "c": 1},
        "validation": {"a": 4, "b": 2, "c": 1},
        "test": {"a": 8, "b": 4, "c": 1},
    }


def test_a_class_of_two_rows_cannot_be_stratified() -> None:
    split(dataset_of(["a"] * 10 + ["b"] * 3), "stratified")
    with pytest.raises(DataError, match=r"class 'b' of 'y' has 2 sample\(s\)"):
        split(dataset_of(["a"] * 10 + ["b"] * 2), "stratified")


def test_numbers_are_stratified_by_tenths() -> None:
    values = [float(value) for value in range(100)]
    splits = split(dataset_of(values, "regression"), "stratified", validation=0.1, test=0.1)
    for part in (splits.validation, splits.test):
        tenths = sorted(int(value) // 10 for value in part.frame["y"].to_list())
        assert tenths == list(range(10))


@pytest.mark.parametrize(("count", "bins"), [(9, 1), (19, 1), (20, 2), (95, 9), (100, 10), (500, 10)])
def test_few_numbers_have_fewer_strata(count: int, bins: int) -> None:
    strata = get_task("regression").strata(pl.Series([float(value) for value in range(count)]), "x", 3)
    assert len(set(strata.tolist())) == bins


def test_groups_stay_whole_and_are_split_by_their_number() -> None:
    groups = [f"g{index // 5}" for index in range(100)]
    splits = split(dataset_of([0, 1] * 50, who=groups), "group", "who", validation=0.2, test=0.1)
    held = {name: set(part.frame["who"].to_list()) for name, part in splits.items()}
    assert {name: len(names) for name, names in held.items()} == {"train": 14, "validation": 4, "test": 2}
    assert not held["train"] & held["validation"] and not held["train"] & held["test"]
    assert not held["validation"] & held["test"]
    with pytest.raises(DataError, match="2 groups"):
        split(dataset_of([0, 1] * 5, who=["a", "b"] * 5), "group", "who")
    split(dataset_of([0, 1, 0] * 5, who=["a", "b", "c"] * 5), "group", "who")


def test_group_folds_are_filled_by_the_largest_first() -> None:
    who = ["a"] * 6 + ["b"] * 5 + ["c"] * 4 + ["d"] * 3 + ["e"] * 2 + ["f"]
    numbers = splitter("group", "who").fold(dataset_of([0] * 21, who=who), 3, Seed(0))
    # 6, 5, 4 begin a fold each; 3 goes to 4, 2 to 5, 1 to 6: seven rows in each.
    assert np.bincount(numbers).tolist() == [7, 7, 7]
    assert all(len(set(numbers[[row for row in range(21) if who[row] == name]])) == 1 for name in "abcdef")


def test_the_latest_rows_test_and_those_before_them_validate() -> None:
    days = [dt.date(2025, 1, 1) + dt.timedelta(days=day) for day in range(20)]
    order = np.random.default_rng(0).permutation(20)
    data = dataset_of([0] * 20, day=[days[index] for index in order])
    parts = splitter("time", "day").assign(data, 0.2, 0.1, Seed(0))
    expected = [TRAIN] * 14 + [VALIDATION] * 4 + [TEST] * 2
    assert [int(parts[list(order).index(day)]) for day in range(20)] == expected
    few = splitter("time", "day").assign(dataset_of([0] * 4, day=days[:4]), 0.01, 0.01, Seed(0))
    assert few.tolist() == [TRAIN, TRAIN, VALIDATION, TEST]


def test_folds_by_time_follow_one_another_behind_a_block_that_only_trains() -> None:
    days = [dt.date(2025, 1, 1) + dt.timedelta(days=day) for day in range(11)]
    found = splitter("time", "day").fold(dataset_of([0] * 11, day=days), 4, Seed(0))
    # Five blocks of two rows; what is left over belongs to the first, which is never tested.
    assert found.tolist() == [NEVER_TESTED] * 3 + [0, 0, 1, 1, 2, 2, 3, 3]
    with pytest.raises(DataError, match="too few for 4 folds"):
        splitter("time", "day").fold(dataset_of([0] * 4, day=days[:4]), 4, Seed(0))


def test_random_and_stratified_folds_differ_by_one_row() -> None:
    labels: list[object] = ["a"] * 7 + ["b"] * 6 + ["c"] * 4
    for name in ("random", "stratified"):
        numbers = splitter(name).fold(dataset_of(labels), 5, Seed(0))
        assert sorted(np.bincount(numbers, minlength=5).tolist()) == [3, 3, 3, 4, 4]
    by_class = [np.bincount(numbers[start:end], minlength=5) for start, end in ((0, 7), (7, 13), (13, 17))]
    assert all(counts.max() - counts.min() <= 1 for counts in by_class)


def folds_of(by: str, folds: int, column: str | None = None, validation: float = 0.2, **columns: list[object]):
    section = SplitOptions(validation=validation).model_copy(update={"by": splitter(by, column)})
    return list(fold_dataset(dataset_of([0, 1] * 50, **columns), section, folds, Seed(0)))


def test_of_the_rows_that_do_not_test_a_share_validates() -> None:
    for splits in folds_of("random", 5):
        assert (len(splits.train), len(splits.validation), len(splits.test)) == (64, 16, 20)
    for splits in folds_of("random", 4, validation=0.4):
        assert (len(splits.train), len(splits.validation), len(splits.test)) == (45, 30, 25)


def test_folds_by_time_train_on_what_came_before() -> None:
    days = [dt.date(2025, 1, 1) + dt.timedelta(days=day) for day in range(100)]
    found = folds_of("time", 4, "day", day=list(days))
    assert [len(splits.test) for splits in found] == [20] * 4
    for splits in found:
        assert splits.train.rows.max() < splits.validation.rows.min() <= splits.validation.rows.max()
        assert splits.validation.rows.max() < splits.test.rows.min()
        assert len(splits.train) + len(splits.validation) == splits.test.rows.min()


def test_as_many_folds_as_groups_and_no_more() -> None:
    who = ["a", "b", "c"] * 4
    numbers = splitter("group", "who").fold(dataset_of([0] * 12, who=who), 3, Seed(0))
    assert np.bincount(numbers).tolist() == [4, 4, 4]
    with pytest.raises(DataError, match="4 folds"):
        splitter("group", "who").fold(dataset_of([0] * 12, who=who), 4, Seed(0))


def test_all_classes_that_are_too_small_are_counted() -> None:
    with pytest.raises(DataError, match="1 more class"):
        split(dataset_of(["a"] * 10 + ["b"] * 2 + ["c"] * 2 + ["d"] * 3), "stratified")
