"""Prediction sets and intervals: quantiles by hand, coverage by simulation, and runs that ask for them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import danlu
from danlu.artifacts.bundle import open_bundle
from danlu.artifacts.run import RunDirectory
from danlu.core.seeds import Seed
from danlu.errors import DataError, RecipeError
from danlu.evaluation.conformal import (
    conformal_figures,
    conformal_quantile,
    fit_conformal,
    required_rows,
)
from danlu.evaluation.intervals import Resampling
from danlu.metrics.base import Predictions
from danlu.models.written_answers import without_lists
from danlu.recipe.load import check_recipe, load_recipe
from danlu.recipe.sections.evaluation import Conformal, Evaluation
from danlu.reporting.page import write_report
from danlu.tasks.calibrations import ConformalQuantiles
from danlu.tasks.classification import ClassTarget
from danlu.tasks.regression import NumericTarget
from danlu.tasks.table import get_task

LABELS = ("a", "b", "c")
SPLITS = 200


def classes(**changes: Any) -> ClassTarget:
    return ClassTarget(column="y", labels=LABELS).model_copy(update=changes)


def numbers(**changes: Any) -> NumericTarget:
    return NumericTarget(column="y", mean=10.0, std=2.0).model_copy(update=changes)


@pytest.mark.parametrize(
    ("count", "coverage", "rank"),
    [
        (9, 0.9, 9),
        (10, 0.9, 10),
        (18, 0.9, 18),
        (19, 0.9, 18),
        (29, 0.9, 27),
        (99, 0.9, 90),
        (69, 0.9, 63),
        (3, 0.5, 2),
    ],
)
def test_the_quantile_is_the_score_of_rank_n_plus_1_times_coverage_rounded_up(
    count: int, coverage: float, rank: int
) -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
    assert conformal_quantile(scores, coverage) == rank


def test_equal_scores_are_all_covered() -> None:
    assert conformal_quantile(np.array([0.5] * 8 + [0.7, 0.7]), 0.8) == 0.7  # the ninth of ten
    assert conformal_quantile(np.array([0.5] * 8 + [0.7, 0.7]), 0.7) == 0.5
    held = classes(conformal=ConformalQuantiles(coverage=0.7, rows=10, quantiles=(0.5,)))
    assert held.prediction_sets(np.array([[0.5, 0.5, 0.0]], dtype=np.float32)).tolist() == [[True, True, False]]


def test_too_few_rows_are_refused_with_how_many_are_needed() -> None:
    assert [required_rows(share) for share in (0.5, 0.7, 0.9, 0.95, 0.99)] == [1, 3, 9, 19, 99]
    assert conformal_quantile(np.arange(9.0), 0.9) == 8.0
    with pytest.raises(DataError, match=r"has 8 rows, and a coverage of 0\.9 needs at least 9"):
        conformal_quantile(np.arange(8.0), 0.9)


def test_scores_are_1_less_the_true_class_probability_and_absolute_errors() -> None:
    of_classes = Predictions(np.array([0, 2]), np.array([[0.75, 0.25, 0.0], [0.5, 0.25, 0.25]], dtype=np.float32))
    assert get_task("classification").nonconformity(of_classes).tolist() == [0.25, 0.75]
    of_numbers = Predictions(np.array([1.0, 5.0]), np.array([3.0, 4.5]))
    assert get_task("regression").nonconformity(of_numbers).tolist() == [2.0, 0.5]


def test_decoded_predictions_get_sets_likeliest_first_and_intervals_in_the_targets_units() -> None:
    outputs = np.array([[0.25, 0.5, 0.25], [0.0, 0.0, 1.0], [0.375, 0.375, 0.25]], dtype=np.float32)
    held = classes(conformal=ConformalQuantiles(coverage=0.9, rows=9, quantiles=(0.625,)))
    assert held.decode(outputs)["prediction_set"].to_list() == [["b"], ["c"], ["a", "b"]]
    each = classes(conformal=ConformalQuantiles(coverage=0.9, by="class", rows=27, quantiles=(0.5, 0.625, 0.75)))
    assert each.decode(outputs)["prediction_set"].to_list() == [["b", "c"], ["c"], ["b", "c"]]
    empty = classes(conformal=ConformalQuantiles(coverage=0.9, rows=9, quantiles=(0.25,)))
    assert empty.decode(outputs)["prediction_set"].to_list() == [[], ["c"], []]
    spread = numbers(conformal=ConformalQuantiles(coverage=0.9, rows=9, quantiles=(3.0,)))
    found = spread.decode(np.array([[0.5]], dtype=np.float32))
    assert found.rows() == [(11.0, 8.0, 14.0)] and found.columns == ["prediction", "low", "high"]


def test_without_quantiles_nothing_is_added_to_predictions_recipes_and_bundles() -> None:
    outputs = np.array([[0.25, 0.5, 0.25]], dtype=np.float32)
    assert "prediction_set" not in classes().decode(outputs).columns
    assert numbers().decode(outputs).columns == ["prediction"]
    assert list(classes().model_dump()) == ["task", "column", "labels", "calibration", "threshold"]
    assert list(numbers().model_dump(mode="json")) == ["task", "column", "mean", "std"]
    assert "intervals" not in Evaluation().model_dump() and '"intervals"' not in Evaluation().model_dump_json()
    held = numbers(conformal=ConformalQuantiles(coverage=0.9, rows=9, quantiles=(3.0,)))
    assert NumericTarget.model_validate(held.model_dump(mode="json")) == held


@pytest.mark.parametrize(
    ("said", "coverage", "by"),
    [
        ("conformal", 0.9, "none"),
        ({"conformal": {"coverage": 0.8}}, 0.8, "none"),
        ({"name": "conformal", "by": "class"}, 0.9, "class"),
    ],
)
def test_conformal_is_written_as_components_are(said: Any, coverage: float, by: str) -> None:
    recipe = check_recipe({"data": {"source": "builtin:wine"}, "evaluation": {"intervals": said}})
    assert recipe.evaluation.conformal == Conformal(coverage=coverage, by=by)  # type: ignore[arg-type]
    again = check_recipe(recipe.model_dump(mode="json", by_alias=True))
    assert again.evaluation.conformal == recipe.evaluation.conformal
    assert check_recipe({"data": {"source": "builtin:wine"}}).evaluation.conformal is None


def test_the_coverage_is_set_over_a_name_alone(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("data: {source: 'builtin:wine'}\nevaluation: {intervals: conformal}\n")
    recipe = load_recipe(tmp_path / "r.yaml", overrides=["evaluation.intervals.conformal.coverage=0.8"])
    assert recipe.evaluation.conformal == Conformal(coverage=0.8)


def drawn_classes(generator: np.random.Generator, count: int) -> Predictions:
    """Three classes of unequal frequency, and a model that is surer than it should be."""
    logits = generator.normal(size=(count, 3)) * 1.5 + np.array([1.5, 0.5, -0.5])
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (generator.random((count, 1)) > shares.cumsum(axis=1)).sum(axis=1).clip(max=2)
    sure = shares**2 / (shares**2).sum(axis=1, keepdims=True)
    return Predictions(truth, sure.astype(np.float32))


def drawn_numbers(generator: np.random.Generator, count: int) -> Predictions:
    """Skewed errors of a model that is off by half a unit on average."""
    means = generator.normal(size=count) * 3
    return Predictions(means + generator.exponential(size=count), means + 0.5)


def test_90_percent_sets_and_intervals_cover_88_to_92_percent_over_200_splits() -> None:
    shares: dict[str, list[float]] = {"sets": [], "each class": [], "intervals": []}
    smallest = []
    for number in range(SPLITS):
        generator = np.random.default_rng(number)
        known, test = drawn_classes(generator, 300), drawn_classes(generator, 1000)
        rows = np.arange(len(test))
        held = fit_conformal(Conformal(), classes(), known)
        assert isinstance(held, ClassTarget)
        shares["sets"].append(held.prediction_sets(test.y_pred)[rows, test.y_true].mean())
        each = fit_conformal(Conformal(by="class"), classes(), known)
        assert isinstance(each, ClassTarget)
        covered = each.prediction_sets(test.y_pred)[rows, test.y_true]
        shares["each class"].append(np.mean([covered[test.y_true == c].mean() for c in range(3)]))
        smallest.append([covered[test.y_true == c].mean() for c in range(3)])
        known, test = drawn_numbers(generator, 200), drawn_numbers(generator, 1000)
        spread = fit_conformal(Conformal(), numbers(), known)
        found = conformal_figures(spread, test, None, "validation")
        shares["intervals"].append(found["test"]["coverage"]["value"])
    for name, values in shares.items():
        assert 0.88 <= np.mean(values) <= 0.92, name
    assert (np.mean(smallest, axis=0) >= 0.89).all()  # by class, the rarest too


def test_coverage_of_one_class_may_miss_where_that_of_all_holds() -> None:
    """What `by: class` is for: with one quantile the rarest class is covered less often."""
    generator = np.random.default_rng(0)
    known, test = drawn_classes(generator, 20_000), drawn_classes(generator, 20_000)
    one = conformal_figures(fit_conformal(Conformal(), classes(), known), test, None, "validation")
    each = conformal_figures(fit_conformal(Conformal(by="class"), classes(), known), test, None, "validation")
    assert one["test"]["classes"]["c"]["coverage"] < 0.78 < 0.88 < each["test"]["classes"]["c"]["coverage"]


def test_figures_of_sets_by_hand() -> None:
    held = classes(conformal=ConformalQuantiles(coverage=0.8, rows=9, quantiles=(0.625,)))
    answers = np.array([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5], [1.0, 0.0, 0.0], [0.34, 0.33, 0.33]], dtype=np.float32)
    test = Predictions(np.array([1, 0, 0, 2]), answers)  # sets ab, c, a, none
    found = conformal_figures(held, test, Resampling(Seed(0), resamples=200), "validation")
    assert found["test"]["coverage"]["value"] == 0.5 and found["test"]["size"]["value"] == 1.0
    assert 0 <= found["test"]["coverage"]["low"] <= 0.5 <= found["test"]["coverage"]["high"] <= 1
    assert found["test"]["sizes"] == [1, 2, 1, 0]
    assert found["test"]["classes"] == {
        "a": {"coverage": 0.5, "support": 2},
        "b": {"coverage": 1.0, "support": 1},
        "c": {"coverage": 0.0, "support": 1},
    }
    assert (found["quantile"], found["coverage"], found["rows"], found["by"]) == (0.625, 0.8, 9, "none")
    spread = numbers(conformal=ConformalQuantiles(coverage=0.9, rows=9, quantiles=(1.5,)))
    of_numbers = conformal_figures(spread, Predictions(np.array([0.0, 1.0, 9.0]), np.array([1.5, 1.0, 1.0])), None, "x")
    assert of_numbers["test"] == {"coverage": {"value": 2 / 3}, "width": {"value": 3.0}}


def test_a_csv_file_holds_sets_as_json() -> None:
    frame = pl.DataFrame({"prediction_set": [[1, 2], [], [3]], "prediction": [["a", "b"], [], ["c"]]})
    assert without_lists(frame).rows() == [("[1, 2]", "a;b"), ("[]", ""), ("[3]", "c")]


def trained(folder: Path, name: str, source: str, intervals: Any, **more: Any) -> Path:
    recipe = {
        "name": name,
        "data": {"source": f"builtin:{source}"},
        "model": "linear",
        "training": {"epochs": 5},
        "evaluation": {"resamples": 100, "slices": False, "baselines": False, "intervals": intervals, **more},
    }
    return danlu.run(recipe, output=folder).path


@pytest.fixture(scope="module")
def sets_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    return trained(folder, "sets", "breast-cancer", {"conformal": {"by": "class"}}, calibration="temperature")


def evaluation_of(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "evaluation.json").read_text()))


@pytest.mark.training
def test_a_run_keeps_quantiles_of_validation_and_reports_coverage_on_test(sets_run: Path) -> None:
    found, kept = evaluation_of(sets_run)["conformal"], open_bundle(sets_run).manifest.output["conformal"]
    validation = pl.read_parquet(sets_run / "predictions" / "validation.parquet")
    assert found["calibrated_on"] == "validation" and found["rows"] == kept["rows"] == validation.height
    for label, quantile in zip(("benign", "malignant"), kept["quantiles"], strict=True):
        rows = validation.filter(pl.col("truth") == label)
        scores = np.sort(1.0 - rows[f"probability_{label}"].to_numpy().astype(np.float64))
        assert quantile == scores[int(np.ceil((len(scores) + 1) * 0.9)) - 1]
    test = pl.read_parquet(sets_run / "predictions" / "test.parquet")
    covered = [truth in held for truth, held in test.select("truth", "prediction_set").rows()]
    assert found["test"]["coverage"]["value"] == pytest.approx(np.mean(covered))
    assert found["test"]["size"]["value"] == pytest.approx(test["prediction_set"].list.len().mean())
    assert {"low", "high"} <= set(found["test"]["coverage"]) and {"low", "high"} <= set(found["test"]["size"])


@pytest.mark.training
def test_sets_stand_in_predictions_evaluated_again_and_in_the_report(sets_run: Path, tmp_path: Path) -> None:
    before, bundle = evaluation_of(sets_run)["conformal"], (sets_run / "model" / "bundle.json").read_bytes()
    answers = danlu.predict(sets_run, "builtin:breast-cancer", output=tmp_path / "a.csv")
    assert answers["prediction_set"].dtype == pl.List(pl.String)
    written = [json.loads(held) for held in pl.read_csv(tmp_path / "a.csv")["prediction_set"]]
    assert written == answers["prediction_set"].to_list()
    test = pl.read_parquet(sets_run / "predictions" / "test.parquet")
    assert answers["prediction_set"].gather(test["row"]).to_list() == test["prediction_set"].to_list()
    danlu.evaluate(sets_run)
    assert evaluation_of(sets_run)["conformal"] == before
    assert (sets_run / "model" / "bundle.json").read_bytes() == bundle
    for language, words in (("en", "holds within each class|hold within each class"), ("zh", "预测集与区间")):
        page = write_report(RunDirectory.open(sets_run), language).read_text()
        assert 'id="conformal"' in page and any(word in page for word in words.split("|"))


@pytest.mark.training
def test_intervals_of_numbers_come_from_validation(tmp_path: Path) -> None:
    run = trained(tmp_path, "numbers", "diabetes", {"conformal": {"coverage": 0.8}})
    validation = pl.read_parquet(run / "predictions" / "validation.parquet")
    errors = np.sort((validation["truth"] - validation["prediction"]).abs().to_numpy())
    reach = errors[int(np.ceil((len(errors) + 1) * 0.8)) - 1]
    test = pl.read_parquet(run / "predictions" / "test.parquet")
    np.testing.assert_allclose(test["high"] - test["prediction"], reach)
    np.testing.assert_allclose(test["prediction"] - test["low"], reach)
    found = evaluation_of(run)["conformal"]
    inside = test.select(pl.col("truth").is_between("low", "high").mean()).item()
    assert found["test"]["coverage"]["value"] == pytest.approx(inside)
    assert found["test"]["width"]["value"] == pytest.approx(2 * reach) and 0.65 < inside < 0.92
    assert danlu.predict(run, "builtin:diabetes").columns == ["prediction", "low", "high"]
    assert 'id="conformal"' in (run / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize(("source", "column"), [("wine", "prediction_set"), ("diabetes", "low")])
def test_a_refitted_model_is_calibrated_on_answers_out_of_the_folds(tmp_path: Path, source: str, column: str) -> None:
    run = trained(tmp_path, "refitted", source, "conformal", folds={"folds": 3, "final": "refit"})
    kept, folds = open_bundle(run).manifest.output["conformal"], pl.read_parquet(run / "predictions" / "folds.parquet")
    if source == "diabetes":
        scores = (folds["truth"] - folds["prediction"]).abs().to_numpy()
    else:
        shares = [row[f"probability_{row['truth']}"] for row in folds.iter_rows(named=True)]
        scores = 1.0 - np.array(shares)
    assert kept["rows"] == len(scores) and evaluation_of(run)["conformal"]["calibrated_on"] == "out-of-fold"
    assert kept["quantiles"][0] == pytest.approx(np.sort(scores)[int(np.ceil((len(scores) + 1) * 0.9)) - 1], rel=1e-6)
    assert column in danlu.predict(run, f"builtin:{source}").columns


@pytest.mark.parametrize(
    ("source", "intervals", "told"),
    [
        ("diabetes", {"conformal": {"by": "class"}}, "regression has no classes"),
        ("wine", {"conformal": {"coverage": 0.99}}, r"the validation split has \d+ rows.*needs at least 99"),
        ("wine", {"conformal": {"by": "class"}}, r"class .* of the validation split has \d rows.*needs at least 9"),
        ("speeches-corpus", "conformal", "this task is language-modelling"),
    ],
)
def test_what_cannot_be_covered_is_refused_before_training(source: str, intervals: Any, told: str) -> None:
    recipe = {"data": {"source": f"builtin:{source}"}, "evaluation": {"intervals": intervals}}
    with pytest.raises(RecipeError, match=told):
        danlu.check(recipe)
