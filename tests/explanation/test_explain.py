"""`danlu explain` on bundles: what it gives, for every task of tables, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import danlu
from danlu import explain as explain_bundle
from danlu.artifacts.bundle import open_bundle
from danlu.data.builtin import read_builtin
from danlu.errors import ArgumentError, DataError
from danlu.models.predictor import Predictor
from tests.conftest import Command
from tests.support.warm import LIGHT, program


def _train(folder: Path, name: str, source: str, model: dict[str, Any] | str, **data: Any) -> Path:
    recipe: dict[str, Any] = {
        "name": name,
        "data": {"source": source, **data},
        "model": model,
        "training": {"epochs": 3},
    }
    if isinstance(model, dict) and model["name"] in ("tree", "boosting"):
        del recipe["training"]
    return danlu.train(recipe, name=name, output=folder).path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each way in which values are computed."""
    folder = tmp_path_factory.mktemp("explained")
    return {
        "linear": _train(folder, "linear", "builtin:breast-cancer", "linear"),
        "additive": _train(folder, "additive", "builtin:diabetes", "additive"),
        "trees": _train(folder, "trees", "builtin:wine", {"name": "boosting", "rounds": 5}),
        "enumerated": _train(folder, "enumerated", "builtin:diabetes", {"name": "mlp", "hidden": [8]}),
        "odd": _train(folder, "odd", "builtin:breast-cancer", {"name": "mlp", "hidden": [8]}),
    }


@pytest.mark.parametrize("estimator", ["linear", "additive", "trees", "enumerated", "odd"])
def test_each_kind_of_model_has_its_estimator_and_values_add_up(runs: dict[str, Path], estimator: str) -> None:
    found = danlu.explain(runs[estimator], rows=[0, 2], methods=["shap"])
    assert [one.row for one in found.local] == [0, 2]
    for one in found.local:
        assert (one.estimator, one.exact) == (estimator, estimator != "odd")
        total = one.base + sum(each.share.value for each in one.values)
        assert total == pytest.approx(one.answer, rel=1e-5, abs=1e-5)
        assert all(each.share.low <= each.share.value <= each.share.high for each in one.values)  # type: ignore[operator]


def test_values_of_a_linear_model_are_weight_times_distance_from_the_mean(runs: dict[str, Path]) -> None:
    one = danlu.explain(runs["linear"], rows=[1], methods=["shap"], label="malignant").local[0]
    bundle = open_bundle(runs["linear"])
    predictor = Predictor.load(bundle)
    weights = predictor.model.linear.weight.detach().double().numpy()
    place = predictor.target.labels.index("malignant")
    slopes = weights[place] - weights[1 - place]
    reference = bundle.reference_rows()
    assert reference is not None
    means = predictor.preprocessor.arrays(reference[:100], "")[0].astype(np.float64).mean(axis=0)
    row = pl.DataFrame({each.name: [each.input] for each in one.values})
    here = predictor.preprocessor.arrays(row, "")[0][0]
    expected = dict(zip(predictor.preprocessor.names, slopes * (here - means), strict=True))
    for each in one.values:
        assert each.share.value == pytest.approx(expected[each.name], abs=1e-6)
    assert one.scale == "score"


def test_the_answer_explained_is_the_one_that_is_predicted(runs: dict[str, Path]) -> None:
    one = danlu.explain(runs["odd"], "builtin:breast-cancer", rows=[3]).local[0]
    answer = danlu.predict(runs["odd"], "builtin:breast-cancer")[3]
    assert one.label == answer["prediction"][0]
    assert one.answer == pytest.approx(answer["probability"][0], abs=1e-5)
    number = danlu.explain(runs["enumerated"], "builtin:diabetes", rows=[3]).local[0]
    assert number.answer == pytest.approx(
        danlu.predict(runs["enumerated"], "builtin:diabetes")["prediction"][3], rel=1e-4
    )
    assert number.label is None and number.scale == "number"


def test_a_table_is_explained_without_torch(runs: dict[str, Path]) -> None:
    code = (
        "import sys, danlu\n"
        "for run in sys.argv[1:]:\n"
        "    found = danlu.explain(run, rows=[0], budget=200)\n"
        "    assert found.engine == 'numpy' and 'torch' not in sys.modules, (run, found.engine)\n"
    )
    ran = program(code, *(runs[name] for name in ("linear", "additive", "trees", "odd")), forks=LIGHT)
    assert ran.returncode == 0, ran.stderr


