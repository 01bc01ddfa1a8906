"""Multi-output regression: columns packed into one target, its metrics, and a model from recipe to report."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import r2_score

import danlu
from danlu.data.builtin import read_builtin
from danlu.data.descriptors import RawData
from danlu.data.interpret import interpret, open_dataset
from danlu.errors import DataError, RecipeError
from danlu.metrics.base import Predictions, compute_values
from danlu.models.predictor import Predictor
from danlu.recipe.sections.data import Data
from danlu.tasks.base import FitInputs
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.metric_table import METRICS
from danlu.tasks.multi_output import MultiNumericTarget, MultiOutput, multi_output_loss, unpack_numbers

SIZES = ("mean area", "worst radius")


def tumours() -> pl.DataFrame:
    """Some measures of the breast-cancer data, two of which are predicted."""
    return read_builtin("builtin:breast-cancer").frame.select(
        "mean radius", "mean texture", "mean smoothness", "mean concavity", "worst texture", *SIZES
    )


def test_several_columns_of_numbers_are_this_task_and_flags_are_labels(tmp_path: Path) -> None:
    rows = {"x": [1.5, 2.5, 3.5] * 20, "a": [0.1, 2.0, 3.0] * 20, "b": [0, 1, 1] * 20, "c": [1, 0, 1] * 20}
    pl.DataFrame(rows).write_csv(tmp_path / "d.csv")
    numbers = open_dataset(Data(source=str(tmp_path / "d.csv"), target=("a", "b")))
    assert numbers.task.name == "multi-output-regression" and numbers.target == "targets"
    assert [column.name for column in numbers.used] == ["x", "c"]
    assert unpack_numbers(numbers.frame["targets"]).rows()[1] == (2.0, 1.0)
    assert open_dataset(Data(source=str(tmp_path / "d.csv"), target=("b", "c"))).task.name == "multi-label"
    asked = Data(source=str(tmp_path / "d.csv"), target=("b", "c"), task="multi-output-regression")
    assert open_dataset(asked).task.name == "multi-output-regression"


def test_numbers_survive_their_packing_exactly() -> None:
    values = [0.1, 1e-300, -1 / 3, 123456789.123456789]
    frame = pl.DataFrame({"a": values, "b": values[::-1]})
    packed = frame.select(pl.struct("a", "b").struct.json_encode().alias("targets"))
    target = MultiNumericTarget(column="targets", names=("a", "b"), means=(0.0, 0.0), stds=(1.0, 1.0))
    assert np.array_equal(target.numbers(packed), frame.to_numpy())


@pytest.mark.parametrize(
    ("target", "task", "error", "message"),
    [
        (["x", "word"], "multi-output-regression", DataError, "'word' of data.target is String"),
        (["x", "same"], None, DataError, "'same' of data.target is the same in every row"),
        (["x", "huge"], None, DataError, r"'huge' of data.target is 1e\+31 in 30 rows, too large"),
        ("x", "multi-output-regression", DataError, "needs several target columns"),
        ("word", "multi-output-regression", DataError, "needs several target columns"),
        (["x", ""], "multi-output-regression", DataError, "no column ''"),
        (["x", "y"], "regression", RecipeError, "regression takes one target column"),
    ],
)
def test_what_cannot_be_learned_is_refused(target: object, task: object, error: type[Exception], message: str) -> None:
    data = {
        "x": [0.5, 1.5] * 30,
        "y": [0.25, 3.0] * 30,
        "z": np.random.default_rng(0).normal(size=60),
        "word": ["a", "b"] * 30,
        "same": [2.0] * 60,
        "huge": [1e31, 1.0] * 30,
    }
    with pytest.raises(error, match=message):
        danlu.check({"data": {"source": "x.csv", "target": target, "task": task}}, data=data)


def test_metrics_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    true = generator.normal(size=(200, 3)) * [1, 100, 0.01] + [0, 1e6, 5]
    said = true + generator.normal(size=(200, 3)) * [0.5, 20, 0.02]
    found = compute_values({name: METRICS[name] for name in MultiOutput.own_metrics}, Predictions(true, said))
    assert found["mean-r2"] == pytest.approx(r2_score(true, said), abs=1e-9)
    errors = np.sqrt(((true - said) ** 2).mean(axis=0)) / true.std(axis=0)
    assert found["relative-rmse"] == pytest.approx(errors.mean())


def test_each_output_is_standardised_and_returned_in_its_units() -> None:
    rows = tumours().head(50)
    packed = rows.select(pl.struct(SIZES).struct.json_encode().alias("targets"))["targets"]
    target = MultiOutput().fit_target(FitInputs(packed, "targets", "x"))
    assert isinstance(target, MultiNumericTarget)
    encoded = target.encode(packed.to_frame())
    assert encoded.mean(dim=0).abs().max() < 1e-5 and encoded.std(dim=0, correction=0) == pytest.approx(
        torch.ones(2), abs=1e-5
    )
    assert target.decode(encoded.numpy())["prediction_mean area"].to_numpy() == pytest.approx(
        rows["mean area"].to_numpy(), rel=1e-5
    )
    loss, count = multi_output_loss(encoded + 1, encoded, LossWeighting())
    assert count == 50 and float(loss) == pytest.approx(50)


@pytest.mark.training
def test_several_numbers_go_from_recipe_to_report(tmp_path: Path) -> None:
    frame = tumours()
    recipe = {
        "name": "sizes",
        "data": {"source": "x.csv", "target": list(SIZES)},
        "model": {"name": "mlp", "hidden": [16]},
        "training": {"epochs": 15, "optimizer": {"lr": 0.01}},
        "evaluation": {"slices": True},
    }
    run = danlu.run(recipe, data=frame, output=tmp_path / "run")
    evaluation = run.evaluation()
    assert evaluation["main"]["metric"] == "mean-r2" and evaluation["test"]["mean-r2"]["value"] > 0.8
    assert list(evaluation["test"]["outputs"]) == list(SIZES)
    assert evaluation["test"]["outputs"]["mean area"]["r2"]["low"] > 0.7
    assert list(evaluation["baselines"]) == ["mean", "ridge", "gradient-boosting"]
    assert evaluation["baselines"]["ridge"]["test"]["mean-r2"]["value"] > 0.9
    answers = Predictor.load(run.path).predict(frame.head(3).drop(SIZES))
    assert answers.columns == ["prediction_mean area", "prediction_worst radius"]
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "Each output on the test split" in page and "multi-output regression" in page
    assert danlu.compare([run.path, run.path])["differences"]


def test_decimals_are_numbers_and_a_gap_in_one_output_leaves_the_row_out() -> None:
    exact = pl.Series("a", ["1.25", "2.50", None, "4.75"]).cast(pl.Decimal(10, 2))
    source = RawData(pl.DataFrame({"x": [1.0, 2.0, 3.0, 5.0], "a": exact, "b": [1.0, 3.0, 2.0, 4.0]}), "rows", Path())
    section = Data(source="rows", target=("a", "b"), clean={"unlabelled": "drop"})  # type: ignore[arg-type]
    frame = interpret(source, section).frame
    assert unpack_numbers(frame["targets"]).rows() == [(1.25, 1.0), (2.5, 3.0), (None, None), (4.75, 4.0)]


@pytest.mark.training
def test_a_list_of_one_output_is_judged_beside_baselines(tmp_path: Path) -> None:
    recipe = {"data": {"target": ["worst radius"]}, "model": "linear", "training": {"max_steps": 1}}
    run = danlu.run(recipe, data=tumours(), name="one", output=tmp_path)
    judged = run.evaluation()
    assert set(judged["test"]["outputs"]) == {"worst radius"}
    assert judged["baselines"]["ridge"]["test"]["mean-r2"]["value"] == pytest.approx(0.93, abs=0.05)
