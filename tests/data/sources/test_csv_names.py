"""Names of columns: those of R's rows, those with blanks around them, and those that a program gave to some files."""

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

import danlu
from danlu.data.sources.in_memory import read_in_memory
from danlu.data.sources.reader import read_source
from danlu.errors import DataError

REASONS = {"row-names": "names that R gave to the rows", "added-index": "numbers that a program gave to the rows"}


def column(found: dict[str, Any], name: str) -> tuple[str, bool, str]:
    (said,) = [each for each in found["columns"] if each["name"] == name]
    return said["type"], said["used"], said["reason"]


# As R 4.4 writes them: write.table(x, sep = ","), write.table(x, sep = "\\t", quote = FALSE), and numbered rows.
R_FILES = {
    "quoted.csv": '"x","w","y"\n"Mazda RX4",1.5,"a","p"\n"Datsun 710",2,"b","q"\n"Hornet",3.5,"a, c","p"\n',
    "tabs.tsv": "x\tw\ty\nMazda RX4\t1.5\ta\tp\nDatsun 710\t2\tb\tq\nHornet\t3.5\ta, c\tp\n",
    "numbered.csv": 'x,w,y\n1,1.5,a,p\n2,2,b,q\n3,3.5,"a, c",p\n',
}


@pytest.mark.parametrize("name", R_FILES)
def test_names_of_rows_that_r_writes_are_an_identifier(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(R_FILES[name])
    read = read_source(str(tmp_path / name))
    assert read.frame.columns == ["row.names", "x", "w", "y"]
    assert read.frame["x"].to_list() == [1.5, 2.0, 3.5]
    assert read.frame["w"].to_list() == ["a", "b", "a, c"]
    assert read.added == {"row.names": "row-names"}
    found = danlu.check({"data": {"source": [str(tmp_path / name)] * 4, "target": "y"}})
    assert column(found, "row.names") == ("identifier", False, REASONS["row-names"])


@pytest.mark.parametrize(
    "text",
    [
        "text,label\ngreat food, really nice,1\nbad, slow,0\n",  # a text that is not quoted
        "a,b\n1,5,2\n3,5,4\n",  # a decimal comma
        "a,b\n1,2,3\n1,4,5\n",  # names that repeat
    ],
)
def test_values_without_a_name_are_no_names_of_rows(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=r"a\.csv:2: has 3 values, but the header has 2 columns"):
        read_source(str(tmp_path / "a.csv"))


def written(frame: pl.DataFrame, path: Path) -> Path:
    writers = {".csv": frame.write_csv, ".parquet": frame.write_parquet, ".jsonl": frame.write_ndjson}
    writers[path.suffix](path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_blanks_around_names_are_no_part_of_them(suffix: str, tmp_path: Path) -> None:
    frame = pl.DataFrame({" x": [1, 2], "w ": ["a", "b"], "\ty\t": [1.5, 2.5], "two words": [1, 1]})
    assert read_source(str(written(frame, tmp_path / f"a{suffix}"))).frame.columns == ["x", "w", "y", "two words"]
    assert read_in_memory(frame).frame.columns == ["x", "w", "y", "two words"]
    assert read_in_memory(frame.to_pandas()).frame.columns == ["x", "w", "y", "two words"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_two_names_that_become_one_are_refused_by_name(suffix: str, tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [1, 2], "x ": [3, 4]})
    said = "the column names 'x' and 'x ' are one without the blanks around them"
    with pytest.raises(DataError, match=rf"a\{suffix}: {said}"):
        read_source(str(written(frame, tmp_path / f"a{suffix}")))
    with pytest.raises(DataError, match=f"data: {said}"):
        read_in_memory(frame)


def test_of_three_names_that_become_one_two_are_named(tmp_path: Path) -> None:
    frame = pl.DataFrame({"y": [0, 0], " x": [1, 2], "x": [3, 4], "x ": [5, 6]})
    said = "the column names ' x' and 'x' are one without the blanks around them"
    for suffix in (".csv", ".parquet", ".jsonl"):
        with pytest.raises(DataError, match=rf"a\{suffix}: {said}"):
            read_source(str(written(frame, tmp_path / f"a{suffix}")))
    with pytest.raises(DataError, match=f"data: {said}"):
        read_in_memory(frame)


@pytest.mark.training
def test_a_model_is_asked_with_either_spelling(tmp_path: Path) -> None:
    rows = pl.DataFrame({"x": [n % 2 + n / 100 for n in range(60)], "w": ["ab"[n % 2] for n in range(60)]})
    rows = rows.with_columns(y=pl.Series(["no", "yes"] * 30))
    spelled = rows.rename({"x": " x", "w": "w ", "y": " y"})
    recipe = {
        "data": {"source": str(written(spelled, tmp_path / "a.csv")), "target": "y"},
        "model": "linear",
        "training": {"epochs": 2},
    }
    run = danlu.train(recipe, output=tmp_path / "runs")
    expected = danlu.predict(run, written(rows, tmp_path / "b.csv"))
    model = danlu.load(run)
    for asked in (tmp_path / "a.csv", written(spelled, tmp_path / "c.parquet")):
        assert danlu.predict(run, asked).equals(expected)
    for samples in (spelled, spelled.to_pandas(), rows, spelled.to_dicts()):
        assert model.predict(samples).equals(expected)


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_numbers_that_a_program_gave_to_the_rows_of_one_file_are_left_out(
    order: tuple[str, str], tmp_path: Path
) -> None:
    frame = pd.DataFrame({"x": [n * 7 % 5 / 2 for n in range(20)], "y": ["p", "q"] * 10})
    frame.to_csv(tmp_path / "a.csv")  # with pandas' index, whose header is blank
    frame.to_csv(tmp_path / "b.csv", index=False)
    found = danlu.check({"data": {"source": [str(tmp_path / f"{name}.csv") for name in order], "target": "y"}})
    assert (found["rows"], column(found, "x")[1]) == (40, True)
    assert column(found, "Unnamed: 0") == ("identifier", False, REASONS["added-index"])


def test_a_column_of_ones_own_in_only_one_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,extra,y\n1,5,p\n2,7,q\n")
    (tmp_path / "b.csv").write_text("x,y\n1,p\n2,q\n")
    with pytest.raises(DataError, match=r"other columns than .*: extra"):
        read_source([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")])
