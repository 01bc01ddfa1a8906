"""A model of a table as plain numpy: its files answer rows where nothing else is installed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import danlu as package
from danlu.errors import ArgumentError, ArtifactError
from danlu.exporters.edge import write

BLOCKED = ("danlu", "torch", "polars", "pandas", "safetensors", "pydantic", "lightgbm", "sklearn", "scipy")
ALONE = (
    "import runpy, sys\n"
    "sys.modules.update(dict.fromkeys({blocked!r}))\n"
    "sys.path.insert(0, {folder!r})\n"
    "sys.argv = ['answer.py', {rows!r}]\n"
    "runpy.run_path({folder!r} + '/answer.py', run_name='__main__')\n"
)


def answered_alone(folder: Path, rows: Path) -> list[dict[str, Any]]:
    """The answers of the written files in a process that can import nothing but numpy."""
    code = ALONE.format(blocked=BLOCKED, folder=str(folder), rows=str(rows))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def holed_table(folder: Path) -> Path:
    """Numbers with gaps, a category, three classes and a number to predict."""
    random = np.random.default_rng(4)
    size, colour = random.normal(3, 2, 240), random.choice(["red", "green", "blue"], 240)
    label = np.digitize(size + (colour == "red") * 2, [2.0, 4.5])
    frame = pl.DataFrame(
        {
            "size": [None if at % 9 == 0 else round(value, 3) for at, value in enumerate(size)],
            "colour": [None if at % 11 == 0 else value for at, value in enumerate(colour)],
            "weight": np.round(random.normal(50, 9, 240), 2),
            "grade": [f"grade {number}" for number in label],
        }
    )
    frame.write_csv(folder / "holed.csv")
    return folder / "holed.csv"


@pytest.mark.parametrize(
    ("model", "target", "data"),
    [
        ({"name": "boosting", "rounds": 8, "leaf_rows": 5}, "grade", {}),
        ({"name": "additive"}, "grade", {"clean": {"missing": {"impute": {"indicators": True}}}}),
        ({"name": "tree", "leaf_rows": 5}, "weight", {}),
        (
            {"name": "tabm", "members": 3, "width": 16},
            "grade",
            {"task": {"ordinal": {"order": ["grade 0", "grade 1", "grade 2"]}}},
        ),
        ({"name": "linear"}, "weight", {"task": "quantile-regression"}),
    ],
    ids=["boosting", "additive", "tree", "tabm", "quantiles"],
)
def test_its_files_answer_alone_as_the_bundle_does(
    model: dict[str, Any], target: str, data: dict[str, Any], tmp_path: Path
) -> None:
    table = holed_table(tmp_path)
    training = {} if model["name"] in ("tree", "boosting") else {"epochs": 3}
    recipe = {
        "name": "holed",
        "data": {"source": str(table), "target": target, **data},
        "model": model,
        "training": training,
        "evaluation": {"baselines": False},
    }
    run = package.run(recipe, output=tmp_path, name="run")
    folder = package.export(run.path, tmp_path / "edge", to="numpy")
    rows = pl.read_csv(table).with_columns(
        pl.when(pl.int_range(pl.len()) % 4 == 0).then(pl.lit("violet")).otherwise("colour").alias("colour")
    )
    rows.write_csv(tmp_path / "rows.csv")
    rows.write_ndjson(tmp_path / "rows.jsonl")
    expected = package.load(run.path, engine="torch").predict(rows)
    for name in ("rows.csv", "rows.jsonl"):
        found = answered_alone(folder, tmp_path / name)
        assert len(found) == expected.height
        for column in expected.columns:
            said = [row[column] for row in found]
            if expected.schema[column].is_numeric():
                np.testing.assert_allclose(said, expected[column], rtol=1e-4, atol=1e-5)
            else:
                assert said == expected[column].to_list()


def test_what_it_cannot_prepare_is_named_and_comes_as_the_network_takes_it(
    table_run: Path, table_file: Path, tmp_path: Path
) -> None:
    folder = package.export(table_run, tmp_path / "edge", to="numpy")
    told = json.loads((folder / "danlu.json").read_text())
    assert told["check"]["agreement"] == 1.0
    (left,) = [step["value"] for step in told["outside"] if step["what"] == "preparation of"]
    assert "bottled elapsed" in left
    assert {"shelf", "ash", "bottled year-sin"} <= {each["name"] for each in told["inputs"]}
    model = package.load(table_run)
    rows = pl.read_csv(table_file, try_parse_dates=True)
    numeric, _ = model.preprocessor.arrays(rows, "rows")  # type: ignore[attr-defined]
    names = [each["column"] for each in told["runner"]["numbers"]]
    prepared = pl.DataFrame({name: numeric[:, names.index(name)].astype(float) for name in left})
    rows.drop("bottled").hstack(prepared).write_csv(tmp_path / "rows.csv")
    found = answered_alone(folder, tmp_path / "rows.csv")
    np.testing.assert_allclose([row["probability"] for row in found], model.predict(rows)["probability"], atol=1e-5)


def test_other_kinds_of_data_are_refused_and_nothing_is_left(text_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="engine: numpy cannot answer"):
        package.export(text_run, tmp_path / "edge", to="numpy")
    assert not (tmp_path / "edge").exists()


def test_files_that_answer_otherwise_are_refused(
    table_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = write._answer
    monkeypatch.setattr(write, "_answer", lambda predictor: ({**right(predictor)[0], "temperature": 3.0}, []))
    with pytest.raises(ArtifactError, match="answer something else"):
        package.export(table_run, tmp_path / "edge", to="numpy")
    assert not (tmp_path / "edge").exists()
