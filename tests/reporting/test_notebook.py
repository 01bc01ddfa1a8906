"""Results in a notebook's cell: small, escaped, in the report's words; what a terminal prints of them is a line."""

import json
import re
from pathlib import Path

import polars as pl
import pytest

import danlu
from danlu.artifacts.files import read_json
from danlu.reporting.i18n import environment_translator
from danlu.reporting.results import DataProfile, EvaluationResult, RunList

LARGEST = 16_000  # bytes of one cell's table
pytestmark = pytest.mark.training


def shown(result: object) -> str:
    """The HTML of a result, checked for what no cell may hold."""
    drawn = result._repr_html_()  # type: ignore[attr-defined]
    assert drawn is not None and len(drawn.encode()) < LARGEST
    assert not re.search(r"<(script|html|body|head|img|iframe|link)\b", drawn)
    assert drawn.count("<div") == drawn.count("</div>") and drawn.count("<table>") == drawn.count("</table>")
    return drawn


@pytest.mark.training
def test_a_run_shows_what_was_learned_and_how_well_it_answers(table_run: Path) -> None:
    run = danlu.RunDirectory.open(table_run)
    drawn, accuracy = shown(run), run.evaluation()["test"]["accuracy"]["value"]
    assert "The model predicts “cultivar” (3 classes)" in drawn
    assert f"{accuracy:.4g}" in drawn and "majority" in drawn and str(table_run) in drawn


def test_a_run_that_is_only_trained_says_which_weights_were_kept(
    table_recipe: dict[str, object], tmp_path: Path
) -> None:
    run = danlu.train(table_recipe, output=tmp_path, name="trained")
    drawn = shown(run)
    assert "The weights of step" in drawn and "has not been evaluated yet" in drawn
    (run.path / "data" / "profile.json").unlink()
    assert run._repr_html_() is None, "IPython prints the path then"
    assert str(run.path) in repr(run)


def test_a_search_shows_its_best_trials(table_recipe: dict[str, object], tmp_path: Path) -> None:
    tuning = {"sampler": "grid", "trials": 2, "space": {"training.optimizer.lr": {"choices": [1e-4, 1e-2]}}}
    run = danlu.tune({**table_recipe, "training": {"epochs": 3}, "tuning": tuning}, output=tmp_path, name="search")
    drawn = shown(run)
    assert "The best trials" in drawn and "training.optimizer.lr" in drawn and "0.01" in drawn


@pytest.mark.training
def test_an_evaluation_is_the_dict_that_it_was_and_shows_a_table(table_run: Path) -> None:
    found = EvaluationResult(danlu.RunDirectory.open(table_run).evaluation())
    written = read_json(table_run / "evaluation.json")
    assert found == {key: written[key] for key in found} == json.loads(json.dumps(found))
    assert written.keys() - found.keys() == {"files", "digest"}
    assert repr(found).startswith("EvaluationResult(classification: accuracy test ") and len(repr(found)) < 400
    drawn = shown(found)
    for text in ("Metric", "test", "validation", "logistic-regression", f"{found['test']['accuracy']['value']:.4g}"):
        assert text in drawn


@pytest.mark.training
def test_evaluate_compare_check_and_runs_return_what_shows_itself(
    table_run: Path, table_recipe: dict[str, object], tmp_path: Path
) -> None:
    other = danlu.run({**table_recipe, "model": "linear"}, output=tmp_path, name="other")
    compared = danlu.compare([table_run, other.path])
    assert "paired 95% intervals" in shown(compared) and "other" in repr(compared)
    listed = danlu.runs(tmp_path)
    assert isinstance(listed, list) and "other" in shown(listed) and repr(listed) == "RunList(other)"
    profile = danlu.check(table_recipe)
    assert "alcohol" in shown(profile) and repr(profile).startswith("DataProfile(classification: 178 rows")
    assert isinstance(danlu.evaluate(other.path), EvaluationResult)


@pytest.mark.training
def test_a_predictor_shows_what_it_takes_and_gives(table_run: Path) -> None:
    predictor = danlu.load(table_run)
    drawn = shown(predictor)
    assert "mlp" in drawn and "alcohol" in drawn and "classification" in drawn
    assert re.fullmatch(r"Predictor\(mlp, classification, \d+ columns\)", repr(predictor))


@pytest.mark.training
def test_the_language_follows_the_environment(table_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = danlu.RunDirectory.open(table_run)
    monkeypatch.setenv("DANLU_LANG", "zh_CN.UTF-8")
    assert "测试" in shown(run) and 'lang="zh"' in shown(run)
    assert "参数量" in shown(danlu.load(table_run))
    for other in ("en", "", "fr"):
        monkeypatch.setenv("DANLU_LANG", other)
        assert environment_translator().language == "en"


def test_what_comes_from_the_data_is_escaped() -> None:
    evil = "<img src=x onerror=alert(1)>"
    frame = pl.DataFrame({evil: [1.5, 2.5, 0.5, 4.5] * 10, "y": ["a", "b"] * 20})
    drawn = shown(danlu.check({"data": {"target": "y"}}, data=frame))
    assert "<img" not in drawn and "&lt;img src=x" in drawn


def test_long_results_are_cut_and_counted() -> None:
    row = {"model": "mlp", "seed": 0, "state": "trained", "metric": "", "test": None, "best_baseline": None}
    drawn = shown(RunList({"run": f"run-{number}", **row} for number in range(500)))
    assert "run-7" in drawn and "run-8" not in drawn and "The first 8 of 500 are shown." in drawn
    wide = danlu.check({"data": {"target": "y"}}, data={"y": ["a", "b"] * 20} | _numbers(60))
    assert isinstance(wide, DataProfile) and "The first 8 of 60 are shown." in shown(wide)


def _numbers(columns: int) -> dict[str, list[float]]:
    return {f"x{column}": [(column * row) % 7 + 0.5 for row in range(40)] for column in range(columns)}
