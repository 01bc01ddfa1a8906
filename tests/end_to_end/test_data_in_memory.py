"""A run of rows in memory is a run of a file: the same bytes, and the same again from its own folder."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

import danlu
from danlu.artifacts.files import read_json
from danlu.data.builtin import read_builtin
from danlu.errors import ArgumentError, DataError, RecipeError

pytestmark = pytest.mark.training

RECIPE: dict[str, Any] = {
    "name": "wine",
    "data": {"target": "cultivar"},
    "model": {"name": "linear"},
    "training": {"max_steps": 3, "batch_size": 32, "optimizer": {"name": "sgd", "lr": 0.1}},
    "evaluation": {"baselines": False, "resamples": 0},
}


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    found = read_builtin("builtin:wine").frame
    assert isinstance(found, pl.DataFrame)
    return found.with_columns(pl.Series("shelf", ["red", "white", None][:2] * (found.height // 2)))


@pytest.fixture(scope="module")
def run_of_memory(frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> danlu.RunDirectory:
    columns = {name: frame[name].to_numpy() if name != "shelf" else frame[name].to_list() for name in frame.columns}
    return danlu.run(RECIPE, data=columns, output=tmp_path_factory.mktemp("memory"), name="run")


def weights(run: danlu.RunDirectory) -> bytes:
    return (run.model / "weights.safetensors").read_bytes()


def test_file_and_memory_give_the_same_bytes(
    frame: pl.DataFrame, run_of_memory: danlu.RunDirectory, tmp_path: Path
) -> None:
    frame.write_csv(tmp_path / "rows.csv")
    recipe = {**RECIPE, "data": {**RECIPE["data"], "source": str(tmp_path / "rows.csv")}}
    of_file = danlu.run(recipe, output=tmp_path, name="run")
    assert weights(of_file) == weights(run_of_memory)
    for name in ("metrics.jsonl", "evaluation.json", "data/split.parquet", "predictions/test.parquet"):
        assert (of_file.path / name).read_bytes() == (run_of_memory.path / name).read_bytes(), name
    known, expected = (read_json(run.path / "data" / "profile.json") for run in (run_of_memory, of_file))
    assert known.pop("origin") == str(run_of_memory.path / "data" / "source.parquet")
    assert expected.pop("origin") == str(tmp_path / "rows.csv")
    assert (known.pop("separator"), expected.pop("separator")) == (None, ",")
    for profile in (known, expected):
        del profile["files"], profile["digest"]
    assert (known.pop("encoding"), expected.pop("encoding")) == (None, "utf-8")
    for column in (*known["columns"], *expected["columns"]):
        column["reading"].pop("encoding")
    assert known == expected


def test_the_recipe_of_the_run_runs_again(run_of_memory: danlu.RunDirectory, tmp_path: Path) -> None:
    again = danlu.train(run_of_memory.path / "recipe.yaml", output=tmp_path)
    assert weights(again) == weights(run_of_memory)
    assert not (again.path / "data" / "source.parquet").exists()  # it reads that of the first run


def test_a_run_is_not_replaced_by_one_that_reads_its_rows(run_of_memory: danlu.RunDirectory) -> None:
    with pytest.raises(ArgumentError, match="holds the data of this recipe"):
        danlu.train(run_of_memory.path / "recipe.yaml", output=run_of_memory.path.parent, name="run", overwrite=True)
    assert (run_of_memory.path / "data" / "source.parquet").is_file()


def test_a_run_is_evaluated_and_resumed_where_it_has_been_moved(
    run_of_memory: danlu.RunDirectory, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(run_of_memory.path, tmp_path / "moved"))
    own = run_of_memory.path / "data" / "source.parquet"
    hidden = own.rename(own.with_suffix(".hidden"))
    try:
        shutil.rmtree(moved / "model")
        resumed = danlu.resume(moved)
        assert weights(resumed) == weights(run_of_memory)
        danlu.evaluate(moved)
    finally:
        hidden.rename(own)


def test_a_search_keeps_the_rows_once(frame: pl.DataFrame, tmp_path: Path) -> None:
    tuning = {"trials": 2, "sampler": "random", "space": {"training.optimizer.lr": {"log": [1e-2, 1e-1]}}}
    run = danlu.tune({**RECIPE, "tuning": tuning}, data=frame, output=tmp_path, name="search")
    own = run.path / "data" / "source.parquet"
    assert list(tmp_path.rglob("source.parquet")) == [own]
    for name in ("recipe.yaml", "search.yaml", "best.yaml"):
        assert danlu.load_recipe(run.path / name).data.source == str(own), name


@pytest.mark.slow
def test_folds_read_the_rows_of_their_run(frame: pl.DataFrame, tmp_path: Path) -> None:
    recipe = {**RECIPE, "evaluation": {**RECIPE["evaluation"], "folds": 2}}
    run = danlu.run(recipe, data=frame, output=tmp_path, name="run")
    assert list(tmp_path.rglob("source.parquet")) == [run.path / "data" / "source.parquet"]
    assert run.evaluation()["folds"]["folds"] == 2


def test_check_and_plan_and_predict_take_rows(frame: pl.DataFrame, run_of_memory: danlu.RunDirectory) -> None:
    found = danlu.check(RECIPE, data=frame)
    assert (found["rows"], found["origin"]) == (178, "data")
    assert danlu.plan(RECIPE, data=frame).parameters > 0
    whole = danlu.predict(run_of_memory.path, frame)
    assert whole.equals(danlu.load(run_of_memory.path).predict(frame.to_dicts()))
    assert whole.height == 178
    assert danlu.load(run_of_memory.path).predict(frame.row(0, named=True)).height == 1  # one row as a dict


def test_rows_replace_the_source_of_any_recipe(frame: pl.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("data:\n  target: cultivar\n")
    recipe = danlu.load_recipe("breast-cancer")
    named = recipe.model_copy(update={"data": recipe.data.model_copy(update={"target": "cultivar"})})
    for each in (tmp_path / "recipe.yaml", named):
        assert danlu.check(each, data=frame.gather_every(2))["rows"] == 89


def test_without_rows_the_place_of_rows_in_memory_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"data\.source"):
        danlu.check(RECIPE)
    with pytest.raises(DataError, match=r"memory:rows: stands for rows in memory"):
        danlu.check({"data": {"source": "memory:rows", "target": "cultivar"}})


def test_images_in_memory_train_and_run_again(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 16, 16), dtype=np.uint8)
    images = [Image.fromarray(each) for each in pixels]
    recipe = {
        "data": {"image_size": 16},
        "model": {"name": "small-resnet", "widths": [4], "blocks": [1]},
        "training": {"max_steps": 2, "batch_size": 8, "optimizer": {"name": "sgd", "lr": 0.1}},
    }
    run = danlu.train(recipe, data=(images, ["cat", "dog"] * 20), output=tmp_path, name="run")
    assert danlu.load_recipe(run.path / "recipe.yaml").data.target == "label"
    again = danlu.train(run.path / "recipe.yaml", output=tmp_path, name="again")
    assert weights(run) == weights(again)
    assert danlu.load(run.path).predict(images[:3]).height == 3
