"""Columns that a program adds are told from those of the user's own, and no model is given them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import danlu
from danlu.data.added_columns import added_by_program, counts_rows, is_geometry
from danlu.data.interpret import open_dataset
from danlu.data.messages import REASONS
from danlu.recipe.sections.data import Data

INDEX = REASONS["added-index"]


def column(name: str, source: Path | str, **options: Any) -> Any:
    dataset = open_dataset(Data(source=str(source), target="y", **options))
    return next(each for each in dataset.columns if each.name == name)


def table(rows: int = 60) -> Any:
    import pandas as pd

    generator = np.random.default_rng(0)
    return pd.DataFrame({"x": generator.normal(size=rows), "y": np.repeat(["a", "b"], rows // 2)})


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "Unnamed: 3", "__index_level_0__", "_c0", "rowid", "index"])
@pytest.mark.parametrize("form", ["counts", "stacked", "shuffled", "drawn"])
def test_numbers_of_rows_under_a_programs_name(name: str, form: str) -> None:
    generator = np.random.default_rng(1)
    numbers = {
        "counts": np.arange(1, 41),
        "stacked": np.concatenate([np.arange(40), np.arange(30)]),
        "shuffled": generator.permutation(40),
        "drawn": generator.choice(1000, 40, replace=False),
    }[form]
    assert added_by_program(name, pl.Series(name, numbers)) == "added-index"
    assert added_by_program(name, pl.Series(name, numbers.astype(float))) == "added-index"


@pytest.mark.parametrize("name", ["X", "V1", "S.No", "SN", "Sr. No.", "serial", "serial_number"])
def test_names_of_a_persons_own_need_all_numbers(name: str) -> None:
    numbers = np.random.default_rng(1).permutation(40) + 1
    assert added_by_program(name, pl.Series(name, numbers)) == "added-index"
    assert added_by_program(name, pl.Series(name, numbers * 2)) is None
    assert added_by_program(name, pl.Series(name, np.repeat(numbers, 2))) is None
    assert added_by_program(name.lower() + "2", pl.Series(name, numbers)) is None


@pytest.mark.parametrize("name", ["age", "level", "x2", "indexed", "row_length", "c", "note"])
def test_other_names_are_the_users(name: str) -> None:
    assert added_by_program(name, pl.Series(name, range(40))) is None


def test_features_under_a_programs_name_stay() -> None:
    generator = np.random.default_rng(2)
    for values in (generator.integers(0, 9, 400), generator.integers(-50, 50, 400), np.arange(-5, 35)):
        assert added_by_program("_c0", pl.Series("_c0", values)) is None
    assert added_by_program("_c0", pl.Series("_c0", generator.normal(size=40))) is None
    assert added_by_program("index", pl.Series("index", [f"w{i}" for i in range(40)])) is None
    assert added_by_program("Unnamed: 0", pl.Series("Unnamed: 0", ["a", "b"] * 20)) is None


@given(st.lists(st.integers(10, 60), min_size=1, max_size=5), st.integers(0, 1), st.randoms())
def test_parts_that_count_their_own_rows(lengths: list[int], first: int, random: Any) -> None:
    numbers = [first + at for length in lengths for at in range(length)]
    random.shuffle(numbers)
    assert counts_rows(pl.Series(numbers))


def test_an_index_of_pandas_is_found_by_the_footer(tmp_path: Path) -> None:
    frame = table().sample(frac=1, random_state=0)
    frame.to_parquet(tmp_path / "a.parquet")
    found = column("__index_level_0__", tmp_path / "a.parquet")
    assert (found.type, found.used, found.reason) == ("identifier", False, INDEX)
    frame.rename_axis("customer").to_parquet(tmp_path / "b.parquet")
    found = column("customer", tmp_path / "b.parquet")
    assert (found.type, found.used, found.reason) == ("identifier", False, INDEX)
    assert column("customer", tmp_path / "b.parquet", columns={"customer": "number"}).used


def test_an_index_of_days_is_a_feature(tmp_path: Path) -> None:
    import pandas as pd

    frame = table().set_index(pd.date_range("2024-01-01", periods=60, name="day"))
    frame.to_parquet(tmp_path / "a.parquet")
    assert (column("day", tmp_path / "a.parquet").type, column("day", tmp_path / "a.parquet").used) == (
        "datetime",
        True,
    )


def test_an_index_in_csv_parts_of_pandas(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pl.from_pandas(table()).with_row_index("Unnamed: 0").write_csv(tmp_path / f"{name}.csv")
    found = column("Unnamed: 0", tmp_path)
    assert (found.type, found.used, found.reason) == ("identifier", False, INDEX)


def test_geometries_are_left_out(tmp_path: Path) -> None:
    import struct

    import pyarrow as pa
    import pyarrow.parquet as pq

    points = [struct.pack("<BIdd", 1, 1, float(at), 2.0) for at in range(60)]
    box = pa.array([{"xmin": 0.0, "xmax": 1.0}] * 60)
    written = pa.Table.from_pandas(table()).append_column("place", pa.array(points)).append_column("box", box)
    geo = '{"version": "1.1.0", "primary_column": "place", "columns": {"place": {"encoding": "WKB", "covering": '
    geo += '{"bbox": {"xmin": ["box", "xmin"], "xmax": ["box", "xmax"]}}}}}'
    pq.write_table(written.replace_schema_metadata({"geo": geo}), tmp_path / "a.parquet")
    for name in ("place", "box"):
        found = column(name, tmp_path / "a.parquet")
        assert (found.type, found.used, found.reason) == ("identifier", False, REASONS["geometry"])
    assert column("place", tmp_path / "a.parquet").missing == 0
    pq.write_table(written.drop(["box"]).replace_schema_metadata({}), tmp_path / "b.parquet")
    assert column("place", tmp_path / "b.parquet").reason == REASONS["geometry"]


def test_geometries_of_duckdb(tmp_path: Path) -> None:
    assert is_geometry(pl.Series([bytes.fromhex("0101000000000000000000F03F0000000000000040"), None]))
    assert is_geometry(pl.Series([bytes.fromhex("0101000020E6100000000000000000F03F0000000000000040")]))  # EWKB
    assert not is_geometry(pl.Series([b"\x89PNG\r\n\x1a\n" + b"\0" * 20]))
    assert not is_geometry(pl.Series([bytes(range(16))]))


@pytest.mark.training
def test_rows_sorted_by_class_before_they_were_numbered_give_nothing_away(tmp_path: Path) -> None:
    table(400).sample(frac=1, random_state=0).to_parquet(tmp_path / "a.parquet")
    recipe = {
        "data": {"source": str(tmp_path / "a.parquet"), "target": "y"},
        "model": "linear",
        "training": {"epochs": 20},
        "evaluation": {"resamples": 100, "slices": False, "baselines": False},
    }
    run = danlu.run(recipe, output=tmp_path / "runs")
    value = json.loads((run.path / "evaluation.json").read_text())["test"]["accuracy"]["value"]
    assert 0.3 < value < 0.7


@pytest.mark.parametrize("name", ["x", "X", "v1", "count"])
def test_numbers_that_repeat_under_a_name_of_ones_own_are_a_feature(name: str) -> None:
    numbers = pl.Series(name, [float(row % 13) for row in range(60)])
    assert added_by_program(name, numbers) is None
