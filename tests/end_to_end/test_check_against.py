"""`danlu check DATA --against BUNDLE`: what differs from the training data, before anyone predicts."""

import json
from pathlib import Path

import polars as pl
import pytest

import danlu as package
from danlu.artifacts.bundle import open_bundle
from danlu.errors import ArgumentError
from tests.conftest import Command
from tests.support.warm import LIGHT, program


def test_the_training_file_itself_is_no_drift(table_run: Path, table_file: Path, danlu: Command) -> None:
    done = danlu("check", table_file, "--against", table_run, "--strict", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    assert found["format"] == 1 and found["rows"] == 178 and found["bundle"] == open_bundle(table_run).manifest.digest
    assert found["missing_columns"] == [] and found["extra_columns"] == ["id"]
    assert {each["severity"] for each in found["findings"]} <= {"note"}
    assert {each["name"]: each["type"] for each in found["columns"]}["shelf"] == "category"


def test_drift_unseen_values_and_missing_columns_are_told(
    table_run: Path, table_file: Path, tmp_path: Path, danlu: Command
) -> None:
    new = pl.read_csv(table_file).drop("hue", "cultivar").with_columns(pl.col("alcohol") + 9, shelf=pl.lit("orange"))
    new.write_csv(tmp_path / "new.csv")
    done = danlu("check", tmp_path / "new.csv", "--against", table_run)
    assert done.returncode == 0
    assert "error: hue: the model reads it, and the new data does not have it" in done.stdout
    assert "warning: shelf: not one of its values is one that the training data had: orange (178)" in done.stdout
    assert "warning: alcohol: is distributed otherwise than in the training data (distance 1.00)" in done.stdout
    assert danlu("check", tmp_path / "new.csv", "--against", table_run, "--strict").returncode == 3
    told = json.loads(danlu("check", tmp_path / "new.csv", "--against", table_run, "--json").stdout)
    by_name = {each["name"]: each for each in told["columns"]}
    assert by_name["shelf"]["unseen"] == {"orange": 178} and by_name["alcohol"]["outside"]["above"] == 178
    in_memory = package.check(new, against=table_run)
    assert in_memory["findings"] == told["findings"] and "1 columns missing" in repr(in_memory)


def test_words_that_are_no_values_of_their_column(table_run: Path, table_file: Path, tmp_path: Path) -> None:
    new = pl.read_csv(table_file, infer_schema=False).with_columns(
        pl.when(pl.int_range(178) < 5).then(pl.lit("n.b.")).otherwise("alcohol").alias("alcohol"),
        pl.when(pl.int_range(178) < 8).then(pl.lit("soon")).otherwise("bottled").alias("bottled"),
        pl.when(pl.int_range(178) < 9).then(pl.lit("?")).otherwise("hue").alias("hue"),  # a usual word for missing
    )
    new.write_csv(tmp_path / "new.csv")
    found = package.check(tmp_path / "new.csv", against=table_run)
    unreadable = {each["name"]: each["unreadable"] for each in found["columns"] if each["unreadable"]}
    assert unreadable == {"alcohol": 5, "bottled": 8} and found["extra_columns"] == ["id"]
    hue = next(each for each in found["columns"] if each["name"] == "hue")
    assert hue["missing"]["value"] == pytest.approx(9 / 178)
    errors = [(each["subject"], each["message"]) for each in found["findings"] if each["severity"] == "error"]
    assert errors == [
        ("alcohol", "5 of 178 values cannot be read as the model's type, number: n.b."),
        ("bottled", "8 of 178 values cannot be read as the model's type, datetime: soon"),
    ]


def test_kinds_whose_sample_is_one_column(
    image_run: Path, image_folder: Path, text_run: Path, text_file: Path, corpus_run: Path, corpus_folder: Path
) -> None:
    for run, data in ((image_run, image_folder), (text_run, text_file), (corpus_run, f"{corpus_folder}/*.txt")):
        found = package.check(data, against=run)
        assert found["missing_columns"] == [] and len(found["columns"]) == 1
        assert [each for each in found["findings"] if each["severity"] != "note"] == []


def test_a_recipe_option_does_not_go_with_a_bundle(table_run: Path, danlu: Command) -> None:
    done = danlu("check", "builtin:wine", "--against", table_run, "--set", "seed=1")
    assert done.returncode == 2 and "remove --set" in done.stderr
    with pytest.raises(ArgumentError, match="nothing as data"):
        package.check("builtin:wine", data=[], against=table_run)
    with pytest.raises(ArgumentError, match="against=BUNDLE"):
        package.check(pl.DataFrame({"x": [1]}))


def test_it_needs_no_torch(table_run: Path) -> None:
    code = "import sys, danlu; danlu.check('builtin:wine', against=sys.argv[1]); print('torch' in sys.modules)"
    done = program(code, table_run, forks=LIGHT)
    assert done.stdout.strip() == "False", done.stderr
