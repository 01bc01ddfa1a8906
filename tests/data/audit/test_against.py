"""New rows beside what a bundle tells of its training data."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from danlu.data.audit.against import _chance_beyond, _distance_at_quantiles, compare_with_training
from danlu.data.descriptors import RawData
from danlu.data.file_form import MISSING_WORDS
from danlu.data.reading.later import read_as_trained
from danlu.data.reading.reading import Reading
from danlu.data.reference import QUANTILES, describe_values

TYPES = {"x": "number", "c": "category", "d": "datetime", "t": "text"}


def training(rows: int = 400) -> pl.DataFrame:
    generator = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "x": generator.normal(size=rows),
            "c": [("a", "b")[index % 2] for index in range(rows)],
            "d": [f"{index % 28 + 1:02}/01/2024" for index in range(rows)],
            "t": ["word " * (index % 7 + 1) for index in range(rows)],
        }
    )


def compared(new: pl.DataFrame, train: pl.DataFrame | None = None, target: tuple[str, ...] = ("y",)) -> dict[str, Any]:
    train = training() if train is None else train
    readings = {"x": Reading(), "d": Reading(format="%d/%m/%Y")}
    columns = [
        {"name": name, "type": TYPES[name], **({"reading": readings[name]} if name in readings else {})}
        for name in train.columns
    ]
    known, read = (read_as_trained(RawData(frame, "new.csv", Path()), columns, MISSING_WORDS) for frame in (train, new))
    described = {name: describe_values(known.frame[name], TYPES[name]) for name in train.columns}
    return compare_with_training(read, new, columns, target, {"rows": train.height, "columns": described})


def keys(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(each["severity"], each["subject"], each["key"]) for each in found["findings"]]


def entry(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(dict(each) for each in found["columns"] if each["name"] == name)


def test_rows_like_those_of_training_raise_nothing() -> None:
    found = compared(training().sample(100, seed=1))
    assert found["findings"] == [] and found["rows"] == 100
    assert entry(found, "c")["unseen"] == {} and entry(found, "x")["outside"]["above"] == 0


def test_columns_that_are_missing_or_more() -> None:
    found = compared(training().drop("c").with_columns(y=pl.lit(1), z=pl.lit(2)))
    assert found["missing_columns"] == ["c"] and found["extra_columns"] == ["z"]
    assert keys(found) == [("error", "c", "absent-column"), ("note", "other columns", "extra-columns")]


def test_unseen_categories_are_counted() -> None:
    new = training(30).with_columns(pl.when(pl.int_range(30) < 3).then(pl.lit("new")).otherwise("c").alias("c"))
    found = compared(new)
    assert entry(found, "c")["unseen"] == {"new": 3} and entry(found, "c")["unseen_rows"] == 3
    assert ("warning", "c", "unseen-values") in keys(found)
    assert "3 of 30 rows" in found["findings"][0]["message"] and "new (3)" in found["findings"][0]["message"]
    assert ("warning", "c", "nothing-seen") in keys(compared(training(30).with_columns(c=pl.lit("q"))))


def test_a_category_is_known_by_what_it_means() -> None:
    train = pl.DataFrame({"c": ["1", "2", "3"] * 20})
    assert keys(compared(pl.DataFrame({"c": [1.0, 2.0, 3.0] * 10}), train)) == []
    truth = pl.DataFrame({"c": ["True", "False"] * 30})
    assert keys(compared(pl.DataFrame({"c": [True, False] * 15}), truth)) == []
    assert entry(compared(pl.DataFrame({"c": ["TRUE", "maybe"]}), truth), "c")["unseen"] == {"maybe": 1}


def test_values_outside_the_range_of_training() -> None:
    train = pl.DataFrame({"x": [float(value) for value in range(101)]})
    found = entry(compared(pl.DataFrame({"x": [-1.0, 50.0, 101.0, 103.0]}), train), "x")
    assert found["outside"] == {"below": 1, "above": 2, "low": 0.0, "high": 100.0}
    assert keys(compared(pl.DataFrame({"x": [50.0, 101.0]}), train)) == [("note", "x", "outside-range")]
    assert keys(compared(pl.DataFrame({"x": [50.0, 201.0]}), train)) == [("warning", "x", "outside-range")]
    days = compared(training(10).with_columns(d=pl.lit("01/01/2030")))
    assert entry(days, "d")["outside"] == {
        "below": 0,
        "above": 10,
        "low": "2024-01-01 00:00:00",
        "high": "2024-01-28 00:00:00",
    }
    assert ("warning", "d", "outside-range") in keys(days)


def test_values_that_cannot_be_read() -> None:
    new = training(10).with_columns(x=pl.Series(["1.5", "n", "2", *["0"] * 7]), d=pl.lit("soon"))
    found = compared(new)
    assert entry(found, "x")["unreadable"] == 1 and entry(found, "d")["unreadable"] == 10
    assert [each for each in keys(found) if each[0] == "error"] == [
        *(("error", "x", "unreadable-values"), ("error", "d", "unreadable-values"))
    ]


@pytest.mark.parametrize(("gaps", "told"), [(0, False), (9, False), (10, True), (60, True), (100, True)])
def test_more_gaps_than_in_training(gaps: int, told: bool) -> None:
    new = training(100).with_columns(pl.when(pl.int_range(100) < gaps).then(None).otherwise("x").alias("x"))
    found = compared(new)
    assert entry(found, "x")["missing"] == {"value": gaps / 100, "reference": 0.0}
    assert (("warning", "x", "more-gaps") in keys(found)) is told


@pytest.mark.parametrize(("shift", "told"), [(0.0, False), (0.1, False), (1.0, True)])
def test_numbers_that_move_are_told(shift: float, told: bool) -> None:
    found = compared(training().with_columns(pl.col("x") + shift))
    assert (("warning", "x", "drifted") in keys(found)) is told
    if shift:
        exact = ks_2samp(training()["x"].to_numpy(), training()["x"].to_numpy() + shift).statistic
        assert exact - 0.05 <= entry(found, "x")["drift"]["distance"] <= exact + 1e-9


def test_shares_that_move_are_told() -> None:
    found = compared(training(100).with_columns(c=pl.Series(["a"] * 90 + ["b"] * 10)))
    assert entry(found, "c")["drift"]["distance"] == pytest.approx(0.4)
    assert ("warning", "c", "drifted") in keys(found)
    assert entry(compared(training(19)), "c")["drift"] is None  # too few to judge


def test_without_a_reference_only_columns_are_compared() -> None:
    source = RawData(training(), "n", Path())
    found = compare_with_training(source, source.frame, [{"name": "q", "type": "number"}], (), None)
    assert found["columns"] == [] and found["missing_columns"] == ["q"]
    assert {key for _, _, key in keys(found)} == {"absent-column", "extra-columns", "no-reference"}


@given(st.integers(0, 10_000), st.integers(20, 80), st.integers(1, 80))
def test_the_distance_at_quantiles_is_not_above_the_exact_one(seed: int, trained: int, rows: int) -> None:
    generator = np.random.default_rng(seed)
    one, other = (generator.integers(0, 10, size=size).astype(np.float64) for size in (trained, rows))
    found = _distance_at_quantiles(np.quantile(one, QUANTILES), np.sort(other))
    assert found <= ks_2samp(one, other, method="asymp").statistic + 1 / trained  # interpolation moves a rank at most


def test_the_chance_that_new_rows_exceed_all_of_training() -> None:
    assert _chance_beyond(0, 10, 100) == 1.0
    assert _chance_beyond(1, 1, 99) == pytest.approx(0.01)
    assert _chance_beyond(2, 2, 2) == pytest.approx(2 / 4 * 1 / 3)
