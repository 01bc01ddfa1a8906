"""The main job on real data, for every kind: a recipe becomes a trained, evaluated, portable model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import danlu as package
from danlu.artifacts.run import RunDirectory
from danlu.errors import ArtifactError, DataError
from tests.conftest import Command
from tests.support.warm import command

KINDS = ("table_run", "image_run", "text_run", "corpus_run")


@pytest.fixture
def danlu(installed_danlu: Command) -> Command:
    """Here in a process of its own, as whoever installed it has it."""
    return installed_danlu


def evaluation(run: Path) -> dict[str, Any]:
    return RunDirectory.open(run).evaluation()


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_leaves_everything_that_happened(kind: str, request: pytest.FixtureRequest) -> None:
    run: Path = request.getfixturevalue(kind)
    left = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert {"recipe.yaml", "environment.json", "metrics.jsonl", "evaluation.json", "report.html"} <= left
    assert {"model/bundle.json", "model/config.json", "model/weights.safetensors", "model/golden.parquet"} <= left
    assert {"data/split.parquet", "data/profile.json", "predictions/test.parquet"} <= left
    assert not [name for name in left if name.endswith((".partial", ".pkl", ".pt", ".bin"))]
    assert 1 <= len(list((run / "checkpoints").iterdir())) <= 3


def test_a_table_beats_its_trivial_baseline(table_run: Path) -> None:
    figures = evaluation(table_run)
    assert figures["test"]["accuracy"]["value"] > 0.85
    assert figures["test"]["accuracy"]["value"] > figures["baselines"]["majority"]["test"]["accuracy"]["value"] + 0.3
    assert "logistic-regression" in figures["baselines"]


def test_images_beat_their_trivial_baseline(image_run: Path) -> None:
    figures = evaluation(image_run)
    assert figures["test"]["accuracy"]["value"] > figures["baselines"]["majority"]["test"]["accuracy"]["value"] + 0.3


def test_texts_beat_their_trivial_baseline(text_run: Path) -> None:
    figures = evaluation(text_run)
    assert figures["test"]["accuracy"]["value"] > figures["baselines"]["majority"]["test"]["accuracy"]["value"] + 0.1


def test_a_language_model_beats_unigrams(corpus_run: Path) -> None:
    figures = evaluation(corpus_run)
    assert figures["test"]["perplexity"]["value"] < 0.4 * figures["baselines"]["unigram"]["test"]["perplexity"]["value"]


def test_regression_answers_in_the_targets_units(tmp_path: Path) -> None:
    run = package.run("diabetes", output=tmp_path)
    figures = run.evaluation()
    answers = pl.read_parquet(run.path / "predictions" / "test.parquet")
    assert 80 < answers["prediction"].mean() < 220
    assert figures["test"]["rmse"]["value"] < 0.9 * figures["baselines"]["mean"]["test"]["rmse"]["value"]


@pytest.mark.slow
def test_breast_cancer_is_not_behind_logistic_regression(tmp_path: Path) -> None:
    model, linear = [], []
    for seed in range(5):
        recipe = package.load_recipe("breast-cancer", overrides=[f"seed={seed}"])
        figures = package.run(recipe, output=tmp_path, name=str(seed)).evaluation()
        model.append(figures["test"]["auroc"]["value"])
        linear.append(figures["baselines"]["logistic-regression"]["test"]["auroc"]["value"])
    assert np.mean(model) >= 0.985
    assert np.mean(model) >= np.mean(linear)


@pytest.mark.slow
def test_the_same_recipe_and_seed_give_the_same_bytes(tmp_path: Path, danlu: Command) -> None:
    for name in ("first", "second"):
        done = danlu("run", "wine", "-o", tmp_path, "--name", name, "--set", "training.epochs=5")
        assert done.returncode == 0, done.stderr
    for file in ("model/weights.safetensors", "evaluation.json", "data/split.parquet"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes(), file


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image", "text", "corpus"])
def test_other_kinds_are_as_reproducible(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    recipe, run = request.getfixturevalue(f"{kind}_recipe"), request.getfixturevalue(f"{kind}_run")
    again = package.run(recipe, output=tmp_path).path
    for file in ("model/weights.safetensors", "evaluation.json"):
        assert (run / file).read_bytes() == (again / file).read_bytes(), file


def test_another_seed_gives_another_split(table_recipe: dict[str, Any], table_run: Path, tmp_path: Path) -> None:
    other = package.train({**table_recipe, "seed": 1}, output=tmp_path).path
    assert (other / "data/split.parquet").read_bytes() != (table_run / "data/split.parquet").read_bytes()


@pytest.mark.slow
def test_evaluating_again_in_another_process_gives_the_same_figures(table_run: Path, danlu: Command) -> None:
    before = evaluation(table_run)
    done = danlu("evaluate", table_run, "--json")
    assert done.returncode == 0, done.stderr
    after = evaluation(table_run)
    assert json.loads(done.stdout) == {"format": 1, **after}
    # The test split was looked at once more; nothing else may differ.
    assert after.pop("looks")["test"] == before.pop("looks")["test"] + 1
    assert after == before


@pytest.mark.slow
def test_a_dry_run_goes_through_every_stage_and_leaves_nothing(tmp_path: Path, danlu: Command) -> None:
    done = danlu("run", "wine", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "every stage works" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_json_output_is_json_alone(tmp_path: Path) -> None:
    done = command("run", "wine", "-o", tmp_path, "--json", "--set", "training.epochs=2")
    assert json.loads(done.stdout)["format"] == 1
    assert json.loads(done.stdout)["evaluation"]["test"]["accuracy"]["value"] > 0


@pytest.mark.slow
def test_runs_are_listed_newest_first(tmp_path: Path, danlu: Command) -> None:
    for seed in (1, 2):
        package.run(
            package.load_recipe("wine", overrides=["training.epochs=2", f"seed={seed}"]),
            output=tmp_path,
            name=f"run-{seed}",
        )
    listed = json.loads(danlu("runs", "-o", tmp_path, "--json").stdout)
    assert [row["run"] for row in listed] == ["run-2", "run-1"]


def test_a_run_is_judged_again_only_on_the_rows_it_was_made_with(tmp_path: Path) -> None:
    file = tmp_path / "data.parquet"
    frame = pl.DataFrame({"x": [i * 0.5 for i in range(60)], "y": ["a", "b", "b"] * 20})
    frame = frame.with_columns(took=pl.duration(seconds=pl.col("x")))
    frame.write_parquet(file)
    run = package.train({"data": {"source": str(file), "target": "y"}, "training": {"epochs": 1}}, output=tmp_path)
    figures = package.evaluate(run.path)
    pl.concat([frame, frame]).write_parquet(file)
    assert package.evaluate(run.path)["test"] == figures["test"]
    for changed in (frame.reverse(), frame.with_columns(x=pl.col("x") + 1), frame.with_columns(y=pl.col("y") + "!")):
        changed.write_parquet(file)
        with pytest.raises(DataError, match=r"data\.parquet: has changed since .* was trained"):
            package.evaluate(run.path)
    (run.path / "data" / "split.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"split\.parquet: does not exist"):
        package.evaluate(run.path)
