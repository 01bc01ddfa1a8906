"""Calibration, thresholds, abstention, curves and slices, on answers made up for the purpose."""

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as reference

from danlu.core.seeds import Seed
from danlu.errors import RecipeError
from danlu.evaluation.calibration import fit_calibration
from danlu.evaluation.curves import MAX_POINTS, precision_recall_curve, risk_coverage, roc_curve
from danlu.evaluation.intervals import Resampling
from danlu.evaluation.slices import evaluate_slices, make_slices
from danlu.evaluation.thresholds import choose_threshold, threshold_table
from danlu.metrics.base import Predictions
from danlu.recipe.sections.evaluation import Costs, Threshold
from danlu.tasks.calibrations import Isotonic, Temperature
from danlu.tasks.classification import ClassTarget
from danlu.tasks.metric_table import METRICS, compute_metrics


def two_classes(count: int, sharpness: float = 1.0, seed: int = 0) -> Predictions:
    """Answers whose true log odds are multiplied by `sharpness`."""
    generator = np.random.default_rng(seed)
    odds = generator.normal(size=count) * 2
    values = (generator.random(count) < 1 / (1 + np.exp(-odds))).astype(np.int64)
    second = 1 / (1 + np.exp(-odds * sharpness))
    return Predictions(values, np.stack([1 - second, second], axis=1).astype(np.float32))


def test_temperature_finds_by_how_much_logits_were_stretched() -> None:
    fitted = fit_calibration("temperature", two_classes(20_000, sharpness=3.0))
    assert isinstance(fitted, Temperature) and fitted.temperature == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_calibration_mends_probabilities_that_it_has_not_seen(method: str) -> None:
    fitted = fit_calibration(method, two_classes(5_000, sharpness=3.0))  # type: ignore[arg-type]
    fresh = two_classes(5_000, sharpness=3.0, seed=1)
    assert fitted is not None
    mended = Predictions(fresh.y_true, fitted.apply(fresh.y_pred))
    assert np.allclose(mended.y_pred.sum(axis=1), 1, atol=1e-6)
    before, after = (compute_metrics(["calibration-error", "log-loss"], truth) for truth in (fresh, mended))
    assert after["calibration-error"] < 0.35 * before["calibration-error"] and after["log-loss"] < before["log-loss"]


def test_auto_leaves_good_probabilities_alone_and_small_validation_to_one_number() -> None:
    assert not isinstance(fit_calibration("auto", two_classes(300, sharpness=4.0)), Isotonic)
    assert isinstance(fit_calibration("auto", two_classes(300, sharpness=4.0)), Temperature)
    spoilt = two_classes(20_000)
    bent = Predictions(spoilt.y_true, np.stack([1 - spoilt.y_pred[:, 1] ** 6, spoilt.y_pred[:, 1] ** 6], axis=1))
    assert isinstance(fit_calibration("auto", bent), Isotonic)


