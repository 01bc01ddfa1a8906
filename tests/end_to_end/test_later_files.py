"""A model is asked with files that look otherwise than its training file, and the answers do not depend on that."""

from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import danlu
from danlu.artifacts.run import RunDirectory
from danlu.errors import DataError

ROWS = 120
Trained = Callable[..., RunDirectory]


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    """Trains a tree on separated values; gives the run."""

    def train(text: str, **data: Any) -> RunDirectory:
        (tmp_path / "train.csv").write_text(text)
        recipe = {"data": {"source": str(tmp_path / "train.csv"), "target": "y", **data}, "model": "tree"}
        return danlu.train(recipe, output=tmp_path / "runs", name="run")

    return train


def lines(header: str, row: Callable[[int], str], rows: int = ROWS) -> str:
    return "\n".join([header, *map(row, range(rows))]) + "\n"


def answers(run: RunDirectory, path: Path, text: str, column: str = "prediction", **options: Any) -> list[Any]:
    path.write_text(text)
    return danlu.predict(run.path, path, **options)[column].to_list()


def thirds(words: Sequence[str]) -> str:
    """A category whose first word alone says yes."""
    return lines("c,y", lambda row: f"{words[row % len(words)]},{'yes' if row % len(words) == 0 else 'no'}")


def test_words_that_meant_missing_in_training_mean_it_in_every_later_file(trained: Trained, tmp_path: Path) -> None:
    run = trained(thirds(["unk", "a", "b"]), missing_values=["", "unk"])
    found = answers(run, tmp_path / "new.csv", "c,k\nunk,1\n,1\na,1\n")
    assert found == ["yes", "yes", "no"]


@pytest.mark.parametrize(
    ("mark", "values"),
    [
        ("-999", ["20", "31"]),
        ("9999.0", ["2.5", "3.25"]),
        ("\\N", ["3", "5"]),
        ("1900-01-01", ["2024-01-02", "2024-02-03"]),
    ],
)
def test_a_mark_for_missing_is_taken_out_of_numbers_and_dates_of_any_file(
    tmp_path: Path, mark: str, values: list[str]
) -> None:
    words = [mark if row % 6 == 0 else values[row % 2] for row in range(ROWS)]
    frame = pl.read_csv(lines("x,k", lambda row: f"{words[row]},{row}").encode(), try_parse_dates=True)
    for name, write in (
        ("x.csv", frame.write_csv),
        ("x.parquet", frame.write_parquet),
        ("x.jsonl", frame.write_ndjson),
    ):
        write(tmp_path / name)
        found = danlu.check({"data": {"source": str(tmp_path / name), "target": "k", "missing_values": ["", mark]}})[
            "columns"
        ]
        (column,) = [each for each in found if each["name"] == "x"]
        assert column["missing"] == 20, name
        assert len(column["reading"]["missing_words"]) == 1, name


