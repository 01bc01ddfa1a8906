"""Poisson regression: the likelihood of counts, its deviance, and a model from recipe to report."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import mean_poisson_deviance

import danlu
from danlu.errors import DataError
from danlu.metrics.base import Predictions
from danlu.tasks.base import FitInputs
from danlu.tasks.calibrations import ConformalQuantiles
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.poisson import CountTarget, PoissonRegression, poisson_loss


def claims(rows: int = 900) -> pl.DataFrame:
    """Counts whose log-rate is linear in one column and differs between two groups."""
    generator = np.random.default_rng(2)
    age, car = generator.uniform(-1, 1, rows), generator.choice(["old", "new"], rows)
    counts = generator.poisson(np.exp(0.5 + 0.8 * age + 0.7 * (car == "old")))
    return pl.DataFrame({"age": age, "car": car, "claims": counts})


def test_the_deviance_is_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    true, said = generator.poisson(3.0, 200).astype(float), generator.uniform(0.1, 6, 200)
    metric = PoissonRegression.own_metrics["poisson-deviance"]
    assert metric.compute(Predictions(true, said)) == pytest.approx(mean_poisson_deviance(true, said))
    assert metric.compute(Predictions(np.array([1.0]), np.array([0.0]))) == np.inf


def test_the_loss_is_lowest_at_the_mean() -> None:
    counts = torch.tensor([0.0, 1.0, 5.0])
    at = [float(poisson_loss(torch.full((3, 1), np.log(rate)), counts, LossWeighting())[0]) for rate in (1.5, 2.0, 2.5)]
    assert at[1] < min(at[0], at[2])


def test_counts_are_multiples_of_the_training_mean() -> None:
    target = CountTarget(column="y", mean=4.0, std=4.0)
    assert target.encode(pl.DataFrame({"y": [0, 2, 8]})).tolist() == [0.0, 0.5, 2.0]
    assert target.decode(np.array([[0.5], [2.0]]))["prediction"].to_list() == [2.0, 8.0]


def test_what_is_no_count_is_refused() -> None:
    data = {"x": [0.1, 0.7, 0.3] * 20, "y": [1, -2, 3] * 20}
    with pytest.raises(DataError, match="needs counts, but the target 'y' is -2 in 20 rows"):
        danlu.check({"data": {"source": "x.csv", "target": "y", "task": "poisson-regression"}}, data=data)


@pytest.mark.training
def test_counts_go_from_recipe_to_report(tmp_path: Path) -> None:
    recipe = {
        "name": "claims",
        "data": {"source": "x.csv", "target": "claims", "task": "poisson-regression"},
        "model": "linear",
        "training": {"epochs": 30},
    }
    run = danlu.run(recipe, data=claims(), output=tmp_path)
    evaluation = run.evaluation()
    deviance = evaluation["test"]["poisson-deviance"]["value"]
    baselines = {name: each["test"]["poisson-deviance"]["value"] for name, each in evaluation["baselines"].items()}
    assert deviance < 0.8 * baselines["mean"] and deviance < 1.1 * baselines["poisson"]
    answers = danlu.load(run.path).predict({"age": [-1.0, 1.0], "car": ["new", "old"]})["prediction"]
    assert answers[0] == pytest.approx(np.exp(-0.3), rel=0.35) and answers[1] == pytest.approx(np.exp(2.0), rel=0.35)
    assert "Poisson regression" in (run.path / "report.html").read_text(encoding="utf-8")


def test_an_interval_of_counts_ends_at_0() -> None:
    kept = ConformalQuantiles(coverage=0.8, rows=50, quantiles=(1.5,))
    target = CountTarget(column="claims", mean=2.0, std=1.0, conformal=kept)
    assert target.decode(np.array([[0.5], [1.0]])).rows() == [(1.0, 0.0, 2.5), (2.0, 0.5, 3.5)]
    widths = PoissonRegression().interval_widths(target, Predictions(np.zeros(2), np.array([1.0, 2.0])))
    assert widths.tolist() == [2.5, 3.0]


def test_training_rows_without_a_single_count_are_refused() -> None:
    with pytest.raises(DataError, match="every count of 'claims' in the training split is 0"):
        PoissonRegression().fit_target(FitInputs(pl.Series("claims", [0, 0, 0]), "claims", "x"))
    fitted = PoissonRegression().fit_target(FitInputs(pl.Series("claims", [0, 0, 3]), "claims", "x"))
    assert isinstance(fitted, CountTarget) and fitted.mean == 1.0
