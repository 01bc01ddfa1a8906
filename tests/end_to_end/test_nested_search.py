"""Nested cross-validation: each fold searches for itself, and never sees the rows that test it."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import danlu
from danlu.errors import RecipeError

RECIPE: dict[str, Any] = {
    "name": "nested",
    "data": {"source": "builtin:wine"},
    "model": "linear",
    "training": {"epochs": 4, "batch_size": 32},
    "tuning": {"sampler": "random", "trials": 3, "space": {"training.optimizer.lr": {"log": [1e-4, 1e-1]}}},
    "evaluation": {"folds": 3, "resamples": 0, "baselines": False, "slices": False},
}


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return danlu.run(RECIPE, output=tmp_path_factory.mktemp("runs")).path


def read(file: Path) -> Any:
    return json.loads(file.read_text())


def trials_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "trials.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_every_fold_searches_and_keeps_the_model_of_its_best_trial(nested: Path) -> None:
    found = read(nested / "evaluation.json")["folds"]
    assert found["searched"] == [3, 3, 3]
    for fold in sorted((nested / "folds").iterdir()):
        trials = trials_of(fold)
        best = min(trials, key=lambda trial: trial["value"])
        kept = (fold / "recipe.yaml").read_text()
        assert f"lr: {best['values']['training.optimizer.lr']}" in kept
        assert len({trial["value"] for trial in trials}) == 3
    assert "nested cross-validation" in (nested / "report.html").read_text()


def test_no_row_that_tests_a_fold_has_part_in_its_search(nested: Path) -> None:
    answers = pl.read_parquet(nested / "predictions" / "folds.parquet")
    for number, fold in enumerate(sorted((nested / "folds").iterdir())):
        tested = set(answers.filter(pl.col("fold") == number)["row"].to_list())
        assert tested
        for trial in sorted((fold / "trials").iterdir()):
            known = pl.read_parquet(trial / "data" / "split.parquet")
            assert not tested & set(known["row"].to_list())


@pytest.mark.slow
def test_a_search_within_a_fold_that_was_killed_goes_on(nested: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(nested, run)
    before = read(run / "evaluation.json")["folds"]
    fold = run / "folds" / "fold-001"
    whole = trials_of(fold)
    shutil.rmtree(fold / "model")
    lines = (fold / "trials.jsonl").read_text().splitlines(keepends=True)
    (fold / "trials.jsonl").write_text("".join(lines[:1]))
    for trial in ("trial-001", "trial-002"):
        shutil.rmtree(fold / "trials" / trial)
    danlu.evaluate(run)
    assert [trial["value"] for trial in trials_of(fold)] == [trial["value"] for trial in whole]
    assert read(run / "evaluation.json")["folds"] == before


def test_a_search_is_not_refitted(tmp_path: Path) -> None:
    recipe = {**RECIPE, "evaluation": {"folds": {"folds": 3, "final": "refit"}}}
    with pytest.raises(RecipeError, match=r"search first, then train its best\.yaml with refit"):
        danlu.run(recipe, output=tmp_path)