def test_estimated_values_hold_the_exact_ones_in_their_intervals(runs: dict[str, Path]) -> None:
    exact = danlu.explain(runs["enumerated"], rows=[0, 1, 2, 3], methods=["shap"])
    drawn = danlu.explain(runs["enumerated"], rows=[0, 1, 2, 3], methods=["shap"], budget=200)
    inside = [
        each.share.low - 1e-4 <= true.share.value <= each.share.high + 1e-4  # type: ignore[operator]
        for one, other in zip(drawn.local, exact.local, strict=True)
        for each, true in zip(one.values, other.values, strict=True)
    ]
    assert not drawn.local[0].exact and drawn.local[0].calls <= 200
    assert np.mean(inside) >= 0.85


def test_a_wanted_error_is_reached_or_said_not_to_be(runs: dict[str, Path]) -> None:
    reached = danlu.explain(runs["odd"], rows=[0], methods=["shap"], error=0.2).local[0]
    assert reached.reached_error <= 0.2
    found = danlu.explain(runs["odd"], rows=[0], methods=["shap"], error=1e-9, budget=150)
    assert "error-not-reached" in [code for code, _ in found.warnings]


def test_the_document_and_arrays_are_the_same_bytes_on_a_second_call(runs: dict[str, Path], tmp_path: Path) -> None:
    for output in ("first", "second"):
        found = danlu.explain(runs["trees"], rows=[4, 1], output=tmp_path / output)
        assert found.arrays == str(tmp_path / output / "values.npz")
    first, second = ((tmp_path / name / "values.npz").read_bytes() for name in ("first", "second"))
    assert first == second
    texts = [(tmp_path / name / "explanation.json").read_text().replace(name, "") for name in ("first", "second")]
    assert texts[0] == texts[1]
    with np.load(tmp_path / "first" / "values.npz") as arrays:
        assert arrays["rows"].tolist() == [1, 4]
        assert arrays["local/shap/value"].shape == (2, len(arrays["columns"]))


def test_another_order_of_rows_changes_no_value(runs: dict[str, Path]) -> None:
    frame = read_builtin("builtin:breast-cancer").frame[:6]
    forward = danlu.explain(runs["odd"], frame, budget=300)
    back = danlu.explain(runs["odd"], frame.reverse(), budget=300)
    for one, other in zip(forward.local, reversed(back.local), strict=True):
        assert one.values == other.values


def test_the_command_prints_the_document(runs: dict[str, Path], danlu: Command, tmp_path: Path) -> None:
    ran = danlu("explain", runs["trees"], "--rows", "3,1", "-o", tmp_path / "out", "--json")
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert document == json.loads((tmp_path / "out" / "explanation.json").read_text())
    assert document["format"] == 1 and document["recommended"] == "shap"
    assert document["source"]["split"] == "validation"
    local, overall = document["local"][0], document["global"][0]
    assert document["trust"][0]["completeness"]["value"] <= 1e-5
    assert local["row"] == 1 and local["method"] == "shap" and local["exact"] is True
    assert {"name", "input", "value", "low", "high"} == set(local["values"][0])
    assert overall["method"] == "permutation" and overall["metric"] == "log-loss" and overall["repeats"] == 10
    assert {"value", "low", "high"} == set(overall["columns"][0]["conditional"])
    plain = danlu("explain", runs["trees"], "--rows", "0", "--method", "shap")
    assert plain.returncode == 0 and "row 0: score of" in plain.stdout


