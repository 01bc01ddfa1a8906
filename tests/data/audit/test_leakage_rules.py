"""From when on a column is said to tell the answer, groups to be torn, and splits to differ."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from danlu.core.seeds import Seed
from danlu.data.audit import drift
from danlu.data.audit.drift import _chi_squared, _kolmogorov_smirnov, drifting_columns
from danlu.data.audit.finding import AuditContext, audit_context
from danlu.data.audit.leakage import LEAKAGE_LEVEL, _balanced_accuracy, _bins, group_leakage, target_leakage
from danlu.data.descriptors import RawData
from danlu.data.interpret import interpret
from danlu.data.splits import Split, Splits, TrainSplit, evenly_spaced_rows, split_dataset
from danlu.recipe.load import check_recipe
from danlu.recipe.sections.data import SplitOptions
from tests.support.datasets import splitter

ROWS = 1000


def view_of(split: str = "random", **columns: list[object] | np.ndarray) -> AuditContext:
    """Columns beside a target `y`, split in three."""
    section = check_recipe({"data": {"source": "x", "target": "y"}}).data
    dataset = interpret(RawData(pl.DataFrame(columns), "t", Path()), section)
    by = SplitOptions(validation=0.25, test=0.25).model_copy(update={"by": splitter(split)})
    section = section.model_copy(update={"split": by, "task": dataset.task})
    return audit_context(dataset, split_dataset(dataset, by, Seed(0)), section, Seed(0))


def noisy_copy(labels: np.ndarray, wrong: float) -> np.ndarray:
    """The answer as a number, with a share of them turned round."""
    generator = np.random.default_rng(1)
    turned = generator.random(len(labels)) < wrong
    return np.where(turned, 1 - labels, labels) + generator.normal(scale=0.01, size=len(labels))


@pytest.mark.parametrize(("wrong", "suspected"), [(0.0, True), (0.003, True), (0.02, False), (0.1, False)])
def test_a_column_that_tells_99_of_100_answers_is_suspected(wrong: float, suspected: bool) -> None:
    labels = np.random.default_rng(0).integers(2, size=8 * ROWS)
    x = noisy_copy(labels, wrong)
    found = target_leakage(view_of(x=x, y=np.where(labels == 1, "yes", "no")))
    assert [finding.subject for finding in found] == (["x"] if suspected else [])
    assert LEAKAGE_LEVEL == 0.99


def test_numbers_are_told_by_rank_correlation() -> None:
    y = np.random.default_rng(0).normal(size=ROWS)
    noise = np.random.default_rng(1).normal(size=ROWS)
    found = target_leakage(view_of(same=np.exp(y), against=-(y**3), little=y + 0.05 * noise, some=y + noise, y=y))
    assert {finding.subject for finding in found} == {"same", "against", "little"}


def test_what_one_half_teaches_is_judged_on_the_other() -> None:
    bins, half = np.array([0, 0, 1, 1] * 2), np.array([True] * 4 + [False] * 4)
    classes = np.array([0, 0, 1, 1, 0, 0, 1, 0])
    assert _balanced_accuracy(bins, half, classes, 2) == pytest.approx((2 / 3 + 1) / 2)  # recalls of both classes
    assert _balanced_accuracy(bins, half, np.array([0, 0, 1, 1, 0, 0, 0, 0]), 2) == 0.0  # one class alone tells nothing


def test_values_are_put_into_fifty_bins_and_gaps_into_one() -> None:
    found = _bins(pl.Series([float(value) for value in range(1, 101)]))
    assert (found.min(), found.max(), len(set(found.tolist()))) == (1, 50, 50)
    assert _bins(pl.Series([1.0, None, 2.0])).tolist() == [25, 0, 50]
    assert _bins(pl.Series(["b", None, "a", "b"])).tolist() == [2, 0, 1, 2]


@pytest.mark.parametrize(("members", "told"), [(10, True), (2, True), (1, False)])
def test_groups_on_both_sides_of_a_split_are_told(members: int, told: bool) -> None:
    user = [f"u{index // members}" for index in range(ROWS)]
    generator = np.random.default_rng(0)
    shown = view_of(user_id=user, x=generator.normal(size=ROWS), y=["yes", "no"] * (ROWS // 2))
    assert bool(group_leakage(shown)) is told


def test_few_groups_are_no_groups() -> None:
    y = ["yes", "no"] * (ROWS // 2)
    assert not group_leakage(view_of(user_id=[f"u{index % 19}" for index in range(ROWS)], y=y))
    assert group_leakage(view_of(user_id=[f"u{index % 20}" for index in range(ROWS)], y=y))


def test_the_distance_of_distributions_is_kolmogorovs() -> None:
    one, other = pl.Series([float(value) for value in range(100)]), pl.Series([float(v) for v in range(30, 130)])
    distance, chance = _kolmogorov_smirnov(one, other)
    assert distance == pytest.approx(0.3)
    from scipy.stats import ks_2samp

    assert chance == pytest.approx(ks_2samp(one.to_numpy(), other.to_numpy(), method="asymp").pvalue, rel=0.5)
    assert _kolmogorov_smirnov(one.head(19), other) == (0.0, 1.0)  # too few to judge
    assert _kolmogorov_smirnov(one, one) == (0.0, pytest.approx(1.0))


def test_the_distance_of_shares_is_half_their_summed_difference() -> None:
    one, other = pl.Series(["a"] * 60 + ["b"] * 40), pl.Series(["a"] * 40 + ["b"] * 60)
    distance, chance = _chi_squared(one, other)
    assert distance == pytest.approx(0.2)
    from scipy.stats import chi2_contingency

    assert chance == pytest.approx(chi2_contingency([[60, 40], [40, 60]], correction=False).pvalue)
    assert _chi_squared(one, one)[0] == 0.0


def test_values_too_rare_are_counted_together() -> None:
    one = pl.Series(["a"] * 96 + ["r1", "r2", "r3", "r4"])
    other = pl.Series(["a"] * 96 + ["s1", "s2", "s3", "s4"])
    assert _chi_squared(one, other) == (0.0, pytest.approx(1.0))
    assert _chi_squared(pl.Series(["a"] * 9), pl.Series(["a"] * 9)) == (0.0, 1.0)


@pytest.mark.parametrize(("shift", "told"), [(0.0, False), (0.15, False), (1.0, True)])
def test_a_column_that_moves_is_told(shift: float, told: bool) -> None:
    generator = np.random.default_rng(0)
    shown = view_of(x=generator.normal(size=ROWS), y=["yes", "no"] * (ROWS // 2))
    test = shown.splits.test.rows
    moved = shown.dataset.frame.with_columns(
        x=pl.Series(shown.dataset.frame["x"].to_numpy() + shift * np.isin(np.arange(ROWS), test))
    )
    y = moved["y"].to_list()
    assert bool(drifting_columns(view_of(x=moved["x"].to_list(), y=y))) is told


def test_rows_are_spread_evenly() -> None:
    assert evenly_spaced_rows(5, 10).tolist() == [0, 1, 2, 3, 4]
    assert evenly_spaced_rows(5, 5).tolist() == [0, 1, 2, 3, 4]
    assert evenly_spaced_rows(101, 5).tolist() == [0, 25, 50, 75, 100]


@pytest.mark.parametrize(("shared", "told"), [(20, False), (21, True)])
def test_groups_of_more_than_a_fifth_of_the_test_rows_are_torn(shared: int, told: bool) -> None:
    """Of 100 test rows so many belong to a group that is trained on; the others have one of their own."""
    train = [f"u{index % 60}" for index in range(240)]
    test = [f"u{index % 60}" for index in range(shared)] + [f"v{index // 2}" for index in range(100 - shared)]
    frame = pl.DataFrame({"user_id": train + test, "y": ["yes", "no"] * 170})
    section = check_recipe({"data": {"source": "x", "target": "y"}}).data
    dataset = interpret(RawData(frame, "t", Path()), section)
    rows = np.arange(340)
    splits = Splits(TrainSplit(rows[:200], frame), Split(rows[200:240], frame), Split(rows[240:], frame))
    assert bool(group_leakage(audit_context(dataset, splits, section, Seed(0)))) is told


def test_a_distance_at_the_limit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    shown = view_of(x=generator.normal(size=ROWS), y=["yes", "no"] * (ROWS // 2))
    frames = {**shown.frames, "test": shown.frames["test"].with_columns(pl.col("x") + 1)}
    shown.__dict__["frames"] = frames
    distance, _ = _kolmogorov_smirnov(frames["train"]["x"], frames["test"]["x"])
    for limit, told in ((distance, True), (np.nextafter(distance, 1.0), False)):
        monkeypatch.setattr(drift, "LEAST_DISTANCE", limit)
        assert bool(drifting_columns(shown)) is told


def test_rules_at_their_limits() -> None:
    one, other = pl.Series([float(value) for value in range(20)]), pl.Series([float(v) for v in range(100, 200)])
    assert _kolmogorov_smirnov(one, other)[0] == 1.0  # twenty rows are enough
    first, second = pl.Series(["a"] * 90 + ["b"] * 10), pl.Series(["a"] * 90 + ["c"] * 10)
    assert _chi_squared(first, second)[0] == pytest.approx(0.1)  # five are expected of each: not too rare
