"""Intervals: they cover, they repeat, groups stay together, and what is paired is paired."""

from collections.abc import Callable

import numpy as np
import pytest

from danlu.core.seeds import Seed
from danlu.evaluation.intervals import Resampling, bootstrap_values, paired_differences, values_with_intervals
from danlu.metrics.base import Predictions
from danlu.tasks.metric_table import METRICS, get_metric
from danlu.tasks.table import get_task

Sampler = Callable[[np.random.Generator, int], Predictions]
NAMES = ("accuracy", "f1", "auroc", "log-loss", "mcc")


def two_classes(generator: np.random.Generator, count: int) -> Predictions:
    """A classifier whose scores are worth something."""
    values = generator.integers(2, size=count)
    second = 1 / (1 + np.exp(-(values * 2.0 - 1 + generator.normal(size=count) * 1.5)))
    return Predictions(values, np.stack([1 - second, second], axis=1))


def numbers(generator: np.random.Generator, count: int) -> Predictions:
    values = generator.normal(size=count)
    return Predictions(values, values + generator.normal(size=count) * 0.7)


def in_groups(generator: np.random.Generator, count: int) -> Predictions:
    """Ten samples a group, whose errors are nearly the same."""
    groups = np.repeat(np.arange(count // 10), 10)
    shared = generator.normal(size=count // 10)[groups]
    return Predictions(np.zeros(len(groups)), shared + generator.normal(size=len(groups)) * 0.1, groups=groups)


def coverage(sampler: Sampler, names: tuple[str, ...], count: int, trials: int, resamples: int) -> dict[str, float]:
    """How often intervals of samples hold the figure of very many."""
    metrics = {name: METRICS[name] for name in names}
    whole = sampler(np.random.default_rng(0), max(400_000, 100 * count))  # its own error is a tenth of a sample's
    exact = {name: metric.compute(whole) for name, metric in metrics.items()}
    held = dict.fromkeys(names, 0)
    for trial in range(trials):
        truth = sampler(np.random.default_rng((trial, count)), count)
        found = values_with_intervals(metrics, truth, Resampling(Seed(trial), 0.95, resamples))
        for name in names:
            held[name] += found[name]["low"] <= exact[name] <= found[name]["high"]
    return {name: count / trials for name, count in held.items()}


def far_from_95_percent(found: dict[str, float], trials: int) -> dict[str, float]:
    """Shares that lie further away than four standard errors of as many trials."""
    reach = 4 * (0.95 * 0.05 / trials) ** 0.5
    return {name: share for name, share in found.items() if abs(share - 0.95) > reach}


@pytest.mark.training
def test_intervals_cover_roughly() -> None:
    for sampler, names in ((two_classes, ("accuracy", "auroc")), (numbers, ("rmse",)), (in_groups, ("mae",))):
        found = coverage(sampler, names, count=300, trials=120, resamples=200)
        assert all(0.88 <= share <= 0.99 for share in found.values()), found


@pytest.mark.slow
def test_intervals_of_95_percent_cover_95_percent() -> None:
    found = coverage(two_classes, NAMES, count=400, trials=1000, resamples=400)
    found |= coverage(numbers, ("rmse", "mae", "r2", "median-absolute-error"), count=400, trials=1000, resamples=400)
    found["mae by group"] = coverage(in_groups, ("mae",), count=2000, trials=1000, resamples=400)["mae"]
    assert far_from_95_percent(found, 1000) == {}


@pytest.mark.training
@pytest.mark.parametrize(("count", "trials"), [(1_500, 200), (20_000, 80)])
def test_intervals_of_many_rows_cover_roughly(count: int, trials: int) -> None:
    """From a thousand rows on, samples are drawn a Poisson number of times."""
    found = coverage(numbers, ("rmse", "mae"), count, trials, resamples=150)
    assert all(0.89 <= share <= 0.995 for share in found.values()), found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "trials", "names"), [(1_500, 700, NAMES), (20_000, 300, ("accuracy", "log-loss"))], ids=["1500", "20000"]
)
def test_intervals_of_95_percent_of_many_rows_cover_95_percent(count: int, trials: int, names: tuple[str, ...]) -> None:
    found = coverage(two_classes, names, count, trials, resamples=300)
    found |= coverage(numbers, ("rmse", "mae"), count, trials, resamples=300)
    assert far_from_95_percent(found, trials) == {}


def test_rows_instead_of_groups_would_be_far_too_sure() -> None:
    truth = in_groups(np.random.default_rng(1), 1000)
    how, metrics = Resampling(Seed(0), resamples=300), {"mae": METRICS["mae"]}
    grouped = values_with_intervals(metrics, truth, how)["mae"]
    alone = values_with_intervals(metrics, Predictions(truth.y_true, truth.y_pred), how)["mae"]
    assert grouped["high"] - grouped["low"] > 2 * (alone["high"] - alone["low"])


@pytest.mark.parametrize("count", [40, 3000])
def test_every_metrics_resamples_are_its_figures_of_rows_drawn(count: int) -> None:
    generator = np.random.default_rng(3)
    truth = two_classes(generator, count)
    truth = Predictions(truth.y_true, np.round(truth.y_pred, 2))  # ties
    weights = generator.integers(4, size=(1, count))
    drawn = truth.take(np.repeat(np.arange(count), weights[0]))
    for name in (*get_task("classification").default_metrics, "auroc-ovo", "auroc-weighted", "kappa"):
        metric = METRICS[name]
        found = metric.finalize(metric.statistic.prepare(truth)(weights.astype(np.float64)))
        assert float(found[0]) == pytest.approx(metric.compute(drawn), abs=1e-9), name
    truth = numbers(generator, count)
    drawn = truth.take(np.repeat(np.arange(count), weights[0]))
    for name in [name for name, metric in METRICS.items() if metric.task == "regression"]:
        metric = METRICS[name]
        found = metric.finalize(metric.statistic.prepare(truth)(weights.astype(np.float64)))
        assert float(found[0]) == pytest.approx(metric.compute(drawn), abs=1e-9), name


def test_intervals_repeat_and_do_not_depend_on_other_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, how = two_classes(np.random.default_rng(5), 500), Resampling(Seed(1), resamples=150)
    together = values_with_intervals({name: METRICS[name] for name in NAMES}, truth, how)
    monkeypatch.setattr("danlu.evaluation.intervals._threads", lambda: 1)
    alone = values_with_intervals({"auroc": METRICS["auroc"]}, truth, how)
    assert alone["auroc"] == together["auroc"]
    assert values_with_intervals({"auroc": METRICS["auroc"]}, truth, Resampling(Seed(2), resamples=150)) != alone


def test_a_paired_difference_is_surer_than_two_intervals() -> None:
    generator = np.random.default_rng(7)
    first = two_classes(generator, 800)
    slightly = Predictions(first.y_true, first.y_pred.copy())
    flipped = generator.choice(800, 24, replace=False)
    slightly.y_pred[flipped] = slightly.y_pred[flipped, ::-1]
    metrics, how = {"accuracy": METRICS["accuracy"]}, Resampling(Seed(0), resamples=500)
    difference = paired_differences(metrics, first, slightly, how)["accuracy"]
    alone = values_with_intervals(metrics, first, how)["accuracy"]
    assert difference["low"] <= difference["value"] <= difference["high"]
    assert difference["high"] - difference["low"] < 0.5 * (alone["high"] - alone["low"])
    same = paired_differences(metrics, first, first, how)["accuracy"]
    assert same == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_small_and_degenerate_splits_have_figures_without_intervals_that_mean_nothing() -> None:
    how, metrics = Resampling(Seed(0), resamples=100), {name: METRICS[name] for name in ("accuracy", "auroc")}
    one = values_with_intervals(metrics, Predictions(np.array([1]), np.array([[0.2, 0.8]])), how)
    assert one == {"accuracy": {"value": 1.0}}
    largest = values_with_intervals({"max-error": METRICS["max-error"]}, numbers(np.random.default_rng(0), 50), how)
    assert set(largest["max-error"]) == {"value"}


def share_above(values: np.ndarray, answers: np.ndarray) -> float:
    """Share of answers above the truth."""
    return float((answers > values).mean())


def test_own_functions_are_resampled_by_rows() -> None:
    truth, name = numbers(np.random.default_rng(0), 200), f"{__name__}:share_above"
    (figures,) = bootstrap_values({name: get_metric(name)}, [truth], Resampling(Seed(0), resamples=100))
    assert len(figures[name]) == 100 and 0.3 < figures[name].mean() < 0.7 and figures[name].std() > 0