def test_no_look_at_the_test_split_is_counted(runs: dict[str, Path]) -> None:
    before = sorted(path.name for path in runs["trees"].iterdir())
    danlu.explain(runs["trees"], split="test", rows=[0])
    assert sorted(path.name for path in runs["trees"].iterdir()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": [99999]}, r"rows: no row 99999; the rows are 0 to \d+"),
        ({"methods": ["shapp"]}, "method: no method 'shapp'"),
        ({"label": "benig"}, "label: no label 'benig'"),
        ({"error": 0.0}, "error: must be greater than 0, got 0"),
        ({"budget": 0}, "budget: must be at least 1 call, got 0"),
        ({"budget": 50}, "50 calls are too few for 30 columns"),
        ({"split": "train"}, "split: 'train' is not allowed"),
    ],
)
def test_what_cannot_be_explained_is_refused_by_name(
    runs: dict[str, Path], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        danlu.explain(runs["odd"], **options)


def test_permutation_importance_of_a_labelled_file_is_that_of_the_split_it_is(runs: dict[str, Path]) -> None:
    split = danlu.explain(runs["odd"], methods=["permutation"]).overall[0]
    split_rows = pl.read_parquet(runs["odd"] / "data" / "split.parquet").with_row_index("at")
    kept = split_rows.filter(pl.col("part") == "validation")["row"].to_list()
    frame = read_builtin("builtin:breast-cancer").frame.lazy().collect()[kept]
    assert danlu.explain(runs["odd"], frame, methods=["permutation"]).overall[0].columns == split.columns
    assert [one.method for one in danlu.explain(runs["odd"], frame, rows=[0], budget=200).overall] == ["permutation"]
    unlabelled = frame.drop("diagnosis")
    assert danlu.explain(runs["odd"], unlabelled, rows=[0], budget=200).overall == ()
    with pytest.raises(DataError, match="no column 'diagnosis', which holds what the model predicts"):
        danlu.explain(runs["odd"], unlabelled, methods=["permutation"])
    of_bundle = danlu.explain(runs["odd"] / "model", frame, methods=["permutation"]).overall[0]
    assert of_bundle.columns == split.columns  # a bundle alone knows what it predicts
    assert danlu.explain(runs["odd"] / "model", unlabelled, rows=[0], budget=200).overall == ()
    with pytest.raises(DataError, match="no column 'diagnosis', which holds what the model predicts"):
        danlu.explain(runs["odd"] / "model", unlabelled, methods=["permutation"])


def test_predictions_have_their_explanation_beside_them(runs: dict[str, Path], danlu: Command, tmp_path: Path) -> None:
    frame = read_builtin("builtin:breast-cancer").frame.lazy().collect()[:3]
    frame.write_csv(tmp_path / "rows.csv")
    ran = danlu("predict", runs["linear"], tmp_path / "rows.csv", "--explain", "-o", tmp_path / "a.jsonl")
    assert ran.returncode == 0, ran.stderr
    answers = pl.read_ndjson(tmp_path / "a.jsonl")
    assert answers.columns[-1] == "explanation" and answers.height == 3
    expected = explain_bundle(runs["linear"], frame, methods=["shap"]).local
    for text, one in zip(answers["explanation"], expected, strict=True):
        values = json.loads(text)
        assert [set(each) for each in values] == [{"name", "value", "low", "high"}] * len(one.values)
        assert [each["value"] for each in values] == [each.share.value for each in one.values]


def test_a_row_in_error_has_no_explanation(runs: dict[str, Path]) -> None:
    frame = read_builtin("builtin:breast-cancer").frame.lazy().collect()[:3].cast(pl.String)
    frame = frame.with_columns(pl.Series("mean radius", ["17.9", "wide", "20.5"]))
    answers = danlu.predict(runs["linear"], frame, explain=True)
    assert answers["error"].is_null().to_list() == [True, False, True]
    assert answers["explanation"].is_null().to_list() == [False, True, False]


def test_a_bundle_alone_has_no_rows(runs: dict[str, Path]) -> None:
    with pytest.raises(ArgumentError, match="a bundle has no rows of its own; give DATA, or the run"):
        danlu.explain(runs["odd"] / "model")
    frame = read_builtin("builtin:breast-cancer").frame
    assert danlu.explain(runs["linear"] / "model", frame[:1]).local[0].row == 0
    with pytest.raises(DataError, match="no column 'mean radius'"):
        danlu.explain(runs["odd"], frame.drop("mean radius"))


def test_without_reference_rows_boosted_trees_follow_their_training_rows_and_others_are_refused(tmp_path: Path) -> None:
    recipe = {"name": "bare", "data": {"source": "builtin:wine"}, "bundle": {"reference": "none"}}
    trees = danlu.train({**recipe, "model": {"name": "boosting", "rounds": 5}}, name="trees", output=tmp_path)
    found = danlu.explain(trees, rows=[0], methods=["shap"])
    assert found.local[0].estimator == "trees"
    assert "no-background" in [code for code, _ in found.warnings]
    linear = danlu.train({**recipe, "model": "linear", "training": {"epochs": 1}}, name="linear", output=tmp_path)
    with pytest.raises(ArgumentError, match="keeps no rows of its training split"):
        danlu.explain(linear, rows=[0], methods=["shap"])


def test_rows_of_words_dates_and_missing_cells_are_explained_by_column(table_run: Path) -> None:
    found = danlu.explain(table_run, rows=[0, 1], budget=300)
    columns = [each.name for each in found.local[0].values]
    assert "shelf" in columns and "bottled" in columns and len(set(columns)) == len(columns)
    assert json.loads(json.dumps(found.to_json())) == found.to_json()


def test_several_labels_and_several_numbers_are_explained_one_at_a_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 120))
    frame = pl.DataFrame({"a": first, "b": second, "x": 2 * first, "y": second - first})
    frame = frame.with_columns(
        tags=pl.when(pl.col("a") > 0).then(pl.lit("up")).otherwise(pl.lit(""))
        + pl.when(pl.col("b") > 0).then(pl.lit(";big")).otherwise(pl.lit(";small"))
    )
    options = {"model": "linear", "training": {"epochs": 8}}
    numbers = danlu.train(
        {"name": "n", "data": {"target": ["x", "y"]}, **options}, data=frame.drop("tags"), name="n", output=tmp_path
    )
    one = danlu.explain(numbers, frame[:5], label="y").local[0]
    assert (one.label, one.estimator) == ("y", "linear")
    importance = danlu.explain(numbers, frame, methods=["permutation"], label="x").overall[0]
    assert importance.metric == "mse" and importance.columns[0].plain.value > 20 * importance.columns[1].plain.value
    both = danlu.explain(numbers, frame, methods=["permutation"]).overall[0]
    assert both.metric == "relative-mse"
    assert danlu.explain(numbers.path / "model", frame, methods=["permutation"]).overall[0] == both
    labels = danlu.train(
        {"name": "l", "data": {"target": "tags", "target_separator": ";"}, **options},
        data=frame.select("a", "b", "tags"),
        name="l",
        output=tmp_path,
    )
    with pytest.raises(DataError, match="multi-label does not say how its answers are written"):
        danlu.explain(labels.path / "model", frame, methods=["permutation"])
    two = danlu.explain(labels, frame[:40], label="up", rows=range(40)).local
    shares = np.array([[each.share.value for each in one.values] for one in two])
    predictor = Predictor.load(labels.path)
    weights = predictor.model.linear.weight.detach().double().numpy()[predictor.target.labels.index("up")]
    inputs = predictor.preprocessor.arrays(frame[:40], "")[0].astype(np.float64)
    assert {one.label for one in two} == {"up"}
    assert np.allclose(shares - shares[0], weights * (inputs - inputs[0]), atol=1e-6)


