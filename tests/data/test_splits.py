"""Splits: disjoint, complete, stratified, the same for the same seed, and true to groups and time."""

import itertools
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.core.component import components
from danlu.core.seeds import Seed
from danlu.data.dataset import Dataset
from danlu.data.kinds.table import get_kind
from danlu.data.splits import Splits, TrainSplit, split_dataset
from danlu.errors import DataError
from danlu.recipe.sections.data import SplitOptions
from danlu.tasks.table import get_task


def dataset(target: list[object], task: str = "classification", **columns: list[object]) -> Dataset:
    frame = pl.DataFrame({"y": target, **columns})
    return Dataset(frame, (), get_kind("tabular"), get_task(task), "", "y", "the test", Path())


def split(data: Dataset, by: str, column: str | None = None, seed: int = 0, validation=0.15, test=0.15) -> Splits:
    options = {"name": by} if column is None else {"name": by, "column": column}
    splitter = components("splitter")[by].model_validate(options)
    return split_dataset(
        data, SplitOptions(validation=validation, test=test).model_copy(update={"by": splitter}), Seed(seed)
    )


def rows(splits: Splits) -> list[list[int]]:
    return [part.rows.tolist() for _, part in splits.items()]


counts = st.lists(st.integers(3, 60), min_size=2, max_size=6)
fractions = st.sampled_from([0.1, 0.15, 0.2, 0.3])
seeds = st.integers(0, 2**31)


@given(counts, fractions, fractions, seeds, st.sampled_from(["random", "stratified"]))
@settings(max_examples=100, deadline=None)
def test_parts_are_disjoint_and_complete(sizes: list[int], validation: float, test: float, seed: int, by: str) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    parts = rows(split(dataset(labels), by, seed=seed, validation=validation, test=test))
    assert sorted(row for part in parts for row in part) == list(range(len(labels)))
    assert all(parts)


@given(counts, fractions, seeds, st.sampled_from(["random", "stratified", "group", "time"]))
@settings(max_examples=100, deadline=None)
def test_without_a_test_fraction_every_row_trains_or_validates(
    sizes: list[int], validation: float, seed: int, by: str
) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    data = dataset(labels, who=[row % 5 for row in range(len(labels))])
    splits = split(data, by, "who" if by in ("group", "time") else None, seed, validation, test=0.0)
    assert len(splits.test) == 0
    assert sorted([*splits.train.rows, *splits.validation.rows]) == list(range(len(labels)))
    if by == "stratified":
        for label, size in enumerate(sizes):
            assert abs(splits.validation.frame["y"].to_list().count(label) - max(1, size * validation)) <= 1


def test_without_a_test_fraction_small_classes_train_first() -> None:
    splits = split(dataset(["a"] * 8 + ["b"] * 2 + ["c"]), "stratified", test=0.0)
    assert splits.train.frame["y"].to_list().count("b") == splits.validation.frame["y"].to_list().count("b") == 1
    assert "c" in splits.train.frame["y"].to_list()
    with pytest.raises(DataError, match="leaves no rows for validation"):
        split(dataset(["a", "b", "c"]), "stratified", test=0.0)


def test_without_a_test_fraction_labels_are_shared_out_between_two_parts() -> None:
    labels = ['["x"]', '["x", "y"]', '["y"]', "[]"] * 10
    splits = split(dataset(list(labels), "multi-label"), "stratified", validation=0.25, test=0.0)
    assert len(splits.test) == 0 and len(splits.validation) == 10


@given(counts, fractions, seeds)
@settings(max_examples=100, deadline=None)
def test_a_stratified_split_keeps_the_share_of_every_class(sizes: list[int], fraction: float, seed: int) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    splits = split(dataset(labels), "stratified", seed=seed, validation=fraction, test=fraction)
    for label, size in enumerate(sizes):
        for part in (splits.validation, splits.test):
            held = part.frame["y"].to_list().count(label)
            assert held >= 1
            assert abs(held - size * fraction) <= 1
        assert splits.train.frame["y"].to_list().count(label) >= 1


@given(st.integers(20, 300), seeds)
@settings(max_examples=50, deadline=None)
def test_a_stratified_split_of_numbers_covers_their_range(count: int, seed: int) -> None:
    values = np.random.default_rng(seed).lognormal(size=count).tolist()
    splits = split(dataset(values, "regression"), "stratified", seed=seed)
    median = float(np.median(values))
    below = sum(value < median for value in splits.train.frame["y"].to_list()) / len(splits.train.rows)
    assert 0.35 < below < 0.65


@given(counts, seeds, st.sampled_from(["random", "stratified"]))
@settings(max_examples=50, deadline=None)
def test_the_same_seed_gives_the_same_split(sizes: list[int], seed: int, by: str) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    assert rows(split(dataset(labels), by, seed=seed)) == rows(split(dataset(labels), by, seed=seed))


def test_another_seed_gives_another_split() -> None:
    data = dataset(["a", "b"] * 100)
    assert rows(split(data, "random", seed=1)) != rows(split(data, "random", seed=2))


