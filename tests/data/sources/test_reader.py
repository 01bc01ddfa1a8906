"""Reading: every format gives the same rows, and columns are understood, with the reason."""

from decimal import Decimal
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import danlu as package
from danlu.data.columns import infer_columns
from danlu.data.file_form import ReadOptions
from danlu.data.interpret import open_dataset
from danlu.data.sources.reader import read_source
from danlu.errors import DataError
from danlu.recipe.load import check_recipe
from danlu.recipe.sections.data import Data
from tests.conftest import Command

MISSING = ReadOptions(Data(source="x").missing_values)


@pytest.fixture
def frame() -> pl.DataFrame:
    return pl.DataFrame({"x": [1.5, 2.5, None, 4.0], "c": ["a", "b", None, "a"], "y": [0, 1, 0, 1]})


def test_every_format_gives_the_same_rows(frame: pl.DataFrame, tmp_path: Path) -> None:
    frame.write_csv(tmp_path / "a.csv")
    frame.write_csv(tmp_path / "a.tsv", separator="\t")
    frame.write_csv(tmp_path / "semicolon.csv", separator=";")
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_ipc(tmp_path / "a.arrow")
    frame.write_ipc(tmp_path / "a.feather")
    frame.write_ndjson(tmp_path / "a.jsonl")
    for file in tmp_path.iterdir():
        assert read_source(str(file), MISSING).frame.equals(frame), file


def test_lines_end_as_any_system_ends_them(frame: pl.DataFrame, tmp_path: Path) -> None:
    for name, end in (("unix.csv", "\n"), ("windows.csv", "\r\n"), ("old-mac.csv", "\r")):
        (tmp_path / name).write_bytes(frame.write_csv().replace("\n", end).encode())
        assert read_source(str(tmp_path / name), MISSING).frame.equals(frame), name


def test_compressed_tables_are_read(frame: pl.DataFrame, tmp_path: Path) -> None:
    import gzip

    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(frame.write_csv().encode()))
    assert read_source(str(tmp_path / "a.csv.gz"), MISSING).frame.equals(frame)


def test_globs_folders_and_lists_are_put_under_one_another(frame: pl.DataFrame, tmp_path: Path) -> None:
    frame[:2].write_csv(tmp_path / "1.csv")
    frame[2:].write_csv(tmp_path / "2.csv")
    for source in (str(tmp_path / "*.csv"), str(tmp_path), [str(tmp_path / "1.csv"), str(tmp_path / "2.csv")]):
        assert read_source(source, MISSING).frame.equals(frame)


def test_files_with_other_columns_are_refused(frame: pl.DataFrame, tmp_path: Path) -> None:
    frame.write_csv(tmp_path / "1.csv")
    frame.rename({"c": "d"}).write_csv(tmp_path / "2.csv")
    with pytest.raises(DataError, match=r"2\.csv: other columns than .*1\.csv: c, d"):
        read_source(str(tmp_path / "*.csv"), MISSING)


def test_words_for_missing_values_are_read_as_missing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,a\n?,b\nNA,\n-,c\n")
    found = read_source(str(tmp_path / "a.csv"), ReadOptions((*MISSING.missing_values, "-"))).frame
    assert found["x"].to_list() == [1, None, None, None]
    assert found["y"].null_count() == 1


def test_a_type_that_changes_late_in_the_file_is_seen(tmp_path: Path) -> None:
    rows = "\n".join(["x", *map(str, range(20_000)), "0.5"])
    (tmp_path / "a.csv").write_text(rows + "\n")
    assert read_source(str(tmp_path / "a.csv"), MISSING).frame["x"].dtype == pl.Float64


def test_long_text_files_are_cut_into_pieces_without_loss(tmp_path: Path) -> None:
    lines = [f"line {index} of a long story" for index in range(5_000)]
    (tmp_path / "story.txt").write_text("\n".join(lines))
    found = read_source(str(tmp_path / "story.txt"))
    assert found.frame.height > 10
    assert "\n".join(found.frame["text"]).split("\n") == lines


def columns(**values: list[object]) -> dict[str, tuple[str, bool]]:
    frame = pl.DataFrame(values, strict=False)
    return {column.name: (column.type, column.used) for column in infer_columns(frame, {}, "the test")[0]}


