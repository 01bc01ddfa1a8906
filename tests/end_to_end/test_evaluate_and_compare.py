"""Evaluating and comparing finished runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import danlu
from danlu.artifacts.files import read_sealed, write_sealed
from danlu.errors import ArgumentError, RecipeError
from danlu.evaluation.evaluate import VERSION
from tests.conftest import Command

BINARY: dict[str, Any] = {
    "name": "bc",
    "data": {"source": "builtin:breast-cancer"},
    "training": {"epochs": 4},
    "evaluation": {"resamples": 200},
}


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"resamples": 200, "calibration": "temperature", "threshold": {"costs": {"false_negative": 20}}}
    return danlu.run({**BINARY, "evaluation": options}, output=tmp_path_factory.mktemp("runs")).path


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return danlu.run({**BINARY, "model": "linear"}, output=tmp_path_factory.mktemp("runs"), name="linear").path


def evaluation_of(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "evaluation.json").read_text()))


def test_every_figure_has_an_interval(decided: Path) -> None:
    found = evaluation_of(decided)
    assert found["version"] == VERSION and found["intervals"]["resamples"] == 200
    for split in ("validation", "test"):
        figures = {name: figure for name, figure in found[split].items() if "value" in figure}
        assert {"accuracy", "auroc", "log-loss", "calibration-error"} <= set(figures)
        assert all(figure["low"] <= figure["value"] <= figure["high"] for figure in figures.values())
        assert set(found[split]["classes"]["malignant"]["intervals"]) == {"precision", "recall", "f1"}
        assert set(found[split]["curves"]) == {"roc", "precision_recall", "calibration"}
        assert len(found[split]["thresholds"]["threshold"]) == 101
    assert set(found["baselines"]) == {"majority", "logistic-regression", "gradient-boosting"}
    apart = found["baselines"]["gradient-boosting"]["differences"]["test"]["accuracy"]
    assert apart["low"] <= apart["value"] <= apart["high"]
    assert found["slices"]["looked_at"] > 10


def test_slices_go_by_the_metric_and_the_columns_that_the_recipe_says(tmp_path: Path) -> None:
    from danlu.data.builtin import read_builtin

    frame = read_builtin("builtin:breast-cancer").frame
    clinics = pl.Series("clinic", [f"clinic {place % 5}" for place in range(frame.height)])
    frame.with_columns(clinics).write_csv(tmp_path / "bc.csv")
    asked = {"metric": "recall-positive", "columns": ["clinic", "mean area"], "min_size": 10}
    recipe = {
        **BINARY,
        "data": {"source": str(tmp_path / "bc.csv"), "target": "diagnosis", "columns": {"clinic": "drop"}},
        "evaluation": {"resamples": 200, "baselines": False, "slices": asked},
    }
    run = danlu.run(recipe, output=tmp_path / "runs")
    slices = evaluation_of(run.path)["slices"]
    assert slices["metric"] == "recall-positive"
    assert {each["column"] for each in slices["found"]} == {"clinic", "mean area"}  # also what the model never sees
    answers = pl.read_parquet(run.path / "predictions" / "test.parquet")
    clinic = clinics.gather(answers["row"])
    for each in slices["found"]:
        if each["column"] == "clinic":
            ill = answers.filter(
                (clinic == each["slice"].removeprefix("clinic = ")) & (answers["truth"] == "malignant")
            )
            assert each["value"] == pytest.approx((ill["prediction"] == "malignant").mean())
            assert 10 <= each["size"] < 40
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "By recall-positive, " in page and "recall-positive of parts of the test split" in page


@pytest.mark.parametrize(
    ("asked", "key", "said"),
    [
        ({"metric": "recall-positiv"}, "evaluation.slices.metric", "recall-positive"),
        ({"metric": "rmse"}, "evaluation.slices.metric", "no metric 'rmse' for classification"),
        ({"columns": ["mean aera"]}, "evaluation.slices.columns", "mean area"),
    ],
)
def test_slices_that_could_not_be_made_are_refused_before_training(asked: dict[str, Any], key: str, said: str) -> None:
    with pytest.raises(RecipeError) as found:
        danlu.check({**BINARY, "evaluation": {"slices": asked}})
    (problem,) = found.value.problems
    assert problem.key == key and said in problem.message


def test_what_was_decided_on_validation_answers_in_the_bundle(decided: Path) -> None:
    decision = evaluation_of(decided)["decision"]
    threshold, temperature = decision["threshold"]["value"], decision["calibration"]["temperature"]
    output = json.loads((decided / "model" / "bundle.json").read_text())["output"]
    assert output["threshold"] == threshold < 0.5 and output["calibration"]["temperature"] == temperature
    answers = danlu.predict(decided, "builtin:breast-cancer")
    told = answers["probability_malignant"] >= threshold
    assert (answers["prediction"] == "malignant").to_list() == told.to_list()
    kept = pl.read_parquet(decided / "predictions" / "test.parquet")
    assert np.allclose(answers["probability_malignant"].gather(kept["row"]), kept["probability_malignant"], atol=1e-5)
    right = (kept["prediction"] == kept["truth"]).mean()
    assert evaluation_of(decided)["test"]["accuracy"]["value"] == pytest.approx(right)


def test_evaluating_again_gives_the_same_and_is_a_second_look(decided: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(decided, tmp_path / "again"))
    before = evaluation_of(run)
    del before["digest"], before["files"]
    after = danlu.evaluate(run)
    assert (before.pop("looks"), after.pop("looks")) == ({"test": 1}, {"test": 2})
    assert json.loads(json.dumps(after)) == before
    looks = [json.loads(line) for line in (run / "looks.jsonl").read_text().splitlines()]
    assert [look["what"] for look in looks] == ["evaluate"] * 2 and looks[0]["recipe"] == looks[1]["recipe"]


def test_compare_is_paired_and_says_what_differs(decided: Path, linear: Path) -> None:
    found = danlu.compare([decided, linear])
    (apart,) = found["differences"]
    accuracy = found["metrics"]["accuracy"]
    expected = accuracy["linear"] - accuracy[decided.name]
    assert apart["metrics"]["accuracy"]["value"] == pytest.approx(expected)
    kept = [pl.read_parquet(run / "predictions" / "test.parquet") for run in (linear, decided)]
    right = [(each["prediction"] == each["truth"]).to_numpy() for each in kept]
    alone = [int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())]
    assert [apart["mcnemar"]["first_alone"], apart["mcnemar"]["second_alone"]] == alone
    from scipy.stats import binomtest

    if sum(alone):
        assert apart["mcnemar"]["p_value"] == pytest.approx(binomtest(alone[0], sum(alone)).pvalue)
    assert {"key": "model.name", decided.name: "mlp", "linear": "linear"} in found["recipes"]


def test_compare_on_the_command_line(danlu: Command, decided: Path, linear: Path) -> None:
    told = danlu("compare", linear, decided)
    assert told.returncode == 0 and "McNemar's test" in told.stdout and "model.name" in told.stdout
    assert json.loads(danlu("compare", linear, decided, "--json").stdout)["rows"] == 86


def test_runs_tested_on_different_rows_are_refused(linear: Path, table_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(linear, tmp_path / "other"))
    file = run / "predictions" / "test.parquet"
    pl.read_parquet(file).with_columns(row=pl.col("row") + 1).write_parquet(file)
    write_sealed(run / "evaluation.json", read_sealed(run / "evaluation.json"), [file])
    with pytest.raises(ArgumentError, match=r"tested on different rows \(86 and 86, of which \d+ are in both\)"):
        danlu.compare([linear, run])
    with pytest.raises(ArgumentError, match="takes two runs or more"):
        danlu.compare([linear])
    with pytest.raises(ArgumentError, match="give a list of paths"):
        danlu.compare(str(linear))
    (run / "evaluation.json").unlink()
    with pytest.raises(ArgumentError, match="no test predictions to compare"):
        danlu.compare([linear, run])


def test_runs_of_unrelated_data_are_refused_with_the_names_of_both(
    decided: Path, linear: Path, table_run: Path, tmp_path: Path
) -> None:
    unrelated = r"their data are not the same \(builtin:breast-cancer and .*wine\.csv, whose columns differ\)"
    with pytest.raises(ArgumentError, match=unrelated) as caught:
        danlu.compare([linear, table_run])
    assert caught.value.code == "DL407"
    # A column more leaves the rows and their answers what they were.
    run = Path(shutil.copytree(linear, tmp_path / "wider"))
    file = run / "data" / "profile.json"
    known = json.loads(file.read_text())
    file.write_text(json.dumps({**known, "columns": [*known["columns"], {"name": "new"}]}))
    assert danlu.compare([decided, run])["rows"] == 86


def test_a_threshold_needs_two_classes_and_one_purpose(table_recipe: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="a threshold needs exactly two classes; this target has 3"):
        danlu.check({**table_recipe, "evaluation": {"threshold": {"metric": "f1"}}})
    with pytest.raises(RecipeError, match="no threshold can be chosen for 'auroc'"):
        danlu.check({**BINARY, "evaluation": {"threshold": {"metric": "auroc"}}})
    with pytest.raises(RecipeError, match="set either a metric or costs"):
        danlu.check({**BINARY, "evaluation": {"threshold": {}}})


def test_groups_of_the_split_are_resampled_together(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    user = np.repeat(np.arange(60), 5)
    x = generator.normal(size=300)
    frame = pl.DataFrame({"user": [f"u{each}" for each in user], "x": x, "y": x + generator.normal(size=60)[user]})
    frame.write_csv(tmp_path / "grouped.csv")
    data = {"source": str(tmp_path / "grouped.csv"), "target": "y", "split": {"by": {"group": "user"}}}
    recipe = {**BINARY, "data": data, "model": "linear"}
    run = danlu.run(recipe, output=tmp_path).path
    assert evaluation_of(run)["intervals"]["resampled_by"] == "user"
    assert pl.read_parquet(run / "predictions" / "test.parquet")["group"].n_unique() == 9
