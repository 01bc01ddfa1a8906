"""Ordinal classification: probabilities of ordered classes, its metrics, and a model from recipe to report."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

import danlu
from danlu.data.builtin import read_builtin
from danlu.errors import DataError
from danlu.metrics.base import Predictions, compute_values
from danlu.models.predictor import Predictor
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
        ({"ordinal": {"order": ["a", "b"]}}, ["a", "b", "c"] * 20, "'c', which data.task.order lacks"),
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
