"""What a user has is never lost to an output: no input is written over, no file unasked, none is there in part."""

import io
import json
import sys
from pathlib import Path

import polars as pl
import pytest

import danlu
from danlu.artifacts.outputs import atomic_file, refuse_input
from danlu.errors import ArgumentError
from tests.conftest import Command


@pytest.fixture
def rows(table_file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    pl.read_csv(table_file, infer_schema=False).head(20).write_csv(path)
    return path


def test_predictions_are_not_written_over_their_input(table_run: Path, rows: Path, tmp_path: Path) -> None:
    before = rows.read_bytes()
    (tmp_path / "link.csv").symlink_to(rows)
    for source in (rows, [rows], str(tmp_path / "*.csv"), tmp_path, {"train": str(rows)}):
        with pytest.raises(ArgumentError, match="is the input itself"):
            danlu.predict(table_run, source, output=tmp_path / "link.csv", overwrite=True)
    golden = table_run / "model" / "golden.parquet"
    with pytest.raises(ArgumentError, match="is the input itself"):
        danlu.predict(table_run, rows, output=golden, overwrite=True)
    assert rows.read_bytes() == before and golden.is_file()


def test_a_file_is_replaced_only_when_asked(danlu: Command, table_run: Path, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("mine")
    refused = danlu("predict", table_run, rows, "-o", out)
    assert refused.returncode == 2 and "exists already" in refused.stderr and out.read_text() == "mine"
    done = danlu("predict", table_run, rows, "-o", out, "--overwrite")
    assert done.returncode == 0 and len(out.read_text().splitlines()) == 21
    (tmp_path / "folder.csv").mkdir()
    assert danlu("predict", table_run, rows, "-o", tmp_path / "folder.csv", "--overwrite").returncode == 2


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.csv"

    def write(text: str, divisor: int) -> None:
        with atomic_file(path) as aside:
            aside.write_text(text * (1 // divisor))

    write("old", 1)
    with pytest.raises(ZeroDivisionError):
        write("half of the new", 0)
    assert [file.name for file in path.parent.iterdir()] == ["a.csv"] and path.read_text() == "old"


def test_what_is_no_file_is_no_input(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    for source in ("builtin:wine", pl.DataFrame({"a": [1]}), {"a": [1, 2]}, "x" * 5000, "a\0b", None, []):
        refuse_input(tmp_path / "a.csv", source)
    with pytest.raises(ArgumentError, match="is the input itself"):
        refuse_input(tmp_path / "a.csv", f"{tmp_path / 'a.csv'}::sheet")


def test_evaluation_of_a_file_beside_it_keeps_the_file(table_run: Path, table_file: Path, tmp_path: Path) -> None:
    source = tmp_path / "later.parquet"
    pl.read_csv(table_file, try_parse_dates=True).write_parquet(source)
    before = source.read_bytes()
    for _ in range(2):
        danlu.evaluate(table_run, source, output=tmp_path)
    assert source.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["later-2.json", "later-2.parquet", "later.parquet"]


def test_other_verbs_replace_no_file_unasked(table_run: Path, table_recipe: dict[str, object], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("mine")
    with pytest.raises(ArgumentError, match="exists already"):
        danlu.compare([table_run, table_run], html=page)
    danlu.compare([table_run, table_run], html=page, overwrite=True)
    assert "<html" in page.read_text()
    data = tmp_path / "data.csv"
    data.write_text("a,b\n" + "".join(f"{n},{n % 2}\n" for n in range(40)))
    with pytest.raises(ArgumentError, match="is the input itself"):
        danlu.new(str(data), target="b", output=data, overwrite=True)


def test_rows_come_from_standard_input_and_answers_go_to_standard_output_in_their_form(
    table_run: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from danlu.cli.predict import predict

    expected = danlu.predict(table_run, rows)
    lines = pl.read_csv(rows, infer_schema=False).write_ndjson()
    for content, output in ((rows.read_text(), None), (rows.read_text(), "-"), (lines, "-"), (lines, None)):
        for name in ("-", "/dev/stdin"):
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
            assert predict(table_run, name, output=None if output is None else Path(output)) == 0
            said = capsys.readouterr().out
            if content is lines and output == "-":
                assert [json.loads(line)["prediction"] for line in said.splitlines()] == expected[
                    "prediction"
                ].to_list()
            else:
                assert pl.read_csv(said.encode())["prediction"].to_list() == expected["prediction"].to_list()


def test_closed_or_empty_standard_input_is_told(table_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from danlu.cli.predict import predict

    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ArgumentError, match="standard input is closed"):
        predict(table_run, "-")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(danlu.DanluError):
        predict(table_run, "-")
    with pytest.raises(ArgumentError, match="name a file"):
        predict(table_run, "-", processes=2)


def test_what_a_dead_process_left_of_a_file_is_swept_by_the_next(tmp_path: Path) -> None:
    dead, alive, other = (
        tmp_path / name for name in (".a.csv.999999999.partial", ".a.csv.1.partial", ".a.csv.x.partial")
    )
    for left in (dead, alive, other):
        left.touch()
    with atomic_file(tmp_path / "a.csv") as aside:
        aside.write_text("whole")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([alive.name, other.name, "a.csv"])
