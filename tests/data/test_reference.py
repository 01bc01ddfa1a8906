"""What a bundle tells of its training data: quantiles, shares and a few rows."""

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import danlu as package
from danlu.artifacts.bundle import open_bundle
from danlu.core.seeds import Seed
from danlu.data.columns import Column
from danlu.data.reference import MAX_ROWS, MAX_VALUES, describe_answers, describe_values, measured, reference_rows
from danlu.data.splits import Split


def column(name: str, column_type: str) -> Column:
    return Column(name=name, type=column_type, reason="", used=True, missing=0, unique=2)


def test_numbers_are_told_by_twenty_one_quantiles() -> None:
    found = describe_values(pl.Series("x", [None, *map(float, range(101))]), "number")
    assert found["quantiles"] == pytest.approx([5.0 * step for step in range(21)])
    assert found["missing"] == pytest.approx(1 / 102)
    assert describe_values(pl.Series("x", [float("inf"), float("nan"), 1.0]), "number")["quantiles"] == [1.0] * 21


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_quantiles_rise_from_the_least_to_the_largest(numbers: list[float]) -> None:
    found = describe_values(pl.Series("x", numbers), "number")["quantiles"]
    assert found[0] == min(numbers) and found[-1] == max(numbers)
    assert (np.diff(found) >= -1e-6).all()


def test_categories_are_told_by_their_shares() -> None:
    assert describe_values(pl.Series("c", ["b", "a", "b", None]), "category") == {
        "type": "category",
        "missing": 0.25,
        "shares": {"b": 2 / 3, "a": 1 / 3},
        "others": 0.0,
    }
    many = describe_values(pl.Series("c", [str(n) for n in range(2 * MAX_VALUES)]), "category")
    assert len(many["shares"]) == MAX_VALUES and many["others"] == pytest.approx(0.5)


def test_a_category_is_spelt_alike_whatever_it_came_as() -> None:
    assert measured(pl.Series("c", [1.0, None, 2.0]), "category").to_list() == ["1", None, "2"]
    assert measured(pl.Series("c", [1, 2]), "category").to_list() == ["1", "2"]
    assert measured(pl.Series("c", [1.5, 2.0]), "category").to_list() == ["1.5", "2"]
    assert measured(pl.Series("c", [True, False]), "category").to_list() == ["true", "false"]


def test_dates_are_seconds_and_texts_their_lengths() -> None:
    day = datetime(1970, 1, 2)
    assert measured(pl.Series("d", [day, None]), "datetime").to_list() == [86_400.0, None]
    assert measured(pl.Series("d", [day.date()]), "datetime").to_list() == [86_400.0]
    assert describe_values(pl.Series("t", ["ab", "abcd"]), "text")["quantiles"][-1] == 4.0


def test_answers_are_told_by_what_they_are() -> None:
    classes = pl.DataFrame({"prediction": [1, 1, 0, 1], "probability": [0.9] * 4, "probability_0": [0.1] * 4})
    told = describe_answers(classes, has_classes=True)
    assert told == {"rows": 4, "columns": {"prediction": {"shares": {"1": 0.75, "0": 0.25}, "others": 0.0}}}
    numbers = describe_answers(pl.DataFrame({"prediction": [0.0, 1.0], "low": [0.0, 0.0]}), has_classes=False)
    assert list(numbers["columns"]) == ["prediction"] and numbers["columns"]["prediction"]["quantiles"][10] == 0.5
    lists = describe_answers(pl.DataFrame({"prediction": [["a", "b"], ["a"], []]}), has_classes=False)
    assert lists["columns"]["prediction"]["shares"] == {"a": 2 / 3, "b": 1 / 3}


def test_rows_are_drawn_by_the_seed_and_hold_no_pictures() -> None:
    frame = pl.DataFrame({"x": range(500), "photo": ["a.png"] * 500, "raw": [b"x"] * 500})
    part, columns = Split(np.arange(100, 500), frame), [column("x", "number"), column("photo", "image")]
    rows = reference_rows(part, columns, Seed(1))
    assert rows is not None and rows.columns == ["x"] and rows.height == MAX_ROWS
    assert rows["x"].is_sorted() and rows["x"].min() >= 100 and rows["x"].n_unique() == MAX_ROWS  # type: ignore[operator]
    again, other = reference_rows(part, columns, Seed(1)), reference_rows(part, columns, Seed(2))
    assert again is not None and again.equals(rows) and other is not None and not other.equals(rows)
    assert reference_rows(part, [column("photo", "image")], Seed(1)) is None


def test_a_bundle_keeps_what_the_recipe_says(tmp_path: Path) -> None:
    base = {"data": {"source": "builtin:wine"}, "model": "linear", "training": {"epochs": 1}}
    files = {}
    for said in ("rows", "statistics", "none"):
        run = package.train({**base, "bundle": {"reference": said}}, name=said, output=tmp_path)
        bundle = open_bundle(run)
        files[said] = {name for name in bundle.manifest.files if name.startswith("reference")}
        assert (bundle.reference() is None) == (said == "none")
        assert (bundle.reference_rows() is None) == (said != "rows")
    assert files == {
        "rows": {"reference.json", "reference.parquet"},
        "statistics": {"reference.json"},
        "none": set(),
    }


@pytest.mark.training
def test_the_reference_is_of_the_training_rows(table_run: Path) -> None:
    bundle = open_bundle(table_run)
    reference, rows = bundle.reference(), bundle.reference_rows()
    split = pl.read_parquet(table_run / "data" / "split.parquet").filter(pl.col("part") == "train")
    source = json.loads((table_run / "data" / "profile.json").read_text(encoding="utf-8"))["origin"]
    train = pl.read_csv(source)[split["row"].to_list()]
    assert reference is not None and rows is not None
    assert reference["rows"] == train.height == rows.height  # fewer than 200
    alcohol, shelf = reference["columns"]["alcohol"], reference["columns"]["shelf"]
    assert (alcohol["quantiles"][0], alcohol["quantiles"][-1]) == (train["alcohol"].min(), train["alcohol"].max())
    assert alcohol["quantiles"][10] == pytest.approx(train["alcohol"].median())
    assert shelf["shares"]["red"] == pytest.approx((train["shelf"] == "red").mean())
    assert reference["columns"]["ash"]["missing"] == pytest.approx(train["ash"].null_count() / train.height)
    assert rows["alcohol"].to_list() == train["alcohol"].to_list()
    tested = pl.read_parquet(table_run / "predictions" / "test.parquet")["prediction"]
    assert reference["answers"]["rows"] == len(tested)
    shares = reference["answers"]["columns"]["prediction"]["shares"]
    assert shares == pytest.approx({name: (tested == name).mean() for name in tested.unique()})
