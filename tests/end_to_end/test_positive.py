"""`data.positive`: which of two classes metrics and the threshold are about."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import f1_score, precision_score

import danlu as package
from danlu.artifacts.bundle import open_bundle
from danlu.errors import RecipeError
from danlu.experiment.data_context import load_input
from danlu.tasks.base import Label
from danlu.tasks.classification import find_label, positive_last

RECIPE: dict[str, Any] = {
    "model": "linear",
    "training": {"epochs": 3, "batch_size": 16},
    "evaluation": {
        "metrics": ["f1-positive", "precision-positive", "accuracy"],
        "threshold": {"metric": "f1-positive"},
        "resamples": 0,
        "baselines": False,
    },
}


def rows() -> pl.DataFrame:
    generator = np.random.default_rng(0)
    x = generator.normal(size=300)
    sick = x + generator.normal(size=300) > 0.8
    return pl.DataFrame({"x": x, "state": np.where(sick, "ill", "well")})


def test_metrics_threshold_and_bundle_are_about_the_positive_class(tmp_path: Path) -> None:
    recipe = {**RECIPE, "data": {"target": "state", "positive": "ill"}}
    run = package.run(recipe, data=rows(), output=tmp_path).path
    figures = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    manifest = open_bundle(run).manifest
    assert manifest.positive == "ill" == figures["decision"]["threshold"]["positive"]
    assert manifest.output["labels"] == ["well", "ill"] == figures["labels"]
    tested = pl.read_parquet(run / "predictions" / "test.parquet")
    truth, said = tested["truth"].to_list(), tested["prediction"].to_list()
    assert figures["test"]["f1-positive"]["value"] == pytest.approx(f1_score(truth, said, pos_label="ill"))
    expected = precision_score(truth, said, pos_label="ill")
    assert figures["test"]["precision-positive"]["value"] == pytest.approx(expected)
    limit = manifest.output["threshold"]
    assert said == ["ill" if chance >= limit else "well" for chance in tested["probability_ill"].to_list()]
    assert "positive: ill" in (run / "recipe.yaml").read_text(encoding="utf-8")


def test_a_positive_class_that_is_not_clear_is_asked_for_where_it_matters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for evaluation in ({"threshold": {"costs": {"false_negative": 20}}}, {"metrics": ["f1-positive"]}):
        with pytest.raises(RecipeError, match=r"is about one of two classes; say `data.positive: ill` \(the rarer one"):
            package.check({"data": {"target": "state"}, "evaluation": evaluation}, data=rows())
    plain = {"resamples": 0, "baselines": False}
    run = package.run({**RECIPE, "data": {"target": "state"}, "evaluation": plain}, data=rows(), output=tmp_path).path
    assert open_bundle(run).manifest.positive == "well"
    assert "is 'well', the second by name; say `data.positive: ill`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("negative", "positive"), [("阳性", "阴性")[::-1], ("否", "是"), ("No", "Yes"), (0, 1), (False, True), ("-1", "1")]
)
def test_a_known_word_is_positive(negative: Label, positive: Label) -> None:
    state = [positive if each == "ill" else negative for each in rows()["state"]]
    found = load_input({"data": {"target": "state"}}, rows().with_columns(state=pl.Series(state)))
    assert found.recipe.data.positive == positive
    assert package.check({"data": {"target": "state"}, "evaluation": RECIPE["evaluation"]}, data=found.dataset.frame)


def test_a_threshold_that_silences_a_class_is_an_alarm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = {"threshold": {"costs": {"false_positive": 1, "false_negative": 20}}, "resamples": 0}
    recipe = {**RECIPE, "data": {"target": "state", "positive": "ill"}, "evaluation": evaluation}
    noise = rows().with_columns(x=pl.Series([0.0, 1.0] * 150))
    run = package.run(recipe, data=noise, output=tmp_path).path
    assert "no row of validation is answered 'well'; the positive class is 'ill'" in capsys.readouterr().err
    figures = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    assert figures["decision"]["threshold"]["never_answered"] == "well" and figures["positive"] == "ill"
    for page in ("report.html", "MODEL_CARD.md"):
        text = (run / page).read_text(encoding="utf-8")
        assert "The positive class is “ill”." in text and "no row of validation is answered “well”" in text


@pytest.mark.parametrize(
    ("positive", "target", "said"),
    [
        ("il", "state", "no class 'il'; the nearest is \"ill\""),
        ("ill", "three", "has 3; remove it"),
        ("ill", "x", "this task is regression"),
    ],
)
def test_what_is_none_of_two_classes_is_refused(positive: str, target: str, said: str) -> None:
    frame = rows().with_columns(three=pl.Series(["a", "b", "c"] * 100))
    with pytest.raises(RecipeError, match=said):
        package.check({"data": {"target": target, "positive": positive}}, data=frame)


@pytest.mark.parametrize(
    ("labels", "said", "found"),
    [
        ([0, 1], 0, 0),
        ([0, 1], "0", 0),
        (["0", "1"], 0, "0"),
        ([False, True], False, False),
        (["False", "True"], False, "False"),
        ([0, 1], False, 0),
        (["no", "yes"], "NO", "no"),
        (["no", "NO"], "NO", "NO"),
        ([0.0, 1.0], 0, 0.0),
    ],
)
def test_a_label_is_known_by_what_the_recipe_writes(labels: list[Label], said: Label, found: Label) -> None:
    chosen = find_label(labels, said)
    assert chosen == found and type(chosen) is type(found)
    assert positive_last(labels, said)[1] == found and len(positive_last(labels, said)) == 2
    assert find_label(labels, "other") is None
