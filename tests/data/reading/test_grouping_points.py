"""`1.234` is 1234 where its file surely has decimal commas, and 1.234 where nothing says so; `1,234` likewise."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from danlu.data.dataset import Dataset
from danlu.data.interpret import open_dataset
from danlu.recipe.sections.data import Data

ROWS = 40
GERMAN = [f"{1 + row % 9}.{100 + 7 * row}" if row % 3 else str(row + 1) for row in range(ROWS)]
ENGLISH = [word.replace(".", ",") for word in GERMAN]
COMMAS = [f"{row % 9},{row % 10}" for row in range(ROWS)]
POINTS = [word.replace(",", ".") for word in COMMAS]
WHOLE = [str(row % 9) for row in range(ROWS)]
LABELS = ["yes" if row % 2 else "no" for row in range(ROWS)]
WRITERS: dict[str, Callable[[pl.DataFrame, Path], None]] = {
    "csv": lambda frame, path: frame.write_csv(path, separator=";"),
    "parquet": lambda frame, path: frame.write_parquet(path),
    "jsonl": lambda frame, path: frame.write_ndjson(path),
}


def grouped(sales: list[str]) -> list[float]:
    return [float(word.replace(".", "").replace(",", "")) for word in sales]


def options_of(dataset: Dataset, name: str) -> dict[str, str]:
    (column,) = [column for column in dataset.columns if column.name == name]
    return column.reading.options


def read(folder: Path, rows: dict[str, list[str]], suffix: str = "csv", **data: Any) -> Dataset:
    path = folder / f"rows.{suffix}"
    WRITERS[suffix](pl.DataFrame(rows), path)
    return open_dataset(Data.model_validate({"source": str(path), "target": "y", **data}))


@pytest.mark.parametrize("suffix", WRITERS)
def test_points_group_digits_beside_decimal_commas(tmp_path: Path, suffix: str) -> None:
    dataset = read(tmp_path, {"sales": GERMAN, "price": COMMAS, "y": LABELS}, suffix)
    assert dataset.frame["sales"].to_list() == grouped(GERMAN)
    assert not dataset.questions
    assert options_of(dataset, "sales") == {"decimal": ",", "grouping": "."}


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("beside", [POINTS, WHOLE, LABELS], ids=["points", "whole numbers", "words"])
def test_points_are_decimal_where_no_column_has_a_decimal_comma(tmp_path: Path, suffix: str, beside: list[str]) -> None:
    dataset = read(tmp_path, {"sales": GERMAN, "price": beside, "y": LABELS}, suffix)
    assert dataset.frame["sales"].to_list() == list(map(float, GERMAN))
    assert not dataset.questions
    assert options_of(dataset, "sales") == {}


def test_commas_group_digits_beside_decimal_points(tmp_path: Path) -> None:
    dataset = read(tmp_path, {"sales": ENGLISH, "price": POINTS, "y": LABELS})
    assert dataset.frame["sales"].to_list() == grouped(ENGLISH)
    assert not dataset.questions


def test_commas_are_asked_about_where_no_column_tells(tmp_path: Path) -> None:
    dataset = read(tmp_path, {"sales": ENGLISH, "price": WHOLE, "y": LABELS})
    assert [question.subject for question in dataset.questions] == ["sales"]


@pytest.mark.parametrize(
    ("beside", "words", "values"),
    [
        (COMMAS, GERMAN, grouped(GERMAN)),
        (POINTS, GERMAN, list(map(float, GERMAN))),
        (WHOLE, GERMAN, list(map(float, GERMAN))),
        (POINTS, ENGLISH, grouped(ENGLISH)),
    ],
    ids=["german", "plain", "alone", "english"],
)
def test_a_target_is_read_by_what_the_other_columns_show(
    tmp_path: Path, beside: list[str], words: list[str], values: list[float]
) -> None:
    dataset = read(tmp_path, {"x": beside, "y": words})
    assert dataset.frame["y"].to_list() == values
    several = read(tmp_path, {"x": beside, "y": words, "z": words}, target=["y", "z"])
    assert list(map(json.loads, several.frame[str(several.target)])) == [{"y": value, "z": value} for value in values]


@pytest.mark.parametrize("target", ["y", ["y", "z"]])
def test_a_target_tells_how_the_other_columns_are_read(tmp_path: Path, target: str | list[str]) -> None:
    dataset = read(tmp_path, {"sales": GERMAN, "y": COMMAS, "z": GERMAN}, target=target)
    assert dataset.frame["sales"].to_list() == grouped(GERMAN)


def test_the_recipe_settles_what_a_point_is(tmp_path: Path) -> None:
    says: dict[str, Any] = {"columns": {"sales": {"type": "number", "decimal": ","}}}
    assert read(tmp_path, {"sales": GERMAN, "y": LABELS}, **says).frame["sales"].to_list() == grouped(GERMAN)
    says = {"columns": {"sales": {"type": "number", "decimal": "."}}}
    dataset = read(tmp_path, {"sales": GERMAN, "price": COMMAS, "y": LABELS}, **says)
    assert dataset.frame["sales"].to_list() == list(map(float, GERMAN))


def test_points_that_cannot_group_digits_are_decimal(tmp_path: Path) -> None:
    for odd in ("0.500", "12.5", "1234", "1.2345"):
        words = [odd, *GERMAN[1:]]
        dataset = read(tmp_path, {"sales": words, "price": COMMAS, "y": LABELS})
        assert dataset.frame["sales"].to_list() == list(map(float, words)), odd


def test_rows_far_down_decide_as_the_first_do(tmp_path: Path) -> None:
    count = 10_500
    german = ["7"] * (count - 2) + ["1.234", "2.000"]
    labels, prices = (LABELS * count)[:count], (COMMAS * count)[:count]
    dataset = read(tmp_path, {"sales": german, "price": prices, "y": labels})
    assert dataset.frame["sales"].to_list()[-3:] == [7.0, 1234.0, 2000.0]