def test_curves_of_an_additive_model_are_those_it_is_made_of(runs: dict[str, Path]) -> None:
    found = danlu.explain(runs["additive"], methods=["partial-dependence", "accumulated-effects"])
    dependence, effects = found.overall
    for one, other in zip(dependence.columns, effects.columns, strict=True):  # type: ignore[union-attr]
        steps = [np.diff([each.share.value for each in curve.points]) for curve in (one, other)]
        assert np.allclose(*steps, atol=1e-3)
    assert json.loads(json.dumps(found.to_json())) == found.to_json()
    arrays = found.to_arrays()
    assert arrays["global/partial-dependence/0/single"].shape[1] == len(arrays["global/partial-dependence/0/value"])


def test_a_surrogate_and_curves_of_words_and_dates_are_printed(table_run: Path, danlu: Command) -> None:
    ran = danlu(
        "explain", table_run, "--method", "surrogate,interactions,partial-dependence,accumulated-effects", "--json"
    )
    assert ran.returncode == 0, ran.stderr
    surrogate, interactions, dependence, effects = json.loads(ran.stdout)["global"]
    assert {"value", "low", "high"} == set(surrogate["fidelity"]) and surrogate["rules"][0]["rows"] >= 5
    assert len(interactions["pairs"][0]["names"]) == 2
    assert "bottled" in [each["name"] for each in dependence["columns"]]
    assert "shelf" in [each["name"] for each in effects["columns"]]
    plain = danlu("explain", table_run, "--method", "surrogate,accumulated-effects,interactions")
    assert plain.returncode == 0 and "surrogate: fidelity" in plain.stdout
