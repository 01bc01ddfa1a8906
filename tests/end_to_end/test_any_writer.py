"""The same rows are answered alike, whichever program wrote them and however it writes numbers, dates and gaps."""

import csv
import io
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import danlu

ROWS = 240
COLOURS = ["红", "绿色", "蓝"]
CODES = ["01", "02", "A1"]
START = date(2021, 1, 4)
EXAMPLES = 25  # files for each of eight models

MODELS: dict[str, tuple[str, Any]] = {
    "linear classes": ("label", {"model": "linear", "training": {"epochs": 2}}),
    "linear numbers": ("price", {"model": "linear", "training": {"epochs": 2}}),
    "mlp classes": ("label", {"model": {"name": "mlp", "hidden": [8]}, "training": {"epochs": 2}}),
    "mlp numbers": ("price", {"model": {"name": "mlp", "hidden": [8]}, "training": {"epochs": 2}}),
    "tree classes": ("label", {"model": "tree"}),
    "tree numbers": ("price", {"model": "tree"}),
    "boosting classes": ("label", {"model": "boosting", "training": {"max_steps": 5}}),
    "boosting numbers": ("price", {"model": "boosting", "training": {"max_steps": 5}}),
}
# How each model's training file is written; a later file need not be written so.
TRAINING = ["plain", "semicolons", "tabs", "plain", "semicolons", "parquet of polars", "plain", "json lines"]


def rows_of(seed: int, count: int) -> pl.DataFrame:
    """Rows of every type of column, with gaps."""
    generator = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "size": pl.Series(generator.integers(0, 5000, count)),
            "weight": pl.Series(generator.normal(0, 30, count).round(3)),
            "colour": pl.Series([COLOURS[at] for at in generator.integers(0, 3, count)]),
            "code": pl.Series([CODES[at] for at in generator.integers(0, 3, count)]),
            "new": pl.Series(generator.integers(0, 2, count)).cast(pl.Boolean),
            "sold": pl.Series([START + timedelta(int(days)) for days in generator.integers(0, 900, count)]),
        }
    )
    gaps = {name: pl.Series(generator.random(count) < 0.1) for name in ("size", "weight", "colour", "new", "sold")}
    return frame.with_columns(pl.when(~gaps[name]).then(pl.col(name)).alias(name) for name in gaps)


def labelled(seed: int, count: int) -> pl.DataFrame:
    frame = rows_of(seed, count)
    red = (frame["colour"] == "红").fill_null(False).cast(pl.Float64)
    numbers = frame["size"].fill_null(0) / 100 + frame["weight"].fill_null(0) + 20 * red
    noise = pl.Series(np.random.default_rng(seed + 1).normal(0, 1, count))
    label = (numbers > 25).replace_strict({True: "hoch", False: "tief"})
    return frame.with_columns((numbers + noise).round(2).alias("price"), label.alias("label"))


Write = Callable[[pl.DataFrame, Path], None]


def separated(separator: str, encoding: str, decimal: str = ".", gap: str = "", end: str = "\n") -> Write:
    """Write separated values as a program of some country does."""

    def cell(value: Any) -> str:
        if value is None:
            return gap
        return str(value).replace(".", decimal) if isinstance(value, float) else str(value)

    def write(frame: pl.DataFrame, path: Path) -> None:
        text = io.StringIO()
        writer = csv.writer(text, delimiter=separator, lineterminator=end)
        writer.writerow(frame.columns)
        writer.writerows([[cell(value) for value in row] for row in frame.rows()])
        path.write_bytes(text.getvalue().encode(encoding))

    return write


def with_pandas(method: str, **options: Any) -> Write:
    def write(frame: pl.DataFrame, path: Path) -> None:
        import pandas as pd

        table = pd.DataFrame(frame.to_dict(as_series=False))
        table["sold"] = pd.to_datetime(table["sold"])
        getattr(table, method)(path, index=False, **options)

    return write


def with_duckdb(frame: pl.DataFrame, path: Path) -> None:
    import duckdb

    with duckdb.connect() as database:
        database.register("rows", frame.to_arrow())
        database.execute(f"COPY rows TO '{path}' (FORMAT parquet)")


def with_pyarrow(frame: pl.DataFrame, path: Path) -> None:
    import pyarrow.parquet

    pyarrow.parquet.write_table(frame.to_arrow(), path)


WRITERS: dict[str, tuple[str, Write]] = {
    "plain": ("csv", separated(",", "utf-8")),
    "semicolons": ("csv", separated(";", "utf-8-sig", decimal=",", end="\r\n")),
    "tabs": ("tsv", separated("\t", "utf-16", gap="NA")),
    "bars": ("csv", separated("|", "utf-8", gap="NULL")),
    "gb18030": ("csv", separated(",", "gb18030")),
    "quoted": ("csv", with_pandas("to_csv", quoting=csv.QUOTE_ALL)),
    "csv of polars": ("csv", lambda frame, path: frame.write_csv(path)),
    "json lines": ("jsonl", lambda frame, path: frame.write_ndjson(path)),
    "parquet of pandas": ("parquet", with_pandas("to_parquet")),
    "parquet of polars": ("parquet", lambda frame, path: frame.write_parquet(path)),
    "parquet of duckdb": ("parquet", with_duckdb),
    "parquet of pyarrow": ("parquet", with_pyarrow),
    "workbook": ("xlsx", with_pandas("to_excel")),
}


def write(writer: str, frame: pl.DataFrame, folder: Path, name: str) -> Path:
    suffix, by = WRITERS[writer]
    path = folder / f"{name}.{suffix}"
    by(frame, path)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each model, trained on a file of another program."""
    folder = tmp_path_factory.mktemp("writers")
    found: dict[str, Path] = {}
    for number, (name, (target, recipe)) in enumerate(MODELS.items()):
        frame = labelled(7, ROWS).drop({"price": "label", "label": "price"}[target])
        path = write(TRAINING[number], frame, folder, f"train{number}")
        data = {"source": str(path), "target": target}
        run = danlu.train({"data": data, **recipe}, output=folder / "runs", name=f"run{number}")
        found[name] = run.path
    return found


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("model", MODELS)
def test_rows_are_answered_alike_whichever_program_wrote_them(
    model: str, runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    predictor = danlu.load(runs[model])
    folder = tmp_path_factory.mktemp("later")

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 10_000), st.integers(12, 40), st.sampled_from(sorted(WRITERS)))
    def check(seed: int, count: int, writer: str) -> None:
        frame = rows_of(seed, count)
        path = write(writer, frame, folder, f"rows{seed}-{count}")
        found = danlu.predict(runs[model], path)
        expected = predictor.predict(frame)
        assert "error" not in found.columns, found["error"].drop_nulls().to_list()
        assert found["prediction"].dtype == expected["prediction"].dtype
        for name in expected.columns:
            values, wanted = found[name], expected[name]
            if values.dtype.is_float():
                assert np.allclose(values.to_numpy(), wanted.to_numpy(), rtol=1e-5, atol=1e-5), (writer, name)
            else:
                assert values.to_list() == wanted.to_list(), (writer, name)

    check()
