"""Folds: each row tested once a round, classes shared evenly, groups whole, the future never trained on."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.core.component import components
from danlu.core.seeds import Seed
from danlu.data.descriptors import DataRequirements, RawData
from danlu.data.folds import fold_dataset
from danlu.data.interpret import interpret
from danlu.data.preprocessing import fit_preprocessor
from danlu.data.splits import Splits
from danlu.errors import DataError
from danlu.recipe.load import check_recipe
from danlu.recipe.sections.data import SplitOptions
from tests.data.test_splits import dataset

counts = st.lists(st.integers(6, 40), min_size=2, max_size=4)
seeds = st.integers(0, 2**31)


def folds_of(
    target: list[object], by: str, folds: int, seed: int = 0, repeats: int = 1, **columns: list[object]
) -> list[Splits]:
    options = {"name": by} | ({"column": next(iter(columns))} if columns else {})
    section = SplitOptions().model_copy(update={"by": components("splitter")[by].model_validate(options)})
    return list(fold_dataset(dataset(target, **columns), section, folds, Seed(seed), repeats))


@given(counts, st.integers(2, 5), seeds, st.sampled_from(["random", "stratified"]), st.integers(1, 2))
@settings(max_examples=60, deadline=None)
def test_every_row_is_tested_once_a_round(sizes: list[int], folds: int, seed: int, by: str, repeats: int) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    found = folds_of(labels, by, folds, seed, repeats)
    assert len(found) == folds * repeats
    for start in range(0, len(found), folds):
        tested = np.concatenate([splits.test.rows for splits in found[start : start + folds]])
        assert sorted(tested.tolist()) == list(range(len(labels)))
    for splits in found:
        rows = np.concatenate([part.rows for _, part in splits.items()])
        assert sorted(rows.tolist()) == list(range(len(labels)))
        assert all(len(part) for _, part in splits.items())
    again = folds_of(labels, by, folds, seed, repeats)
    assert [s.test.rows.tolist() for s in again] == [s.test.rows.tolist() for s in found]
    if repeats == 2:
        assert [s.test.rows.tolist() for s in found[:folds]] != [s.test.rows.tolist() for s in found[folds:]]


@given(counts, st.integers(2, 5), seeds)
@settings(max_examples=60, deadline=None)
def test_stratified_folds_have_the_sizes_and_classes_of_scikit_learns(sizes: list[int], folds: int, seed: int) -> None:
    from sklearn.model_selection import StratifiedKFold

    labels = np.repeat(np.arange(len(sizes)), sizes)
    mine = [
        np.bincount(labels[s.test.rows], minlength=len(sizes))
        for s in folds_of(labels.tolist(), "stratified", folds, seed)
    ]
    theirs = [
        np.bincount(labels[test], minlength=len(sizes))
        for _, test in StratifiedKFold(folds, shuffle=True, random_state=0).split(labels, labels)
    ]
    for found in (mine, theirs):
        assert (np.ptp(np.array(found), axis=0) <= 1).all()
        assert np.ptp(np.array(found).sum(axis=1)) <= 1


@pytest.mark.training
@given(st.lists(st.integers(1, 3), min_size=12, max_size=30), st.integers(2, 4), seeds)
@settings(max_examples=60, deadline=None)
def test_groups_stay_whole_and_folds_alike(sizes: list[int], folds: int, seed: int) -> None:
    from sklearn.model_selection import GroupKFold

    groups = [f"g{group}" for group, size in enumerate(sizes) for _ in range(size)]
    found = folds_of([0] * len(groups), "group", folds, seed, user=groups)
    for splits in found:
        parts = [{groups[row] for row in part.rows} for _, part in splits.items()]
        assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    tested = sorted(row for splits in found for row in splits.test.rows.tolist())
    assert tested == list(range(len(groups)))
    theirs = sorted(len(test) for _, test in GroupKFold(folds).split(groups, groups=groups))
    assert sorted(len(splits.test) for splits in found) == theirs


@given(st.integers(20, 120), st.integers(2, 5), seeds)
@settings(max_examples=60, deadline=None)
def test_folds_by_time_are_scikit_learns_and_never_train_on_the_future(rows: int, folds: int, seed: int) -> None:
    from sklearn.model_selection import TimeSeriesSplit

    times = np.random.default_rng(seed).permutation(rows)
    found = folds_of([0] * rows, "time", folds, seed, repeats=3, when=times.tolist())
    expected = [set(test.tolist()) for _, test in TimeSeriesSplit(folds).split(np.arange(rows))]
    assert [set(times[splits.test.rows].tolist()) for splits in found] == expected
    for splits in found:
        assert times[splits.train.rows].max() < times[splits.validation.rows].min()
        assert times[splits.validation.rows].max() < times[splits.test.rows].min()


def test_folds_that_cannot_be_made_are_refused() -> None:
    with pytest.raises(DataError, match="gives one split, not folds"):
        folds_of([0, 1] * 6, "column", 3, part=["train", "validation", "test"] * 4)
    with pytest.raises(DataError, match="has 2 groups, too few for 3 folds"):
        folds_of([0, 1] * 6, "group", 3, user=["a", "b"] * 6)
    with pytest.raises(DataError, match="too few for 5 folds by time"):
        folds_of([0] * 4, "time", 5, when=[1, 2, 3, 4])


def test_preparation_is_learned_anew_in_every_fold() -> None:
    frame = pl.DataFrame({"x": np.arange(60.0) ** 2, "y": ["a", "b"] * 30})
    section = check_recipe({"data": {"source": "x.csv", "target": "y"}}).data
    data = interpret(RawData(frame, "the test", Path()), section)
    split = section.split.model_copy(
        update={"by": components("splitter")["stratified"].model_validate({"name": "stratified"})}
    )
    for splits in fold_dataset(data, split, 3, Seed(0)):
        fitted = fit_preprocessor(splits.train, data, section, DataRequirements(), Seed(0))
        assert fitted.numbers[0].scaling.offset == pytest.approx(splits.train.column("x").mean())


def test_folds_by_time_cut_no_instant_in_two() -> None:
    days = [day for day, size in enumerate([1, 9, 2, 7, 5, 6, 8, 2]) for _ in range(size)]
    for splits in folds_of([0, 1] * 20, "time", 3, when=days):
        train, validation, test = (part.frame["when"] for _, part in splits.items())
        assert train.max() < validation.min() <= validation.max() < test.min()
    with pytest.raises(DataError, match="'when' has 3 instants, too few for 3 folds by time"):
        folds_of([0, 1] * 6, "time", 3, when=[1, 2, 3] * 4)