@pytest.mark.parametrize("mark", ["NA", " NA", "NA ", "  NA", "\tNA\t", " "])
@pytest.mark.parametrize("values", [("red", "blue"), ("1.5", "2"), ("3", "5")])
def test_white_space_around_a_missing_word_is_passed_over_in_every_format(
    tmp_path: Path, mark: str, values: tuple[str, str]
) -> None:
    words = [mark if row % 3 == 1 else values[row % 2] for row in range(ROWS)]
    frame = pl.DataFrame({"c": words, "y": ["a", "b"] * (ROWS // 2)})
    frame.write_csv(tmp_path / "c.csv", quote_style="never")
    frame.write_parquet(tmp_path / "c.parquet")
    for name in ("c.csv", "c.parquet"):
        (column,) = danlu.check({"data": {"source": str(tmp_path / name), "target": "y"}})["columns"]
        assert (column["missing"], column["unique"]) == (40, 2), name
        assert column["type"] == ("category" if values == ("red", "blue") else "number"), name
        assert column["reading"]["missing_words"] == [mark.strip()], name


def test_a_category_is_what_was_written_whatever_a_reader_makes_of_it(trained: Trained, tmp_path: Path) -> None:
    run = trained(thirds(["True", "False", "Unknown"]))
    assert answers(run, tmp_path / "three.csv", "c\nTrue\nFalse\nUnknown\n") == ["yes", "no", "no"]
    assert answers(run, tmp_path / "two.csv", "c\nTrue\nFalse\n") == ["yes", "no"]
    assert answers(run, tmp_path / "loud.csv", "c\nTRUE\nFALSE\n") == ["yes", "no"]
    pl.DataFrame({"c": [True, False, None]}).write_parquet(tmp_path / "typed.parquet")
    found = danlu.predict(run.path, tmp_path / "typed.parquet")
    assert found["prediction"].to_list()[:2] == ["yes", "no"]


def test_truth_values_may_come_as_digits_and_the_other_way_round(trained: Trained, tmp_path: Path) -> None:
    run = trained(thirds(["TRUE", "FALSE"]), columns={"c": "category"})
    assert answers(run, tmp_path / "digits.csv", "c\n1\n0\n") == ["yes", "no"]
    assert danlu.predict(run.path, {"c": [True, False]})["prediction"].to_list() == ["yes", "no"]


def test_codes_keep_their_zeros(trained: Trained, tmp_path: Path) -> None:
    run = trained(thirds(["01", "02", "A1"]))
    assert answers(run, tmp_path / "three.csv", "c\n01\n02\nA1\n") == ["yes", "no", "no"]
    assert answers(run, tmp_path / "two.csv", "c\n01\n02\n") == ["yes", "no"]


def test_whole_numbers_of_a_category_may_come_with_a_fraction_of_zero(trained: Trained, tmp_path: Path) -> None:
    run = trained(thirds(["1", "2", "3"]), columns={"c": "category"})
    assert answers(run, tmp_path / "gap.csv", "c\n1.0\n2.0\n\n3.0\n")[:2] == ["yes", "no"]
    pl.DataFrame({"c": [1.0, 2.0, None]}).write_parquet(tmp_path / "floats.parquet")
    assert danlu.predict(run.path, tmp_path / "floats.parquet")["prediction"].to_list()[:2] == ["yes", "no"]


def test_versions_that_are_equal_as_numbers_stay_apart(trained: Trained, tmp_path: Path) -> None:
    run = trained(thirds(["1.1", "1.10", "2.0"]), columns={"c": "category"})
    assert answers(run, tmp_path / "new.csv", "c\n1.1\n1.10\n") == ["yes", "no"]


def test_parts_of_a_table_are_one_table_though_one_holds_digits_alone(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a.csv").write_text(lines("c,y", lambda row: f"0{row % 2 + 1},{row % 2}", 60))
    (tmp_path / "parts" / "b.csv").write_text(lines("c,y", lambda row: f"{('01', '02', 'A1')[row % 3]},{row % 2}", 60))
    (tmp_path / "parts" / "c.csv").write_text("c,y\n")  # as Spark writes a part without rows
    found = danlu.check({"data": {"source": str(tmp_path / "parts"), "target": "y"}})
    assert found["rows"] == 120
    (column,) = found["columns"]
    assert (column["type"], column["unique"]) == ("category", 3)
    assert "leading zeros" in column["reason"]


@pytest.mark.parametrize("words", [("007", "042"), ("TRUE", "FALSE"), ("1e5", "2e5"), ("1.0", "2.0")])
def test_predicted_labels_have_the_spelling_of_the_training_file(
    trained: Trained, tmp_path: Path, words: tuple[str, str]
) -> None:
    run = trained(lines("x,y", lambda row: f"{row % 2},{words[row % 2]}"), task="classification")
    assert [str(label) for label in answers(run, tmp_path / "new.csv", "x\n0\n1\n")] == list(words)


def test_numbers_that_are_classes_only_if_asked_keep_their_zeros_too(trained: Trained, tmp_path: Path) -> None:
    run = trained(lines("x,y", lambda row: f"{row % 2},{('1.10', '1.1')[row % 2]}"), task="classification")
    assert answers(run, tmp_path / "new.csv", "x\n0\n1\n") == ["1.10", "1.1"]


def test_kept_columns_have_the_spelling_of_the_file(trained: Trained, tmp_path: Path) -> None:
    run = trained(lines("x,y", lambda row: f"{row % 2},{['no', 'yes'][row % 2]}"))
    text = "id,price,when,x\n000001,1.10,01/02/2024,0\n000002,1e5,03/02/2024,1\n"
    (tmp_path / "new.csv").write_text(text)
    found = danlu.predict(run.path, tmp_path / "new.csv", keep=["id", "price", "when"])
    assert found["id"].to_list() == ["000001", "000002"]
    assert found["price"].to_list() == ["1.10", "1e5"]
    assert found["when"].to_list() == ["01/02/2024", "03/02/2024"]
    assert found["prediction"].to_list() == ["no", "yes"]


def test_codes_whose_zeros_come_late_in_a_long_file_are_codes(tmp_path: Path) -> None:
    numbers = [f"{90000 - row * 7:05d}" for row in range(12_500)]
    assert numbers[9_999][0] != "0" and numbers[-1][0] == "0"
    (tmp_path / "long.csv").write_text(
        lines("postcode,x,y", lambda row: f"{numbers[row]},{row * 7 % 10},{row % 2}", len(numbers))
    )
    column = danlu.check({"data": {"source": str(tmp_path / "long.csv"), "target": "y"}})["columns"][0]
    assert column["type"] == "identifier"
    assert not column["used"]


WRITTEN = "space;apos;euro;unit;expo;lead;y"


def written(row: int, label: str) -> str:
    first = 1 + row % 9
    return f"{first} {100 + row};{first}'{100 + row};{row},50 €;{row}kg;1,{row % 9}E+0{row % 4};,{100 + row};{label}"


def test_numbers_as_people_write_them_are_values(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text(lines(WRITTEN, lambda row: written(row, ["no", "yes"][row % 2])))
    recipe = {"data": {"source": str(tmp_path / "w.csv"), "target": "y"}}
    found = danlu.check(recipe)["columns"]
    assert [column["type"] for column in found] == ["number"] * 6
    largest = {column["name"]: column["max"] for column in found}
    assert largest["space"] == 9216 and largest["apos"] == 9216 and largest["euro"] == 119.5
    assert largest["unit"] == 119 and largest["expo"] == 1800 and largest["lead"] == pytest.approx(0.219)
    assert found[2]["reading"]["decimal"] == ","
    assert found[0]["reading"]["grouping"] == " "


def test_a_target_with_a_decimal_comma_is_a_number(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(lines("x;y", lambda row: f"{row * 37 % 11};{row % 7},5"))
    found = danlu.check({"data": {"source": str(tmp_path / "t.csv"), "target": "y"}})
    assert found["task"] == "regression"
    assert found["target"]["max"] == 6.5


def test_a_later_file_may_write_numbers_in_another_way(trained: Trained, tmp_path: Path) -> None:
    run = trained(lines("x,z,y", lambda row: f"{row / 10},{row},{'no' if row < 60 else 'yes'}"))
    german = "x;z\n" + "".join(f"{row / 10};{row}\n".replace(".", ",") for row in (3, 59, 61, 115))
    assert answers(run, tmp_path / "german.csv", german) == ["no", "no", "yes", "yes"]
    priced = "x;z\n0,3 €;3\n6,1 €;61\n"
    assert answers(run, tmp_path / "priced.csv", priced) == ["no", "yes"]


def test_what_can_be_read_in_two_ways_is_asked_and_the_recipe_answers(tmp_path: Path) -> None:
    text = lines("d,n,y", lambda row: f'01/{row % 12 + 1:02}/{2012 + row // 12},"{row % 9 + 1},{100 + row}",{row % 2}')
    (tmp_path / "two.csv").write_text(text)
    data: dict[str, Any] = {"source": str(tmp_path / "two.csv"), "target": "y"}
    asked = danlu.check({"data": data})["questions"]
    assert [(question["code"], question["subject"]) for question in asked] == [("DL214", "d"), ("DL214", "n")]
    assert [reading["example"] for reading in asked[1]["readings"]] == ["1100", "1.1"]
    with pytest.raises(DataError, match="can be read in 2 ways"):
        danlu.train({"data": data}, output=tmp_path / "runs")
    columns = {"d": {"type": "datetime", "format": "%d/%m/%Y"}, "n": {"type": "number", "decimal": ","}}
    answered = danlu.check({"data": {**data, "columns": columns}})
    assert answered["questions"] == []
    dates, numbers = answered["columns"]
    assert (dates["first"][:10], dates["last"][:10]) == ("2012-01-01", "2021-12-01")
    assert numbers["max"] == pytest.approx(9.216)


def test_other_columns_of_the_file_tell_how_an_ambiguous_one_is_meant(tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text(lines("a;b;y", lambda row: f"{row % 9},{100 + row};{row % 9},5;{row % 2}"))
    found = danlu.check({"data": {"source": str(tmp_path / "g.csv"), "target": "y"}})
    assert found["questions"] == []
    assert found["columns"][0]["max"] == 8.216


def test_two_digit_years_are_of_this_time_and_order_the_split(tmp_path: Path) -> None:
    days = [date(1995, 1, 15) + timedelta(97 * row) for row in range(ROWS)]
    (tmp_path / "years.csv").write_text(lines("d,x,y", lambda row: f"{days[row]:%d/%m/%y},{row * 37 % 11},{row % 2}"))
    recipe = {"data": {"source": str(tmp_path / "years.csv"), "target": "y", "split": {"by": {"time": "d"}}}}
    run = danlu.train({**recipe, "model": "tree"}, output=tmp_path / "runs", name="run")
    split = pl.read_parquet(run.path / "data" / "split.parquet")
    assert split.filter(pl.col("part") == "test")["row"].to_list() == list(range(102, ROWS))


def test_dates_may_be_spelled_in_any_clear_way_later(trained: Trained, tmp_path: Path) -> None:
    start = date(2021, 1, 4)
    run = trained(lines("d,y", lambda row: f"{start + timedelta(row):%d/%m/%Y},{'no' if row < 60 else 'yes'}"))
    text = "d\n2021-01-10\n2021-04-20 00:00:00\n20-Apr-2021\n10/01/2021\n2021-04-20T00:00:00Z\n"
    assert answers(run, tmp_path / "new.csv", text) == ["no", "yes", "yes", "no", "yes"]
    pl.DataFrame({"d": [date(2021, 1, 10), date(2021, 4, 20)]}).write_parquet(tmp_path / "new.parquet")
    assert danlu.predict(run.path, tmp_path / "new.parquet")["prediction"].to_list() == ["no", "yes"]


def test_times_with_offsets_are_times(tmp_path: Path) -> None:
    start = date(2021, 1, 4)
    (tmp_path / "o.csv").write_text(
        lines("d,x,y", lambda row: f"{start + timedelta(row)} 10:00:00+00:00,{row * 37 % 11},{row % 2}")
    )
    found = danlu.check({"data": {"source": str(tmp_path / "o.csv"), "target": "y"}})["columns"][0]
    assert (found["type"], found["first"]) == ("datetime", "2021-01-04 10:00:00")


def test_what_a_recipe_says_of_a_column_is_tried_on_all_rows(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(lines("preis,y", lambda row: f"{'teuer' if row == 110 else row},{row % 2}"))
    data = {"source": str(tmp_path / "p.csv"), "target": "y", "columns": {"preis": "number"}}
    with pytest.raises(DataError, match=r"column 'preis', row 111: 'teuer' is not a number"):
        danlu.check({"data": data})


def test_words_of_a_target_that_are_read_as_missing_are_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(lines("x,y", lambda row: f"{row % 7},{('None', 'mild', 'severe')[row % 3]}"))
    with pytest.raises(
        DataError, match=r"missing in 40 of 120 rows \('None' is read as missing, by data.missing_values"
    ):
        danlu.check({"data": {"source": str(tmp_path / "t.csv"), "target": "y"}})


def test_new_writes_how_columns_are_read_and_its_recipe_checks(tmp_path: Path) -> None:
    days = [date(1995, 1, 15) + timedelta(97 * row) for row in range(ROWS)]
    (tmp_path / "w.csv").write_text(
        lines(
            "preis;seit;y",
            lambda row: f"{row % 9},{row % 10};{days[row]:%d.%m.%y};{row % 2}",
        )
    )
    text = danlu.new(str(tmp_path / "w.csv"), target="y", output=tmp_path / "r.yaml")
    recipe = (tmp_path / "r.yaml").read_text()
    assert 'preis: {type: number, decimal: ",", grouping: ""}' in recipe, text
    assert 'seit: {type: datetime, format: "%d.%m.%y"}' in recipe
    assert [column["type"] for column in danlu.check(tmp_path / "r.yaml")["columns"]] == ["number", "datetime"]


def weekly(row: int) -> str:
    return f"{date(2021, 1, 4) + timedelta(7 * row)},{row % 10},{10 + 3 * (row % 10) + (row * 7 % 5) / 10}"


@pytest.mark.parametrize("scale", ["standard", "minmax", "symmetric", "robust", "quantile", "power", "log1p", "none"])
def test_what_varies_by_rounding_alone_is_constant(tmp_path: Path, scale: str) -> None:
    (tmp_path / "weekly.csv").write_text(lines("d,x,y", weekly))
    data = {"source": str(tmp_path / "weekly.csv"), "target": "y", "scale": scale}
    recipe = {"data": data, "model": "linear", "training": {"epochs": 2}}
    run = danlu.train(recipe, output=tmp_path / "runs", name="run")
    monday, tuesday = (answers(run, tmp_path / "new.csv", f"d,x\n{day},5\n")[0] for day in ("2022-01-03", "2022-01-04"))
    assert abs(tuesday - monday) < 1.0
    names = danlu.load(run.path).preprocessor.names  # type: ignore[attr-defined]
    assert not [name for name in names if name.startswith("d week")]


def test_sums_that_differ_in_their_last_place_are_one_value(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [0.3, 0.1 + 0.2] * 60, "z": [row * 37 % 11 for row in range(120)], "y": ["a", "b"] * 60})
    frame.write_parquet(tmp_path / "x.parquet")
    run = danlu.train(
        {"data": {"source": str(tmp_path / "x.parquet"), "target": "y"}, "model": "tree"}, output=tmp_path / "runs"
    )
    assert "x" not in danlu.load(run.path).preprocessor.columns


def test_kept_columns_that_the_model_reads_keep_their_spelling_too(trained: Trained, tmp_path: Path) -> None:
    run = trained(lines("preis;y", lambda row: f"{row % 9},{row % 10};{['no', 'yes'][row % 2]}"))
    (tmp_path / "new.csv").write_text("preis;k\n1,50;1\n2,5;2\n")
    found = danlu.predict(run.path, tmp_path / "new.csv", keep=["preis"])
    assert found["preis"].to_list() == ["1,50", "2,5"]


def test_a_category_of_which_nothing_is_known_is_told(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(thirds(["red", "green", "blue"]))
    capsys.readouterr()
    assert len(answers(run, tmp_path / "new.csv", "c\nrouge\nvert\n")) == 2
    assert "column 'c': none of its 2 values, such as 'rouge', occurred in training" in capsys.readouterr().err
    answers(run, tmp_path / "new.csv", "c\nrouge\nred\n")
    assert "occurred in training" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("iso8859-2", ["Łódź", "Kraków", "Gdańsk"]),
        ("cp1250", ["Łódź", "Kraków", "Gdańsk"]),
        ("cp437", ["été", "forêt"]),
    ],
)
def test_an_encoding_that_the_recipe_names_is_that_of_later_files(
    tmp_path: Path, encoding: str, words: list[str]
) -> None:
    (tmp_path / "train.csv").write_bytes(thirds(words).encode(encoding))
    recipe = {"data": {"source": str(tmp_path / "train.csv"), "target": "y", "encoding": encoding}, "model": "tree"}
    run = danlu.train(recipe, output=tmp_path / "runs")
    for number, written in enumerate((encoding, "utf-8", "utf-16")):
        path = tmp_path / f"new{number}.csv"
        path.write_bytes(f"c\n{words[0]}\n{words[1]}\n".encode(written))
        assert danlu.predict(run.path, path)["prediction"].to_list() == ["yes", "no"], written


def test_lines_above_the_header_that_the_recipe_counts_may_stand_in_later_files(
    trained: Trained, tmp_path: Path
) -> None:
    above = "stock\nfrom,to,by\n"
    run = trained(above + thirds(["a", "b", "c"]), skip_rows=2)
    assert answers(run, tmp_path / "new.csv", above + "c\na\nb\n") == ["yes", "no"]
    assert answers(run, tmp_path / "bare.csv", "c\na\nb\n") == ["yes", "no"]


def test_whole_numbers_of_eight_digits_are_dates_whatever_their_type(trained: Trained, tmp_path: Path) -> None:
    days = [date(2021, 1, 4) + timedelta(3 * row) for row in range(ROWS)]
    text = lines("d,y", lambda row: f"{days[row]:%Y%m%d},{'yes' if row < 60 else 'no'}")
    (tmp_path / "days.csv").write_text(text)
    (column,) = danlu.check({"data": {"source": str(tmp_path / "days.csv"), "target": "y"}})["columns"]
    assert (column["type"], column["reason"]) == ("datetime", "whole numbers that are dates")
    run = trained(text)
    for written in ("20210110\n20211201", "2021-01-10\n2021-12-01", "20210110.0\n20211201.0"):
        assert answers(run, tmp_path / "new.csv", f"d\n{written}\n") == ["yes", "no"], written
    frame = pl.DataFrame({"d": [20210110.0, 20211201.0, None]})
    assert danlu.predict(run.path, frame)["prediction"].to_list()[:2] == ["yes", "no"]
    assert answers(run, tmp_path / "new.csv", "d\n20211301\n", "error") == [
        "DL211: column 'd': 20211301 is not a date like %Y%m%d"
    ]


@pytest.mark.parametrize("values", [["10203040", "20240132"], ["1900", "2024"], ["20240115.5", "20240116.5"]])
def test_other_whole_numbers_stay_numbers(tmp_path: Path, values: list[str]) -> None:
    (tmp_path / "t.csv").write_text(lines("d,y", lambda row: f"{values[row % 2]},{row % 3}"))
    (column,) = danlu.check({"data": {"source": str(tmp_path / "t.csv"), "target": "y"}})["columns"]
    assert column["type"] == "number"


@pytest.mark.parametrize("odd", ["0000-00-00", "2024-13-45", "open", "0001-01-01"])
def test_dates_with_words_that_are_none_among_them_are_no_category(tmp_path: Path, odd: str) -> None:
    days = [date(2021, 1, 4) + timedelta(row % 30) for row in range(ROWS)]
    (tmp_path / "t.csv").write_text(lines("d,y", lambda row: f"{odd if row % 12 == 7 else days[row]},{row % 3}"))
    recipe = {"data": {"source": str(tmp_path / "t.csv"), "target": "y"}}
    with pytest.raises(DataError, match=rf"column 'd' mixes dates \(91.7%\) and words \('{odd}', first in value 8\)"):
        danlu.check(recipe)
    (tmp_path / "few.csv").write_text(lines("d,y", lambda row: f"{odd if row == 59 else '2024-01-15'},{row % 3}"))
    with pytest.raises(DataError, match=rf"column 'd' mixes dates \(99.2%\) and words \('{odd}', first in value 60\)"):
        danlu.check({"data": {"source": str(tmp_path / "few.csv"), "target": "y"}})
    recipe["data"]["missing_values"] = ["", odd]  # type: ignore[assignment]
    (column,) = danlu.check(recipe)["columns"]
    assert (column["type"], column["missing"]) == ("datetime", 10)


def test_kept_numbers_beyond_64_bits_can_be_read_by_others(trained: Trained, tmp_path: Path) -> None:
    import pyarrow.parquet

    run = trained(thirds(["a", "b", "c"]))
    (tmp_path / "new.csv").write_text("id,c\n12345678901234567890123,a\n5,b\n")
    danlu.predict(run.path, tmp_path / "new.csv", keep=["id"], output=tmp_path / "out.parquet")
    found = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert found["id"].to_pylist() == ["12345678901234567890123", "5"]


def test_a_number_beyond_any_float_is_refused_by_row_and_in_training(trained: Trained, tmp_path: Path) -> None:
    text = lines("x,y", lambda row: f"{row * 37 % 11},{'yes' if row * 37 % 11 > 5 else 'no'}")
    run = trained(text)
    assert answers(run, tmp_path / "new.csv", "x\n3\n1e400\n-1e999\n8\n") == ["no", None, None, "yes"]
    assert answers(run, tmp_path / "inf.csv", "x\n3\ninf\n")[0] == "no"
    (tmp_path / "t.csv").write_text(text.replace("\n8,yes", "\n1e400,yes", 1))
    with pytest.raises(DataError, match=r"column 'x' mixes numbers \(99.2%\) and words \('1e400'"):
        danlu.check({"data": {"source": str(tmp_path / "t.csv"), "target": "y"}})


def test_several_numbers_to_predict_are_read_as_people_write_them(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        lines("x;a;b;c", lambda row: f"{row % 7};{row % 7},5;1.10{row % 7},50;{row % 7}.50")
    )
    data = {"source": str(tmp_path / "t.csv"), "target": ["a", "b", "c"]}
    run = danlu.train({"data": data, "model": "linear", "training": {"epochs": 40}}, output=tmp_path / "runs")
    (tmp_path / "new.csv").write_text("x\n3\n")
    (found,) = danlu.predict(run.path, tmp_path / "new.csv").rows(named=True)
    expected = {"prediction_a": 3.5, "prediction_b": 1103.5, "prediction_c": 3.5}
    assert found == pytest.approx(expected, abs=0.5)
    judged = danlu.evaluate(run.path, data=str(tmp_path / "t.csv"))
    (tmp_path / "plain.csv").write_text(
        lines("x,a,b,c", lambda row: f"{row % 7},{row % 7}.5,110{row % 7}.5,{row % 7}.5")
    )
    again = danlu.evaluate(run.path, data=str(tmp_path / "plain.csv"))
    assert judged["data"] == again["data"]


def test_several_targets_of_two_readings_are_asked_about(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(lines("x;a;b", lambda row: f"{row % 7};1,10{row % 7};1{row % 7}"))
    data = {"source": str(tmp_path / "t.csv"), "target": ["a", "b"], "task": "multi-output-regression"}
    assert [each["subject"] for each in danlu.check({"data": data})["questions"]] == ["a"]
    told = {**data, "columns": {"a": {"type": "number", "decimal": ",", "grouping": ""}}}
    assert danlu.check({"data": told})["questions"] == []


@pytest.mark.parametrize("other", [("True", "False"), ("true", "false"), ("1", "0"), ("1.0", "0.0"), ("TRUE", "FALSE")])
def test_answers_to_judge_a_model_on_may_be_spelled_otherwise(
    trained: Trained, tmp_path: Path, other: tuple[str, str]
) -> None:
    run = trained(lines("x,y", lambda row: f"{row % 2},{['TRUE', 'FALSE'][row % 2]}"))
    (tmp_path / "new.csv").write_text(lines("x,y", lambda row: f"{row % 2},{other[row % 2]}"))
    judged = danlu.evaluate(run.path, data=str(tmp_path / "new.csv"))
    assert judged["data"]["accuracy"]["value"] == 1.0


@pytest.mark.parametrize("typed", [False, True])
def test_days_that_are_categories_are_known_with_midnight_too(tmp_path: Path, typed: bool) -> None:
    days = [date(2024, 1, 5), date(2024, 2, 1), date(2024, 3, 1)]
    frame = pl.DataFrame({"c": [days[row % 3] for row in range(ROWS)], "y": ["yes", "no", "no"] * (ROWS // 3)})
    if typed:
        frame.with_columns(pl.col("c").cast(pl.Datetime("us"))).write_parquet(tmp_path / "t.parquet")
    else:
        frame.write_csv(tmp_path / "t.csv")
    source = str(tmp_path / ("t.parquet" if typed else "t.csv"))
    data = {"source": source, "target": "y", "columns": {"c": "category"}}
    run = danlu.train({"data": data, "model": "tree"}, output=tmp_path / "runs")
    for end in ("", " 00:00:00", "T00:00:00Z", "T00:00:00.000", " 00:00"):
        assert answers(run, tmp_path / "new.csv", f"c\n2024-01-05{end}\n2024-02-01{end}\n") == ["yes", "no"], end
    assert answers(run, tmp_path / "new.csv", "c\n2024-01-05 10:00:00\n2024-02-01\n") == ["no", "no"]
    for dtype in (pl.Date, pl.Datetime("us"), pl.Datetime("ns")):
        later = pl.DataFrame({"c": pl.Series(days[:2]).cast(dtype)})
        assert danlu.predict(run.path, later)["prediction"].to_list() == ["yes", "no"], dtype


def test_grouping_points_are_read_as_in_training_whatever_a_later_file_shows(trained: Trained, tmp_path: Path) -> None:
    run = trained(
        lines("s;p;y", lambda row: f"{1 + row % 9}.{100 + 7 * row};{row % 7},5;{'yes' if row % 9 > 3 else 'no'}")
    )
    assert answers(run, tmp_path / "alone.csv", "s;p\n1.234;3\n") == ["no"]
    assert answers(run, tmp_path / "more.csv", "s;p\n1.234;3\n9.000;3,5\n900;1\n") == ["no", "yes", "no"]
    assert answers(run, tmp_path / "other.csv", "s,p\n1234,3.5\n9000,3.5\n") == ["no", "yes"]
    (tmp_path / "one.jsonl").write_text('{"s": "9.000", "p": "3,5"}\n')
    assert danlu.predict(run.path, tmp_path / "one.jsonl")["prediction"].to_list() == ["yes"]


def test_decimal_points_are_read_as_in_training_whatever_a_later_file_shows(trained: Trained, tmp_path: Path) -> None:
    run = trained(
        lines("s,p,y", lambda row: f"{1 + row % 9}.{100 + 7 * row},{row % 7}.5,{'yes' if row % 9 > 3 else 'no'}")
    )
    assert answers(run, tmp_path / "alone.csv", "s,p\n9.234,3\n") == ["yes"]
    assert answers(run, tmp_path / "more.csv", "s,p\n1.234,3\n9.234,2.5\n") == ["no", "yes"]


def test_times_and_dates_of_typed_files_may_come_as_words_and_numbers(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "t": [time(row % 24, 30) for row in range(ROWS)],
            "d": [datetime(2020, 1, 1) + timedelta(hours=7 * row) for row in range(ROWS)],
            "e": [timedelta(minutes=row % 50) for row in range(ROWS)],
            "y": ["late" if row % 24 > 12 or row > 80 else "early" for row in range(ROWS)],
        }
    )
    frame.write_parquet(tmp_path / "train.parquet")
    recipe = {"data": {"source": str(tmp_path / "train.parquet"), "target": "y"}, "model": "tree"}
    run = danlu.train(recipe, output=tmp_path / "runs")
    rows = frame.drop("y").gather_every(5)
    expected = danlu.predict(run.path, rows)["prediction"].to_list()
    assert len(set(expected)) == 2
    pandas = rows.to_pandas()
    pandas.to_csv(tmp_path / "new.csv", index=False)
    pandas.drop(columns="e").assign(e="0 days 00:05:00").to_json(tmp_path / "new.jsonl", orient="records", lines=True)
    for name in ("new.csv", "new.jsonl"):
        answered = danlu.predict(run.path, tmp_path / name)
        assert "error" not in answered.columns, name
        assert answered["prediction"].to_list() == expected, name
    (tmp_path / "bad.csv").write_text("t,d,e\n25:61,2020-01-01,0:01:00\n08:30:00,2020-01-01,0:01:00\n")
    errors = danlu.predict(run.path, tmp_path / "bad.csv")["error"].to_list()
    assert "25:61 is not a number of seconds, or a time like 08:30:00" in errors[0]
    assert errors[1] is None


def test_durations_that_pandas_wrote_into_json_are_milliseconds(tmp_path: Path) -> None:
    took = [timedelta(seconds=30 * (row % 40)) for row in range(ROWS)]
    frame = pl.DataFrame({"e": took, "y": ["long" if each.seconds > 500 else "short" for each in took]})
    frame.write_parquet(tmp_path / "train.parquet")
    recipe = {"data": {"source": str(tmp_path / "train.parquet"), "target": "y"}, "model": "tree"}
    run = danlu.train(recipe, output=tmp_path / "runs")
    rows = frame.drop("y").gather_every(7)
    expected = frame["y"].gather_every(7).to_list()
    assert danlu.predict(run.path, rows)["prediction"].to_list() == expected
    rows.to_pandas().to_json(tmp_path / "new.json", orient="records", date_format="epoch")
    rows.to_pandas().to_json(tmp_path / "new.jsonl", orient="records", date_format="epoch", lines=True)
    rows.select(pl.col("e").dt.total_seconds()).write_ndjson(tmp_path / "seconds.jsonl")
    rows.write_ndjson(tmp_path / "polars.jsonl")
    for name in ("new.json", "new.jsonl", "seconds.jsonl", "polars.jsonl"):
        assert danlu.predict(run.path, tmp_path / name)["prediction"].to_list() == expected, name
    (tmp_path / "one.jsonl").write_text('{"e": 600}\n{"e": 0}\n{"e": 900000}\n{"e": "00:15:00"}\n')
    (tmp_path / "unclear.jsonl").write_text('{"e": 600}\n{"e": 0}\n')
    answered = danlu.predict(run.path, tmp_path / "unclear.jsonl")
    assert answered["prediction"].to_list() == [None, "short"]
    assert "600 may be seconds, or milliseconds" in answered["error"][0]


@pytest.mark.parametrize(
    "write", [lambda n: f"+49 {170 + n % 3} {100 + n} {200 + n}", lambda n: f"+49170{1000000 + n}"]
)
@pytest.mark.parametrize("distinct", [ROWS, 10])
def test_telephone_numbers_are_identifiers(tmp_path: Path, write: Callable[[int], str], distinct: int) -> None:
    text = lines("phone,x,y", lambda row: f"{write(row % distinct)},{row % 7},{'yes' if row % 2 else 'no'}")
    (tmp_path / "t.csv").write_text(text)
    pl.read_csv(tmp_path / "t.csv", infer_schema=False).write_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        column = danlu.check({"data": {"source": str(tmp_path / name), "target": "y"}})["columns"][0]
        assert (column["type"], column["used"]) == ("identifier", False), name
        assert column["reason"] == "telephone numbers", name


@pytest.mark.parametrize("word", ["1e39", "-3.5e38"])
def test_a_training_value_beyond_32_bits_is_refused_by_its_row(trained: Trained, tmp_path: Path, word: str) -> None:
    text = lines("x,y", lambda row: f"{word if row == 40 else row % 7},{'yes' if row % 7 > 3 else 'no'}")
    with pytest.raises(
        DataError, match=r"train\.csv: column 'x', row 41: .* is beyond any number of 32 bits"
    ) as caught:
        trained(text)
    assert caught.value.code == "DL211"
    run = trained(text, missing_values=[word])
    assert answers(run, tmp_path / "new.csv", f"x\n{word}\n6\n")[1] == "yes"
    (column,) = danlu.check(
        {"data": {"source": str(tmp_path / "train.csv"), "target": "y", "columns": {"x": "category"}}}
    )["columns"]
    assert column["type"] == "category"


def test_a_value_beyond_32_bits_in_a_column_that_is_not_used_is_nobodys_concern(tmp_path: Path) -> None:
    pl.DataFrame(
        {"x": [1e39, *map(float, range(ROWS - 1))], "z": range(5, ROWS + 5), "y": ["a", "b"] * (ROWS // 2)}
    ).write_parquet(tmp_path / "t.parquet")
    source = {"source": str(tmp_path / "t.parquet"), "target": "y"}
    assert danlu.check({"data": {**source, "columns": {"x": "drop"}}})["rows"] == ROWS
    with pytest.raises(DataError, match="row 1: 1e\\+39 is beyond"):
        danlu.check({"data": source})


def test_a_german_file_is_read_by_its_signs_where_only_they_give_values_as_in_training(
    trained: Trained, tmp_path: Path
) -> None:
    run = trained(lines("s,p,y", lambda row: f"{1000 + 61 * row},{row % 7}.5,{'yes' if row > 60 else 'no'}"))
    assert answers(run, tmp_path / "german.csv", "s;p\n1.234;3,5\n7.000;0,5\n") == ["no", "yes"]
    assert answers(run, tmp_path / "english.csv", 's,p\n"1,234",3.5\n"7,000",0.5\n') == ["no", "yes"]
    rows = [{"s": "1.234", "p": "3,5"}, {"s": "7.000", "p": "0,5"}]
    model = danlu.load(run.path)
    assert model.predict(rows)["prediction"].to_list() == ["no", "yes"]
    assert [model.predict(row)["prediction"].item() for row in rows] == ["no", "yes"]


def test_a_plain_file_is_read_by_its_signs_where_only_they_give_values_as_in_training(
    trained: Trained, tmp_path: Path
) -> None:
    small = trained(
        lines("s;p;y", lambda row: f"{1 + row / 30:.4f};{row % 7},5;{'yes' if row > 60 else 'no'}".replace(".", ","))
    )
    assert answers(small, tmp_path / "plain.csv", "s,p\n1.234,3.5\n4.321,0.5\n") == ["no", "yes"]


def german(number: float, digits: int = 2) -> str:
    return f"{number:,.{digits}f}".translate(str.maketrans(",.", ".,"))


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize(
    "recipe",
    [
        {"evaluation": {"folds": 3}},
        {"data": {"task": "quantile-regression"}},
        {"data": {"task": "poisson-regression"}},
        {"data": {"task": "ordinal"}},
        {"evaluation": {"intervals": "conformal"}},
        {"training": {"distill": {"teacher": "TEACHER"}}},
    ],
    ids=str,
)
def test_decimal_commas_are_read_by_every_task_and_stage(tmp_path: Path, recipe: dict[str, Any]) -> None:
    def answer(row: int) -> float:
        return float(row % 4) if recipe.get("data") else 100.0 * (row % 9) + row % 7

    (tmp_path / "german.csv").write_text(
        lines("s;p;y", lambda row: f"{german(1000 + 61 * row, 0)};{german(row % 7)};{german(answer(row))}")
    )
    (tmp_path / "plain.csv").write_text(lines("s,p,y", lambda row: f"{1000 + 61 * row},{row % 7}.0,{answer(row)}"))
    (tmp_path / "new.csv").write_text("s;p\n1.061;1,5\n7.000;0,5\n")
    (tmp_path / "new_plain.csv").write_text("s,p\n1061,1.5\n7000,0.5\n")
    found = []
    for name in ("german", "plain"):
        asked = {
            "model": "linear",
            **recipe,
            "data": {"source": str(tmp_path / f"{name}.csv"), "target": "y", **recipe.get("data", {})},
            "training": {"epochs": 2, **recipe.get("training", {})},
        }
        if "distill" in asked["training"]:
            plain = {**asked, "training": {"epochs": 2}}
            teacher = danlu.train(plain, output=tmp_path, name=f"{name}-teacher")
            asked["training"] = {"epochs": 2, "distill": {"teacher": str(teacher.path)}}
        run = danlu.run(asked, output=tmp_path, name=name)
        for file in ("new.csv", "new_plain.csv"):
            told = danlu.predict(run.path, tmp_path / file)
            classes = ["prediction"] if "probability" in told.columns else []  # words or numbers, as the file has them
            found.append(told.drop(classes).select(pl.col(pl.Float32, pl.Float64)).to_numpy().ravel())
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("t.txt", '"x" "y"\n1 "a"\n', "read as text, so rename it to .csv"),
        ("t.csv", "x c y\n1 a no\n2 b\n3 c d\n", "separated by single spaces where all rows have as many"),
    ],
)
def test_a_table_that_was_not_told_apart_is_said(tmp_path: Path, name: str, text: str, hint: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=hint):
        danlu.check({"data": {"source": str(tmp_path / name), "target": "y"}})
