"""Quantile regression: the pinball loss, intervals that do not cross, and their conformal correction."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import mean_pinball_loss

import danlu
from danlu.data.splits import Split
from danlu.metrics.base import Predictions, compute_values
from danlu.tasks.calibrations import ConformalQuantiles
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.metric_table import METRICS
from danlu.tasks.quantile import QuantileRegression, QuantileTarget, quantile_loss, quantile_predict

RECIPE = {
    "name": "quantiles",
    "data": {"source": "builtin:diabetes", "target": "progression", "task": {"quantile-regression": {"coverage": 0.8}}},
    "model": {"name": "mlp", "hidden": [16]},
    "training": {"epochs": 20, "optimizer": {"lr": 0.01}},
}


def test_the_loss_is_the_pinball_loss_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    true, said = generator.normal(size=50), generator.normal(size=(50, 3))
    expected = np.mean([mean_pinball_loss(true, said[:, i], alpha=level) for i, level in enumerate((0.1, 0.5, 0.9))])
    loss, count = quantile_loss(torch.tensor(said), torch.tensor(true).float(), LossWeighting(), levels=(0.1, 0.5, 0.9))
    assert count == 50 and float(loss) / 50 == pytest.approx(expected, rel=1e-6)


def test_quantiles_that_cross_are_sorted() -> None:
    assert quantile_predict(torch.tensor([[3.0, 1.0, 2.0]]), None).tolist() == [[1.0, 2.0, 3.0]]


def test_conformal_quantiles_move_both_ends() -> None:
    plain = QuantileTarget(column="y", mean=10.0, std=2.0, coverage=0.8)
    outputs = np.array([[-1.0, 0.0, 2.0]])
    assert plain.decode(outputs).row(0) == (10.0, 8.0, 14.0)
    assert plain.levels == pytest.approx((0.1, 0.5, 0.9))
    kept = ConformalQuantiles(coverage=0.8, rows=50, quantiles=(-0.5,))
    assert plain.model_copy(update={"conformal": kept}).decode(outputs).row(0) == (10.0, 8.5, 13.5)


def test_an_interval_that_conformal_quantiles_narrow_still_holds_its_median() -> None:
    kept = ConformalQuantiles(coverage=0.5, rows=50, quantiles=(-3.0,))
    target = QuantileTarget(column="y", mean=10.0, std=2.0, coverage=0.8, conformal=kept)
    outputs = np.array([[-1.0, 0.0, 2.0], [-4.0, 0.0, 1.0]])
    assert target.decode(outputs).rows() == [(10.0, 10.0, 11.0), (10.0, 5.0, 10.0)]


def test_metrics_and_coverage_are_of_the_intervals_that_predictions_show() -> None:
    kept = ConformalQuantiles(coverage=0.8, rows=50, quantiles=(1.5,))
    target, task = QuantileTarget(column="y", mean=0.0, std=1.0, coverage=0.8, conformal=kept), QuantileRegression()
    rows = Split.of(pl.DataFrame({"y": [4.0, 5.0]}))
    paired = task.pair(rows, target, task.to_y_pred(target, np.array([[0.0, 1.0, 3.0]] * 2)), None)
    assert paired.bounds is not None and paired.bounds.tolist() == [[-1.5, 4.5]] * 2
    assert task.covered(target, paired).tolist() == [True, False]
    assert task.interval_widths(target, paired).tolist() == [6.0, 6.0]
    assert compute_values({"in": METRICS["interval-coverage"]}, paired) == {"in": 0.5}


def test_coverage_and_width_count_the_ends_and_need_intervals() -> None:
    bounds = np.array([[0.0, 1.0], [0.0, 2.0], [5.0, 6.0]])
    with_bounds = Predictions(np.array([1.0, -0.1, 5.5]), np.array([0.5, 1.0, 5.5]), bounds=bounds)
    metrics = {name: METRICS[name] for name in QuantileRegression.own_metrics}
    found = compute_values(metrics, with_bounds)
    assert found == pytest.approx({"interval-coverage": 2 / 3, "interval-width": 4 / 3})
    assert np.isnan(list(compute_values(metrics, Predictions(np.zeros(3), np.zeros(3))).values())).all()
    assert QuantileRegression().nonconformity(with_bounds) == pytest.approx([0.0, 0.1, -0.5])


@pytest.mark.training
def test_intervals_go_from_recipe_to_report(tmp_path: Path) -> None:
    recipe = {**RECIPE, "evaluation": {"intervals": {"conformal": {"coverage": 0.8}}}}
    run = danlu.run(recipe, output=tmp_path / "run")
    evaluation = run.evaluation()
    test = evaluation["test"]
    assert test["rmse"]["value"] < evaluation["baselines"]["mean"]["test"]["rmse"]["value"]
    assert 0.5 < test["interval-coverage"]["value"] < 1 and test["interval-width"]["value"] > 0
    conformal = evaluation["conformal"]
    assert conformal["test"]["coverage"]["value"] == test["interval-coverage"]["value"] > 0.65
    answers = pl.read_parquet(run.path / "predictions" / "test.parquet")
    assert (answers["low"] <= answers["high"]).all()
    covered = ((answers["low"] <= answers["truth"]) & (answers["truth"] <= answers["high"])).mean()
    assert covered == pytest.approx(conformal["test"]["coverage"]["value"])
    width = (answers["high"] - answers["low"]).mean()
    assert conformal["test"]["width"]["value"] == pytest.approx(width)
    assert "quantile regression" in (run.path / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_corrected_intervals_cover_what_they_promise(tmp_path: Path) -> None:
    """Marginal coverage of 80 % over splits of data whose spread depends on the row."""
    generator = np.random.default_rng(5)
    x = generator.uniform(0, 4, 1200)
    frame = pl.DataFrame({"x": x, "y": x + generator.normal(size=1200) * (0.2 + x)})
    covered = []
    for seed in range(12):
        recipe = {
            **RECIPE,
            "seed": seed,
            "data": {**RECIPE["data"], "source": "x.csv", "target": "y", "split": {"validation": 0.25, "test": 0.25}},  # type: ignore[dict-item]
            "training": {"epochs": 6, "optimizer": {"lr": 0.01}},
            "evaluation": {"intervals": {"conformal": {"coverage": 0.8}}, "baselines": False, "resamples": 0},
        }
        run = danlu.run(recipe, data=frame, output=tmp_path / str(seed))
        covered.append(run.evaluation()["conformal"]["test"]["coverage"]["value"])
    assert 0.76 < np.mean(covered) < 0.84