def test_isotonic_of_several_classes_sums_to_one() -> None:
    generator = np.random.default_rng(0)
    shares = generator.dirichlet(np.ones(4), size=2_000).astype(np.float32)
    fitted = fit_calibration("isotonic", Predictions(generator.integers(4, size=2_000), shares))
    assert fitted is not None
    assert np.allclose(fitted.apply(shares).sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("metric", ["f1", "f1-positive", "mcc", "balanced-accuracy"])
def test_no_other_threshold_is_better(metric: str) -> None:
    truth = two_classes(400)
    chosen = choose_threshold(Threshold(metric=metric), truth)
    best = METRICS[metric].compute(Predictions(truth.y_true, truth.y_pred, threshold=chosen))
    others = [METRICS[metric].compute(Predictions(truth.y_true, truth.y_pred, threshold=t)) for t in truth.y_pred[:, 1]]
    assert best >= max(others) - 1e-12


def test_costs_move_the_threshold_to_where_theory_has_it() -> None:
    truth = two_classes(50_000)
    chosen = choose_threshold(Threshold(costs=Costs(false_positive=1, false_negative=5)), truth)
    assert chosen == pytest.approx(1 / 6, abs=0.04)  # Elkan 2001
    with pytest.raises(RecipeError, match="no threshold can be chosen for 'auroc'"):
        choose_threshold(Threshold(metric="auroc"), truth)


def test_a_threshold_decides_what_is_answered() -> None:
    target = ClassTarget(column="y", labels=("no", "yes"), threshold=0.2)
    answers = target.decode(np.array([[0.7, 0.3], [0.9, 0.1]], dtype=np.float32))
    assert answers["prediction"].to_list() == ["yes", "no"]
    assert answers["probability"].to_list() == pytest.approx([0.3, 0.9])


def test_the_table_of_thresholds_counts_as_scikit_learn_does() -> None:
    truth = two_classes(500)
    table = threshold_table(truth, Costs(false_negative=5))
    for row in (0, 30, 77, 100):
        told = truth.y_pred[:, 1].astype(np.float64) >= table["threshold"][row]
        counts = reference.confusion_matrix(truth.y_true, told).ravel().tolist()
        names = ("true_negatives", "false_positives", "false_negatives", "true_positives")
        assert [table[name][row] for name in names] == counts
        assert table["f1-positive"][row] == pytest.approx(reference.f1_score(truth.y_true, told, zero_division=0))
        assert table["cost"][row] == pytest.approx((counts[1] + 5 * counts[2]) / 500)


def test_thinned_curves_look_the_same() -> None:
    truth = two_classes(20_000)
    scores, member = truth.y_pred[:, 1].astype(np.float64), truth.y_true == 1
    thin = roc_curve(scores, member)
    assert len(thin["threshold"]) <= MAX_POINTS
    x, y, _ = reference.roc_curve(member, scores, drop_intermediate=False)
    up = np.abs(np.interp(x, thin["false_positive_rate"], thin["true_positive_rate"]) - y)
    along = np.abs(np.interp(y, thin["true_positive_rate"], thin["false_positive_rate"]) - x)
    assert np.minimum(up, along).max() < 0.005
    area = np.trapezoid(thin["true_positive_rate"], thin["false_positive_rate"])
    assert area == pytest.approx(reference.roc_auc_score(member, scores), abs=1e-3)
    thin = precision_recall_curve(scores, member)
    assert len(thin["threshold"]) <= MAX_POINTS and thin["recall"][-1] == 1.0


def test_those_least_sure_of_are_left_out_first() -> None:
    curve = risk_coverage(two_classes(5_000))
    assert curve["coverage"][-1] == 1.0 and len(curve["coverage"]) <= MAX_POINTS
    half = float(np.interp(0.5, curve["coverage"], curve["risk"]))
    assert half < 0.5 * curve["risk"][-1] and 0 < curve["area"] < curve["risk"][-1]


def sliced(hurt: float) -> list[dict[str, object]]:
    generator = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "plan": generator.choice(["a", "b", "c", "d"], size=2_000),
            "age": np.where(generator.random(2_000) < 0.1, None, generator.normal(size=2_000)),
            "noise": generator.normal(size=2_000),
        }
    )
    wrong = generator.random(2_000) < np.where(frame["plan"].to_numpy() == "c", 0.1 + hurt, 0.1)
    values = generator.integers(2, size=2_000)
    answers = np.eye(2)[np.where(wrong, 1 - values, values)]
    found = make_slices(frame, {("note", "length"): generator.integers(100, size=2_000).astype(float)})
    return evaluate_slices(found, METRICS["accuracy"], Predictions(values, answers), Resampling(Seed(0), resamples=300))


def test_a_slice_leaves_enough_rows_to_compare_it_with() -> None:
    plans = ["a"] * 6 + ["b"] * 4
    found = make_slices(pl.DataFrame({"plan": plans}), {}, least=4)
    assert [int(each.mask.sum()) for each in found] == [6, 4]
    assert make_slices(pl.DataFrame({"plan": plans}), {}, least=5) == []  # of b there are too few, and a leaves too few
    assert make_slices(pl.DataFrame({"plan": ["a"] * 10}), {}, least=2) == []


def test_the_worst_slice_is_found_with_its_size() -> None:
    found = sliced(hurt=0.2)
    assert [each["slice"] for each in found if each["worse"]] == ["plan = c"]
    worst = found[0]
    assert worst["slice"] == "plan = c" and worst["size"] > 400
    assert worst["low"] < worst["difference"] < worst["high"] < 0  # type: ignore[operator]
    assert {each["kind"] for each in found} == {"category", "missing", "range", "length"}


def test_where_nothing_is_wrong_many_slices_find_nothing() -> None:
    assert not [each for each in sliced(hurt=0.0) if each["worse"]]
