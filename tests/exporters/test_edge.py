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
    right = write.answer_of
    monkeypatch.setattr(write, "answer_of", lambda predictor: ({**right(predictor)[0], "temperature": 3.0}, []))
    with pytest.raises(ArtifactError, match="answer something else"):
        package.export(table_run, tmp_path / "edge", to="numpy")
    assert not (tmp_path / "edge").exists()


def spelled_table(folder: Path) -> Path:
    """Whole numbers as categories, truth values, and words that differ in case and blanks."""
    random = np.random.default_rng(2)
    code, flag = random.integers(0, 4, 160), random.integers(0, 2, 160)
    place = random.choice(["North Side", "north side", "South Side"], 160)
    label = np.where((code > 1) ^ (flag == 1) ^ (place == "South Side"), "yes", "no")
    frame = pl.DataFrame({"code": code, "flag": flag == 1, "place": place, "label": label})
    frame.with_columns(pl.col("flag").cast(pl.String)).write_csv(folder / "spelled.csv")
    return folder / "spelled.csv"


SPELLED = [
    {"code": "3.0", "flag": "TRUE", "place": " NORTH  side"},
    {"code": "+1", "flag": "False", "place": "South Side "},
    {"code": " 2", "flag": "1", "place": "south side"},
    {"code": "3e0", "flag": "0", "place": "nowhere"},
    {"code": "1.5", "flag": "maybe", "place": "North Side"},
]


def spelled_run(folder: Path) -> Path:
    return package.run(
        {
            "name": "spelled",
            "data": {
                "source": str(spelled_table(folder)),
                "target": "label",
                "columns": {"code": "category", "flag": "category"},
                "clean": {"categories": "merge"},
            },
            "model": {"name": "mlp", "hidden": [8]},
            "training": {"epochs": 4},
            "evaluation": {"baselines": False},
        },
        output=folder,
        name="run",
    ).path


def test_other_spellings_of_a_category_are_the_same_value_there(tmp_path: Path) -> None:
    run = spelled_run(tmp_path)
    folder = package.export(run, tmp_path / "edge", to="numpy")
    rows = pl.DataFrame(SPELLED)
    rows.write_ndjson(tmp_path / "rows.jsonl")
    expected = package.load(run, engine="torch").predict(rows)
    found = answered_alone(folder, tmp_path / "rows.jsonl")
    np.testing.assert_allclose([row["probability_yes"] for row in found], expected["probability_yes"], atol=1e-5)
    # They are values of the training, not others: another word answers otherwise.
    assert expected["probability_yes"][0] != expected["probability_yes"][4]


def test_usual_other_spellings_are_inside_a_graph_and_the_rest_is_named(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    run = spelled_run(tmp_path)
    folder = package.export(run, tmp_path / "graph", to="onnx")
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    rows = pl.DataFrame([{"code": "3.0", "flag": "TRUE", "place": "north side"},
                         {"code": "2", "flag": "False", "place": "south side"}])  # fmt: skip
    given = {name: rows[name].to_numpy()[:, None].astype(object) for name in rows.columns}
    (answers, *_) = session.run(None, given)
    told = json.loads((folder / "danlu.json").read_text())
    names = told["outputs"][0]["names"]
    expected = package.load(run, engine="torch").predict(rows)
    np.testing.assert_allclose(answers[:, names.index("yes")], expected["probability_yes"], atol=1e-5)
    left = {step["value"]["column"]: step["value"] for step in told["outside"] if step["what"] == "spelling"}
    assert left["place"] == {"column": "place", "ignores": ["case", "white space"], "canonical": True}
    assert left["code"]["canonical"] is True


def test_numbers_that_are_written_otherwise_are_named(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    size = random.normal(5, 2, 120).round(2)
    words = [f"{value:.2f} kg".replace(".", ",") for value in size]
    pl.DataFrame({"size": words, "label": np.where(size > 5, "big", "small")}).write_csv(tmp_path / "t.csv")
    run = package.run(
        {"data": {"source": str(tmp_path / "t.csv"), "target": "label"}, "model": {"name": "linear"},
         "training": {"epochs": 2}, "evaluation": {"baselines": False}}, output=tmp_path, name="run",
    ).path  # fmt: skip
    told = json.loads((package.export(run, tmp_path / "edge", to="numpy") / "danlu.json").read_text())
    (left,) = [step["value"] for step in told["outside"] if step["what"] == "numbers-as-written"]
    assert (left["column"], left["number"]["decimal"], left["number"]["suffix"]) == ("size", ",", "kg")
