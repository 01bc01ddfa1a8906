"""Classes that are whole numbers beyond 64 bits are labels like any others, from every source."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import danlu
from danlu.errors import DataError

WIDE = (2**70, 2**70 + 1)  # equal as floating-point numbers
UNSIGNED = (2**63, 2**64 - 1)
ROWS = 80


def rows_of(labels: tuple[int, ...]) -> dict[str, list[Any]]:
    return {"size": [row * 7 % 10 for row in range(ROWS)], "y": [labels[row * 7 % 10 > 4] for row in range(ROWS)]}


def written(folder: Path, labels: tuple[int, ...], form: str) -> Any:
    rows, path = rows_of(labels), folder / f"rows.{form}"
    if form == "memory":
        return rows
    dtype = pl.UInt64 if max(labels) < 2**64 else pl.Int128
    frame = pl.DataFrame({"size": rows["size"], "y": pl.Series(rows["y"], dtype=dtype)})
    if form == "decimal.parquet":  # what databases write
        frame = frame.with_columns(pl.col("y").cast(pl.Decimal(38, 0)))
    {
        "decimal.parquet": frame.write_parquet,
        "csv": frame.write_csv,
        "parquet": frame.write_parquet,
        "arrow": frame.write_ipc,
    }[form](path)
    return path


@pytest.mark.training
@pytest.mark.parametrize(
    ("labels", "form"),
    [
        (WIDE, "csv"),
        (WIDE, "memory"),
        (WIDE, "arrow"),
        (WIDE, "decimal.parquet"),
        (UNSIGNED, "parquet"),
        (UNSIGNED, "csv"),
    ],
)
def test_wide_classes_are_learned_and_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: tuple[int, ...], form: str
) -> None:
    monkeypatch.chdir(tmp_path)
    source = written(tmp_path, labels, form)
    data = {"target": "y", "task": "classification"}
    more = {"model": "linear", "training": {"epochs": 60}}
    if form == "memory":
        run = danlu.train({"data": data, **more}, data=source)
    else:
        run = danlu.train({"data": {**data, "source": str(source)}, **more})
    answered = danlu.load(run.path).predict(pl.DataFrame({"size": [0, 9]}))
    assert answered["prediction"].to_list() == [str(labels[0]), str(labels[1])]
    if form != "memory":
        found = danlu.evaluate(run.path, source)
        assert found is not None


def test_wide_classes_are_told_apart_before_training(tmp_path: Path) -> None:
    source = written(tmp_path, WIDE, "csv")
    found = danlu.check({"data": {"source": str(source), "target": "y"}})
    assert found["task"] == "classification" and found["rows"] == ROWS


def test_classes_too_large_for_any_column_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    rows = rows_of((2**130, 2**130 + 1))
    path.write_text("size,y\n" + "".join(f"{x},{y}\n" for x, y in zip(rows["size"], rows["y"], strict=True)))
    with pytest.raises(DataError, match="too large to learn"):
        danlu.check({"data": {"source": str(path), "target": "y"}})
    with pytest.raises(DataError, match="column 'y'"):
        danlu.check({"data": {"target": "y"}}, data=rows)