def test_types_are_inferred() -> None:
    count = 40
    found = columns(
        amount=[index * 1.5 for index in range(count)],
        written=[f" {index}.5" for index in range(count)],
        plan=["free", "paid"] * 20,
        active=[True, False] * 20,
        day=[f"2024-01-{1 + index % 28:02}" for index in range(count)],
        note=[f"the customer said {index} things about us" for index in range(count)],
        中文=[f"这家酒店的服务非常好，房间也很干净，下次还会再来第{index}次" for index in range(count)],
        photo=[f"img/{index}.jpg" for index in range(count)],
        customer=[f"C-{index:05}" for index in range(count)],
        row=list(range(count)),
        order_id=[9000 - 7 * index for index in range(count)],
        constant=[1] * count,
        empty=[None] * count,
    )
    assert found == {
        "amount": ("number", True),
        "written": ("number", True),
        "plan": ("category", True),
        "active": ("category", True),
        "day": ("datetime", True),
        "note": ("text", True),
        "中文": ("text", True),
        "photo": ("image", True),
        "customer": ("identifier", False),
        "row": ("identifier", False),
        "order_id": ("identifier", False),
        "constant": ("category", False),
        "empty": ("category", False),
    }


def test_texts_that_stand_there_twice_are_texts() -> None:
    reviews = [f"这家酒店的第{i}个房间非常干净，服务员也很热情" for i in range(1500)]
    ((column,), _) = infer_columns(pl.DataFrame({"review": reviews * 3}), {}, "the test")
    assert column.type == "text"


def test_a_word_for_missing_may_follow_a_space(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("c,y\na, ?\n?, b\n")
    assert read_source(str(tmp_path / "a.csv"), MISSING).frame.null_count().row(0) == (1, 1)


@pytest.mark.parametrize("place", [3, 15_000], ids=["early", "late"])
def test_words_for_missing_values_are_so_wherever_they_first_occur(tmp_path: Path, place: int) -> None:
    lines = [f"{row}.5,{'ab'[row % 2]}" for row in range(20_000)]
    lines[place], lines[place + 1] = "N/A,a", "2.5, ?"
    (tmp_path / "a.csv").write_text("\n".join(["x,c", *lines]))
    frame = read_source(str(tmp_path / "a.csv"), MISSING).frame
    assert frame.schema == {"x": pl.Float64, "c": pl.String}
    assert [frame[name].is_null().arg_true().to_list() for name in ("x", "c")] == [[place], [place + 1]]


def test_every_type_comes_with_its_reason() -> None:
    found, _ = infer_columns(pl.DataFrame({"plan": ["free", "paid"] * 5, "x": [0.5] * 10}), {}, "the test")
    assert [column.reason for column in found] == ["2 different words", "the same value in every row"]


def test_the_recipe_has_the_last_word(tmp_path: Path) -> None:
    frame = pl.DataFrame({"zip": [10115, 20095] * 20, "x": [0.1 * i for i in range(40)], "y": ["a", "b"] * 20})
    frame.write_csv(tmp_path / "a.csv")
    section = {"source": str(tmp_path / "a.csv"), "target": "y", "columns": {"zip": "category", "x": "drop"}}
    dataset = open_dataset(check_recipe({"data": section}).data)
    assert [(column.name, column.type, column.used) for column in dataset.columns] == [
        ("zip", "category", True),
        ("x", "identifier", False),
    ]


def test_nested_values_are_refused_with_the_cure(tmp_path: Path) -> None:
    pl.DataFrame({"tags": [["a"], ["b"]] * 10, "y": ["a", "b"] * 10}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"'tags' holds nested values.*data\.columns: \{tags: drop\}"):
        package.check({"data": {"source": str(tmp_path / "a.parquet"), "target": "y"}})


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b"] * 30, "classification"),
        ([True, False] * 30, "classification"),
        ([0, 1, 2] * 20, "classification"),
        ([1.0, 2.0] * 30, "classification"),
        (list(range(60)), "regression"),
        ([0.5 * i for i in range(60)], "regression"),
    ],
)
def test_the_task_is_inferred_from_the_target(values: list[object], task: str, tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [i % 7 * 0.1 for i in range(60)], "y": values})
    frame.write_parquet(tmp_path / "a.parquet")
    assert package.check({"data": {"source": str(tmp_path / "a.parquet"), "target": "y"}})["task"] == task


def test_an_image_column_makes_an_image_set(image_folder: Path, tmp_path: Path) -> None:
    files = sorted(image_folder.rglob("*.png"))[:40]
    frame = pl.DataFrame({"file": [str(f.relative_to(image_folder)) for f in files], "y": ["a", "b"] * 20})
    frame.write_csv(image_folder / "labels.csv")
    found = package.check({"data": {"source": str(image_folder / "labels.csv"), "target": "y"}})
    (image_folder / "labels.csv").unlink()
    assert (found["kind"], found["columns"][0]["type"]) == ("image", "image")


def test_the_audit_finds_shared_rows_and_columns_that_tell(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"x": [float(i % 20) for i in range(200)], "refund": ["no", "yes"] * 100, "y": ["kept", "left"] * 100}
    )
    frame.write_csv(tmp_path / "a.csv")
    findings = package.check({"data": {"source": str(tmp_path / "a.csv"), "target": "y"}})["findings"]
    assert {finding["subject"] for finding in findings} == {"duplicates", "refund", "x"}
    assert any("30 of 30 test rows also stand in the training split" in finding["message"] for finding in findings)


