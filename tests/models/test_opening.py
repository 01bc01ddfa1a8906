"""One way to open a bundle: its golden samples are replayed, and no code runs but that of the user's own recipe."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import danlu as package
from danlu.artifacts.bundle import CONFIG, MANIFEST, open_bundle
from danlu.artifacts.files import sha256, sha256_of_json
from danlu.errors import ArtifactError
from danlu.models.golden import golden_frame, golden_inputs
from danlu.models.predictor import Predictor
from danlu.models.table import CustomModel

MODULE = """
from pathlib import Path
from torch import nn

Path(__file__).with_suffix(".ran").write_text("ran")

class Network(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.last = nn.Linear(inputs.numeric, outputs)

    def forward(self, numeric):
        return self.last(numeric)

def build(inputs, outputs):
    return Network(inputs, outputs)
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Two modules of the user's in the current folder, of which a recipe names the first."""
    for name in ("mine_a", "mine_b"):
        (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("mine_a", "mine_b"):
        sys.modules.pop(name, None)


def seal(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change a bundle as whoever forges all of it would."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    edit(manifest)
    manifest["files"] = {name: sha256(folder / name) for name in manifest["files"]}
    manifest["digest"] = sha256_of_json({key: value for key, value in manifest.items() if key != "digest"})
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def test_evaluation_runs_the_recipes_own_code_and_no_other(modules: Path) -> None:
    recipe = {
        "data": {"source": "builtin:wine"},
        "model": "own:mine_a:build",
        "training": {"epochs": 2},
        "evaluation": {"resamples": 0, "baselines": False, "folds": 2},
    }
    run = package.run(recipe, output=modules).path
    assert package.evaluate(run)["test"]["accuracy"]["value"] > 0
    assert package.evaluate(run, "builtin:wine")["source"]["rows"] == 178
    with pytest.raises(ArtifactError, match="runs no code unasked"):
        package.load(run)
    assert package.load(run, own_code=True).manifest.task == "classification"
    (run / "model" / CONFIG).write_text(json.dumps({"name": "own:mine_b:build", "options": {}}))
    seal(run / "model", lambda manifest: None)
    for judge in (lambda: package.evaluate(run), lambda: package.evaluate(run, "builtin:wine")):
        with pytest.raises(ArtifactError) as refused:
            judge()
        assert refused.value.code == "DL309"
    assert (modules / "mine_a.ran").exists() and not (modules / "mine_b.ran").exists()


def test_other_options_are_other_code(modules: Path) -> None:
    recipe = {"data": {"source": "builtin:wine"}, "model": "own:mine_a:build", "training": {"epochs": 1}}
    run = package.train(recipe, output=modules)
    same = CustomModel(name="own:mine_a:build")
    assert Predictor.load(run, recipe_model=same).options == same
    for other in (
        CustomModel(name="own:mine_a:build", options={"depth": 2}),
        CustomModel(name="own:mine_b:build"),
        None,
    ):
        with pytest.raises(ArtifactError, match="runs no code unasked"):
            Predictor.load(run, recipe_model=other)


@pytest.mark.training
def test_a_teacher_that_answers_otherwise_than_before_teaches_nothing(table_run: Path, tmp_path: Path) -> None:
    teacher = Path(shutil.copytree(table_run / "model", tmp_path / "teacher"))
    golden = pl.read_parquet(teacher / "golden.parquet")
    golden.with_columns(pl.col("answer").list.eval(pl.element() + 0.01)).write_parquet(teacher / "golden.parquet")
    seal(teacher, lambda manifest: None)
    source = json.loads((table_run / "data" / "profile.json").read_text(encoding="utf-8"))["origin"]
    recipe = {
        "data": {"source": source, "target": "cultivar"},
        "training": {"epochs": 1, "distill": {"teacher": str(teacher)}},
    }
    with pytest.raises(ArtifactError, match="golden samples"):
        package.train(recipe, output=tmp_path)


def test_columns_may_be_called_as_golden_samples_call_theirs(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    inputs = {name: generator.normal(size=200) for name in ("label", "answer", "prediction", "x")}
    rows = pl.DataFrame({**inputs, "y": np.where(inputs["answer"] > 0, "yes", "no")})
    recipe = {
        "data": {"target": "y"},
        "model": "linear",
        "training": {"epochs": 2},
        "evaluation": {"resamples": 0, "baselines": False},
    }
    run = package.run(recipe, data=rows, output=tmp_path).path
    assert package.predict(run, rows).height == 200
    golden = open_bundle(run).golden()
    assert golden is not None
    assert set(golden["label"].to_list()) <= {"yes", "no"} and golden["input:label"].dtype == pl.Float64
    columns = ("label", "answer", "prediction", "x")
    frame = golden_frame(rows.select(columns), rows["y"], np.zeros((200, 2)), rows.select(prediction="y"))
    assert golden_inputs(frame, columns).equals(rows.select(columns))
    assert golden_inputs(golden.rename({"input:answer": "other"}).select("x"), ("x",)).columns == ["x"]


@pytest.mark.training
def test_an_open_bundle_is_as_good_as_its_folder(table_run: Path) -> None:
    assert Predictor.load(open_bundle(table_run)).manifest == Predictor.load(table_run).manifest