@given(st.lists(st.integers(0, 8), min_size=30, max_size=100).filter(lambda g: len(set(g)) >= 3), seeds)
@settings(max_examples=50, deadline=None)
def test_a_group_stays_in_one_part(groups: list[int], seed: int) -> None:
    splits = split(dataset(list(range(len(groups))), user=groups), "group", "user", seed)
    members = [set(part.frame["user"].to_list()) for _, part in splits.items()]
    assert not (members[0] & members[1] or members[0] & members[2] or members[1] & members[2])


def test_a_split_by_time_tests_on_the_latest_rows() -> None:
    times = np.random.default_rng(0).permutation(100).tolist()
    splits = split(dataset(["a", "b"] * 50, when=times), "time", "when")
    train, validation, test = (part.frame["when"] for _, part in splits.items())
    assert train.max() < validation.min() <= validation.max() < test.min()
    assert (len(validation), len(test)) == (15, 15)


def test_a_given_split_is_taken_as_it_is() -> None:
    words = ["train", "Valid", "test", "train", "dev", "test "]
    splits = split(dataset([1, 2, 3, 4, 5, 6], part=words), "column", "part")
    assert rows(splits) == [[0, 3], [1, 4], [2, 5]]


def test_a_given_split_with_another_word_is_refused() -> None:
    with pytest.raises(DataError, match="'holdout'; allowed: train"):
        split(dataset([1, 2, 3], part=["train", "test", "holdout"]), "column", "part")


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(DataError, match="leaves no rows for validation"):
        split(dataset(["a", "b"]), "random")


def test_the_training_part_has_a_type_of_its_own() -> None:
    splits = split(dataset(["a", "b"] * 20), "random")
    assert isinstance(splits.train, TrainSplit)
    assert not isinstance(splits.validation, TrainSplit)
    assert not isinstance(splits.test, TrainSplit)


def test_a_split_by_time_cuts_no_instant_in_two() -> None:
    days = [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4 + [5] * 4
    splits = split(dataset(["a", "b"] * 10, when=days), "time", "when", validation=0.15, test=0.25)
    # 5 test rows are asked for: one day is nearer than two. 3 validation rows: one day, not none.
    assert [part.frame["when"].unique().sort().to_list() for _, part in splits.items()] == [[1, 2, 3], [4], [5]]


def test_the_cut_falls_where_the_share_is_nearest() -> None:
    days = [1] * 50 + [2] * 30 + [3] * 12 + [4] * 8
    splits = split(dataset(["a", "b"] * 50, when=days), "time", "when", validation=0.3, test=0.15)
    # 15 are asked for: 20 rows are nearer than 8.
    assert [len(part) for _, part in splits.items()] == [50, 30, 20]


@given(
    st.lists(st.integers(0, 12), min_size=8, max_size=80).filter(lambda days: len(set(days)) >= 3),
    fractions,
    st.sampled_from([0.0, 0.1, 0.15, 0.3]),
)
@settings(max_examples=100, deadline=None)
def test_every_instant_is_on_one_side_and_later_ones_are_never_earlier(
    days: list[int], validation: float, test: float
) -> None:
    splits = split(dataset(list(range(len(days))), when=days), "time", "when", validation=validation, test=test)
    parts = [part.frame["when"] for _, part in splits.items() if len(part)]
    assert len(parts) == (3 if test else 2)
    for earlier, later in itertools.pairwise(parts):
        assert earlier.max() < later.min()  # type: ignore[operator]


def test_too_few_instants_are_refused() -> None:
    with pytest.raises(DataError, match="'when' has 2 instants; a split needs at least 3"):
        split(dataset(["a", "b"] * 10, when=[1, 2] * 10), "time", "when")


def test_a_split_by_time_refuses_numbers_that_are_none() -> None:
    with pytest.raises(DataError, match="'when' is missing in 1 rows"):
        split(dataset(["a", "b"] * 2, when=[1.0, 2.0, float("nan"), 4.0]), "time", "when")


@pytest.mark.parametrize("absent", [None, float("nan")])
def test_rows_without_a_group_are_groups_of_their_own(absent: float | None) -> None:
    groups = [absent if row % 2 else float(row // 4) for row in range(200)]
    splits = split(dataset([0, 1] * 100, who=groups), "group", "who")
    lone = [sum(int(row) % 2 for row in part.rows) for _, part in splits.items()]
    assert all(10 <= count <= 80 for count in lone)  # not one part alone
    assert [len(part) for _, part in splits.items()] == pytest.approx([140, 30, 30], abs=10)
    numbers = components("splitter")["group"].model_validate({"name": "group", "column": "who"})
    folds = numbers.fold(dataset([0, 1] * 100, who=groups), 5, Seed(0))  # type: ignore[attr-defined]
    assert np.bincount(folds).tolist() == [40] * 5


def test_an_empty_word_that_is_not_missing_is_a_group() -> None:
    splits = split(dataset([0, 1] * 20, who=["", "a", "b", "c"] * 10), "group", "who")
    assert sum("" in part.frame["who"].to_list() for _, part in splits.items()) == 1