@pytest.mark.parametrize("name", ["count", "len", "name", "prediction", "label", "row", "literal"])
def test_columns_may_have_any_name(name: str, tmp_path: Path) -> None:
    words = pl.DataFrame({name: ["u", "v", "w"] * 40, "other": ["a", "b"] * 60})
    words.write_csv(tmp_path / "a.csv")
    for target in words.columns:
        checked = package.check({"data": {"source": str(tmp_path / "a.csv"), "target": target}})
        assert {target, checked["columns"][0]["name"]} == set(words.columns)


def test_a_target_of_decimals_is_a_quantity(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [0.5, 1.5] * 30, "y": [Decimal(i) / 4 for i in range(60)]})
    frame.write_parquet(tmp_path / "a.parquet")
    opened = open_dataset(Data(source=str(tmp_path / "a.parquet"), target="y"))
    assert opened.task.name == "regression"
    assert opened.frame["y"].to_list() == [i / 4 for i in range(60)]


def test_numbers_too_large_for_bins_and_not_a_number_are_counted(tmp_path: Path) -> None:
    huge, gaps = [2.0**64 + 4096 * (i % 3) for i in range(60)], [float("nan"), 1.0, 2.0] * 20
    frame = pl.DataFrame({"huge": huge, "gaps": gaps, "y": ["a", "b"] * 30})
    frame.write_parquet(tmp_path / "a.parquet")
    huge_, gaps_ = package.check({"data": {"source": str(tmp_path / "a.parquet"), "target": "y"}})["columns"]
    assert sum(huge_["histogram"]) == 60
    assert gaps_["missing"] == 20


def test_check_shows_what_was_found(table_file: Path, tmp_path: Path, danlu: Command) -> None:
    (tmp_path / "r.yaml").write_text(f"data: {{source: '{table_file}', target: cultivar}}\n")
    done = danlu("check", tmp_path / "r.yaml")
    assert done.returncode == 0
    assert "178 rows of tabular data; train 124, validation 27, test 27" in done.stdout
    assert "a different word in every row" in done.stdout
    assert "the recipe is right" in done.stdout


@pytest.mark.parametrize("fixture", ["table_file", "image_folder", "text_file", "corpus_folder"])
def test_a_new_recipe_is_right_and_commented(
    fixture: str, request: pytest.FixtureRequest, tmp_path: Path, danlu: Command
) -> None:
    source = request.getfixturevalue(fixture)
    target = {"table_file": ["--target", "cultivar"], "text_file": ["--target", "era"]}.get(fixture, [])
    done = danlu("new", source, *target, "-o", tmp_path / "new.yaml")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "new.yaml").read_text()
    assert "# columns: overrides what was found" in text
    assert danlu("check", tmp_path / "new.yaml").returncode == 0
    again = danlu("new", source, *target, "-o", tmp_path / "new.yaml")
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_a_new_recipe_needs_a_target_for_a_table(table_file: Path, danlu: Command) -> None:
    done = danlu("new", table_file)
    assert done.returncode == 3
    assert "say which column to predict with data.target" in done.stderr
    assert "cultivar" in done.stderr


@pytest.mark.parametrize(
    ("name", "load", "named"),
    [("breast-cancer", "load_breast_cancer", True), ("wine", "load_wine", True), ("diabetes", "load_diabetes", False)],
)
def test_built_in_tables_are_scikit_learns(name: str, load: str, named: bool) -> None:
    import sklearn.datasets

    bunch = getattr(sklearn.datasets, load)(**({} if named else {"scaled": False}))
    source = read_source(f"builtin:{name}")
    frame = source.frame
    assert frame.columns[:-1] == list(bunch.feature_names)
    np.testing.assert_allclose(frame[:, :-1].to_numpy(), bunch.data)
    answers = [bunch.target_names[code] for code in bunch.target] if named else bunch.target
    assert frame[source.target].to_list() == list(answers)


def test_built_in_digits_are_scikit_learns() -> None:
    import sklearn.datasets
    from PIL import Image

    bunch = sklearn.datasets.load_digits()
    frame = read_source("builtin:digits").frame
    assert frame["digit"].to_list() == bunch.target.tolist()
    pixels = np.asarray(Image.open(BytesIO(frame["image"][1234]))) * (16 / 255)
    np.testing.assert_allclose(pixels, bunch.images[1234], atol=0.05)


def test_files_with_the_same_columns_in_another_order_are_one_table(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,x\n")
    (tmp_path / "2.csv").write_text("b,a\ny,2\n")
    assert read_source(str(tmp_path)).frame.rows() == [(1, "x"), (2, "y")]
