"""Ordinal classification: probabilities of ordered classes, its metrics, and a model from recipe to report."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

import danlu
from danlu.data.builtin import read_builtin
from danlu.errors import DataError, RecipeError
from danlu.metrics.base import Predictions, compute_values
from danlu.metrics.streaming import StreamingMetrics
from danlu.models.predictor import Predictor
from danlu.recipe.load import as_recipe
from danlu.tasks.base import FitInputs
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.metric_table import METRICS
from danlu.tasks.ordinal import Ordinal, OrdinalTarget, ordinal_log_probabilities, ordinal_loss

STAGES = ("low", "middle", "high")


def diabetes_stages() -> pl.DataFrame:
    """The diabetes data with its progression in three stages."""
    frame = read_builtin("builtin:diabetes").frame
    cuts = frame["progression"].cut([100, 180], labels=list(STAGES)).cast(pl.String)
    return frame.drop("progression").with_columns(cuts.alias("stage"))


@given(st.lists(st.lists(st.floats(-30, 30), min_size=4, max_size=4), min_size=1, max_size=5))
@settings(deadline=None)
def test_probabilities_of_classes_sum_to_one_and_follow_the_borders(rows: list[list[float]]) -> None:
    logits = torch.tensor(rows, dtype=torch.float64)
    found = ordinal_log_probabilities(logits).double().exp()
    assert found.sum(dim=1) == pytest.approx(torch.ones(len(rows)), abs=1e-5)
    falls = torch.cat([logits[:, :1], -torch.nn.functional.softplus(logits[:, 1:])], dim=1).cumsum(dim=1)
    above = torch.flip(torch.flip(found, [1]).cumsum(dim=1), [1])[:, 1:]
    assert above == pytest.approx(torch.sigmoid(falls), abs=1e-5)


def test_the_loss_is_the_negative_log_probability_of_the_class() -> None:
    logits = torch.tensor([[2.0, 0.0], [-1.0, 3.0], [0.5, -40.0]])
    expected = -ordinal_log_probabilities(logits)[torch.arange(3), torch.tensor([2, 0, 1])]
    loss, count = ordinal_loss(logits, torch.tensor([2, 0, 1]), LossWeighting())
    assert count == 3 and float(loss) == pytest.approx(float(expected.sum()), rel=1e-5)
    assert torch.isfinite(loss)


def test_metrics_are_those_of_scikit_learn_and_by_hand() -> None:
    generator = np.random.default_rng(0)
    true, chances = generator.integers(0, 4, 300), generator.dirichlet(np.ones(4), 300)
    found = compute_values({name: METRICS[name] for name in Ordinal.own_metrics}, Predictions(true, chances))
    said = chances.argmax(axis=1)
    assert found["quadratic-kappa"] == pytest.approx(cohen_kappa_score(true, said, weights="quadratic"), abs=1e-12)
    assert found["ordinal-mae"] == pytest.approx(np.abs(true - said).mean())
    assert found["one-off-accuracy"] == pytest.approx((np.abs(true - said) <= 1).mean())


def test_the_order_is_the_recipes_or_that_of_numbers_or_of_the_column() -> None:
    words = pl.Series("y", ["b", "a", "c", "a"])
    fitted = Ordinal(order=("c", "a", "b")).fit_target(FitInputs(words, "y", "x"))
    assert isinstance(fitted, OrdinalTarget) and fitted.labels == ("c", "a", "b") and fitted.outputs == 2
    assert Ordinal().fit_target(FitInputs(pl.Series("y", [10, 9, 2]), "y", "x")).labels == (2, 9, 10)  # type: ignore[attr-defined]
    listed = words.cast(pl.Enum(["b", "c", "a", "unused"]))
    assert Ordinal().fit_target(FitInputs(listed, "y", "x")).labels == ("b", "c", "a")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("task", "values", "message"),
    [
        ("ordinal", ["a", "b", "c"] * 20, r"are words \('a', 'b', 'c'\) without an order"),
        (
            {"ordinal": {"order": ["a", "b"]}},
            ["a", "b", "c"] * 20,
            r"'c', which data.task.order lacks .*; add it",
        ),
        ({"ordinal": {"order": ["1", "2", "3"]}}, [1, 2, 3] * 20, r"\('1', '2', '3'\); write \d, as the data has it"),
        ("ordinal", [0, 1] * 30, "has 2 classes, and an order needs three"),
    ],
)
def test_classes_without_an_order_are_refused(task: object, values: list[object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        danlu.check(
            {"data": {"source": "x.csv", "target": "y", "task": task}},
            data={"x": np.random.default_rng(0).normal(size=60), "y": values},
        )


@pytest.mark.training
def test_ordered_classes_go_from_recipe_to_report(tmp_path: Path) -> None:
    frame = diabetes_stages()
    recipe = {
        "name": "stages",
        "data": {"source": "x.csv", "target": "stage", "task": {"ordinal": {"order": list(STAGES)}}},
        "model": {"name": "mlp", "hidden": [16]},
        "training": {"epochs": 15, "optimizer": {"lr": 0.01}},
        "evaluation": {"intervals": {"conformal": {"coverage": 0.8}}},
    }
    run = danlu.run(recipe, data=frame, output=tmp_path / "run")
    evaluation = run.evaluation()
    assert evaluation["labels"] == list(STAGES) and evaluation["main"]["metric"] == "quadratic-kappa"
    assert evaluation["test"]["quadratic-kappa"]["value"] > 0.3
    assert (
        evaluation["test"]["quadratic-kappa"]["low"]
        > evaluation["baselines"]["majority"]["test"]["quadratic-kappa"]["value"]
    )
    assert 0.5 < evaluation["conformal"]["test"]["coverage"]["value"] <= 1
    answers = Predictor.load(run.path).predict(frame.head(5).drop("stage"))
    assert set(answers["prediction"]) <= set(STAGES)
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "ordinal classification" in page and "quadratic-kappa" in page
    profile = run.path / "data" / "profile.json"
    assert '"low"' in profile.read_text() and "  task: ordinal" not in (run.path / "recipe.yaml").read_text()


def test_an_order_that_names_a_class_twice_is_refused() -> None:
    with pytest.raises(RecipeError, match="names the class 'b' twice"):
        as_recipe({"data": {"source": "x.csv", "task": {"ordinal": {"order": ["a", "b", "b", "c"]}}}})


def test_rows_without_a_class_are_left_out_of_the_description(tmp_path: Path) -> None:
    frame = diabetes_stages().with_columns(
        stage=pl.when(pl.int_range(pl.len()) % 7 == 0).then(None).otherwise(pl.col("stage"))
    )
    frame.write_csv(tmp_path / "d.csv")
    data = {"source": str(tmp_path / "d.csv"), "target": "stage", "clean": {"unlabelled": "drop"}}
    for task in ("classification", {"ordinal": {"order": list(STAGES)}}):
        found = danlu.check({"data": {**data, "task": task}})
        counts = found["target"]["classes"]
        assert set(counts) == set(STAGES)
        assert sum(sum(parts.values()) for parts in counts.values()) == 442 - 64


def ordered_stages() -> dict[str, Any]:
    """The stages as ordered categories of both libraries, which stand in an order that no sorting gives."""
    import pandas as pd

    frame = diabetes_stages()
    rows = {column.name: column.to_list() for column in frame}
    ordered = pd.Categorical(rows.pop("stage"), categories=list(STAGES), ordered=True)
    return {
        "polars": frame.with_columns(pl.col("stage").cast(pl.Enum(list(STAGES)))),
        "pandas": pd.DataFrame({**rows, "stage": ordered}),
    }


@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_an_ordered_category_in_memory_keeps_its_order(library: str, tmp_path: Path) -> None:
    recipe = {"data": {"target": "stage", "task": "ordinal"}, "model": "linear", "training": {"max_steps": 1}}
    rows = ordered_stages()[library]
    run = danlu.train(recipe, data=rows, name="memory", output=tmp_path)
    assert danlu.load(run.model).target.labels == STAGES
    again = danlu.train(run.path / "recipe.yaml", name="again", output=tmp_path)
    assert danlu.load(again.model).target.labels == STAGES


def test_a_row_without_weight_has_a_probability_for_every_class() -> None:
    """Its sums are added to those of real rows when a metric of validation is accumulated by batches."""
    target = OrdinalTarget(column="y", labels=STAGES)
    blank = Ordinal(order=STAGES).blank_predictions(target)
    real = Predictions(np.array([2]), np.array([[0.1, 0.2, 0.7]]))
    streaming = StreamingMetrics({"accuracy": METRICS["accuracy"]})
    streaming.add(real)
    streaming.add_weighted(blank, np.zeros((1, 1)))
    assert blank.y_pred.shape == (1, 3) and streaming.compute() == {"accuracy": 1.0}


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        (["10,0", "1,5", "2,0"], ["1,5", "2,0", "10,0"]),
        (["10.100", "1.200", "2.300"], ["1.200", "2.300", "10.100"]),
        (["1.000 €", "5 €", "20,50 €"], ["5 €", "20,50 €", "1.000 €"]),
    ],
)
def test_classes_that_are_numbers_as_people_write_them_have_their_order(
    tmp_path: Path, labels: list[str], order: list[str]
) -> None:
    rows = "".join(f"{row % 3};{labels[row % 3]}\n" for row in range(60))
    (tmp_path / "t.csv").write_text("x;y\n" + rows)
    told = danlu.check({"data": {"source": str(tmp_path / "t.csv"), "target": "y", "task": "ordinal"}})
    assert list(told["target"]["classes"]) == order
