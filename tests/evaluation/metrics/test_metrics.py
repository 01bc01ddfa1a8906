"""Metrics equal scikit-learn's, on fuzzed and on degenerate answers."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.errors import ArgumentError, RecipeError
from danlu.metrics.base import Predictions
from danlu.metrics.classification import COUNTS, confusion_matrix
from danlu.metrics.per_class import per_class_values
from danlu.metrics.streaming import StreamingMetrics
from danlu.tasks.metric_table import (
    METRICS,
    compute_metrics,
    metric_bounds,
    metrics_of,
    resolve_metrics,
)
from danlu.tasks.table import all_tasks, get_task
from danlu.tasks.tagging import ragged_array

NEAR = 1e-9


@st.composite
def answered(draw: st.DrawFn) -> Predictions:
    """Answers with ties, constant scores, absent classes and single samples among them."""
    classes = draw(st.integers(2, 5))
    count = draw(st.integers(1, 60))
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    logits = generator.normal(size=(count, classes)) * draw(st.sampled_from([0.0, 0.5, 3.0]))
    if draw(st.booleans()):
        logits = np.round(logits)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(generator.integers(draw(st.integers(1, classes)), size=count), probabilities)


def named(task: str) -> list[str]:
    return [name for name, metric in METRICS.items() if metric.task == task]


def quietly(compute: Callable[[], Any]) -> float | None:
    """scikit-learn's figure; None where it raises, warns that it is undefined, or gives NaN."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            value = float(compute())
        except ValueError:
            return None
    undefined = any("undefined" in str(each.message).lower() or "not defined" in str(each.message) for each in said)
    return None if undefined or np.isnan(value) else value


def within_range(found: dict[str, float]) -> bool:
    return all(metric_bounds(name)[0] - NEAR <= value <= metric_bounds(name)[1] + NEAR for name, value in found.items())


def same(found: dict[str, float], name: str, expected: float | None) -> None:
    assert found.get(name) == (None if expected is None else pytest.approx(expected, abs=NEAR, rel=NEAR)), name


@pytest.mark.training
@given(answered())
@settings(max_examples=60, deadline=None)
def test_metrics_of_answers_equal_scikit_learns(truth: Predictions) -> None:
    found = compute_metrics(named("classification"), truth)
    assert within_range(found)
    true, predicted = truth.y_true, truth.y_pred.argmax(axis=1)
    labels = list(range(truth.y_pred.shape[1]))
    same(found, "accuracy", reference.accuracy_score(true, predicted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same(found, "balanced-accuracy", reference.balanced_accuracy_score(true, predicted))
        same(found, "mcc", reference.matthews_corrcoef(true, predicted))
        kappa = reference.cohen_kappa_score(true, predicted, labels=labels)
    same(found, "kappa", None if np.isnan(kappa) else kappa)
    for average in ("macro", "micro", "weighted"):
        options = {"average": average, "zero_division": 0.0}
        suffix = "" if average == "macro" else f"-{average}"
        same(found, f"precision{suffix}", reference.precision_score(true, predicted, **options))
        same(found, f"recall{suffix}", reference.recall_score(true, predicted, **options))
        for beta in ("f0.5", "f1", "f2"):
            expected = reference.fbeta_score(true, predicted, beta=float(beta[1:]), **options)
            same(found, f"{beta}{suffix}", expected)
    if len(labels) == 2:
        same(found, "f1-positive", reference.f1_score(true, predicted, zero_division=0.0))
        same(found, "recall-positive", reference.recall_score(true, predicted, zero_division=0.0))
    else:
        assert "f1-positive" not in found


@given(answered())
@settings(max_examples=60, deadline=None)
def test_metrics_of_probabilities_equal_scikit_learns(truth: Predictions) -> None:
    found = compute_metrics(named("classification"), truth)
    true, given_, labels = truth.y_true, truth.y_pred, list(range(truth.y_pred.shape[1]))
    same(found, "log-loss", reference.log_loss(true, given_, labels=labels))
    if len(labels) == 2:
        same(found, "brier", reference.brier_score_loss(true, given_[:, 1], pos_label=1, labels=labels))
    else:
        same(found, "brier", reference.brier_score_loss(true, given_, labels=labels))
    for most in (3, 5):
        expected = quietly(lambda k=most: reference.top_k_accuracy_score(true, given_, k=k, labels=labels))
        same(found, f"top-{most}-accuracy", expected if most < len(labels) else None)
    scores: Any = given_[:, 1] if len(labels) == 2 else given_
    whole = set(true.tolist()) == set(labels)
    for name, ways in (("auroc", "ovr"), ("auroc-ovo", "ovo")):
        for suffix, average in (("", "macro"), ("-weighted", "weighted")):
            options = {"average": average, "multi_class": ways, "labels": labels if len(labels) > 2 else None}
            expected = quietly(lambda o=options: reference.roc_auc_score(true, scores, **o)) if whole else None
            same(found, f"{name}{suffix}", expected)
    onehot = np.eye(len(labels))[true]
    for suffix, average in (("", "macro"), ("-weighted", "weighted")):
        if len(labels) == 2:
            expected = reference.average_precision_score(true, scores) if whole else None
        else:
            expected = reference.average_precision_score(onehot, scores, average=average) if whole else None
        same(found, f"average-precision{suffix}", expected)


@given(answered())
@settings(max_examples=50, deadline=None)
def test_calibration_error_is_the_weighted_gap_of_each_bin(truth: Predictions) -> None:
    sure, right = truth.y_pred.max(axis=1), truth.y_pred.argmax(axis=1) == truth.y_true
    expected = 0.0
    for low in range(15):
        inside = (sure > low / 15) & (sure <= (low + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(sure[inside].mean() - right[inside].mean())
    assert compute_metrics(["calibration-error"], truth)["calibration-error"] == pytest.approx(expected, abs=1e-9)


@given(st.integers(1, 80), st.integers(0, 2**31), st.sampled_from(["normal", "rounded", "constant", "met"]))
@settings(max_examples=60, deadline=None)
def test_regression_metrics_equal_scikit_learns(count: int, seed: int, form: str) -> None:
    generator = np.random.default_rng(seed)
    true, told = generator.normal(size=count) * 50 + 1000, generator.normal(size=count) * 50 + 1000
    if form == "rounded":
        true, told = np.round(true / 100), np.round(told / 100)
    if form == "constant":
        true = np.full(count, 3.0)
    if form == "met":
        told = true.copy()
    found = compute_metrics(named("regression"), Predictions(true, told))
    assert within_range(found)
    same(found, "mae", reference.mean_absolute_error(true, told))
    same(found, "rmse", reference.root_mean_squared_error(true, told))
    same(found, "median-absolute-error", reference.median_absolute_error(true, told))
    same(found, "mape", reference.mean_absolute_percentage_error(true, told))
    same(found, "max-error", reference.max_error(true, told))
    same(found, "explained-variance", reference.explained_variance_score(true, told))
    for quantile in (0.1, 0.5, 0.9):
        same(found, f"quantile-loss-{quantile}", reference.mean_pinball_loss(true, told, alpha=quantile))
    same(found, "r2", quietly(lambda: reference.r2_score(true, told)) if count > 1 else None)


@pytest.mark.training
@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 2**31), st.booleans())
@settings(max_examples=60, deadline=None)
def test_metrics_of_labels_equal_scikit_learns(count: int, size: int, seed: int, ties: bool) -> None:
    generator = np.random.default_rng(seed)
    true, scores = generator.integers(2, size=(count, size)), generator.random((count, size))
    scores = np.round(scores, 1) if ties else scores
    told = (scores >= 0.5).astype(int)
    found = compute_metrics(named("multi-label"), Predictions(true, scores))
    assert within_range(found)
    same(found, "subset-accuracy", (true == told).all(axis=1).mean())
    same(found, "hamming-loss", (true != told).mean())
    columns = [reference.f1_score(true[:, i], told[:, i], zero_division=0.0) for i in range(size)]
    same(found, "label-f1", np.mean(columns))
    same(found, "label-f1-micro", reference.f1_score(true.ravel(), told.ravel(), zero_division=0.0))
    mixed = [i for i in range(size) if 0 < true[:, i].sum() < count]
    areas = [reference.roc_auc_score(true[:, i], scores[:, i]) for i in mixed]
    same(found, "label-auroc", np.mean(areas) if areas else None)
    there = [i for i in range(size) if true[:, i].any()]
    precise = [reference.average_precision_score(true[:, i], scores[:, i]) for i in there]
    same(found, "mean-average-precision", np.mean(precise) if precise else None)
    if size > 1:
        expected = reference.label_ranking_average_precision_score(true, scores)
        same(found, "label-ranking-precision", expected)


# As sacrebleu 2.6.0 and rouge-score 0.1.2 give them.
ASKED = ["The cat sat on the mat.", "It costs 3.50 dollars, not 4.", "一只猫坐在垫子上", "none", "well-kept 1990-2000"]
GIVEN = ["the cat is on the mat .", "It cost 3.50 dollars not 4!", "一只狗坐在垫子上", "words", "well-kept 1990-2000"]
TOLD = {"exact-match": 0.2, "bleu": 38.79055789478047, "chrf": 68.6461988655498}
TOLD |= {"rouge-1": 0.5380952380952382, "rouge-2": 0.4533333333333333}
TOLD |= {"rouge-l": 0.5380952380952382}


def test_metrics_of_texts_equal_their_references() -> None:
    found = compute_metrics(named("text-generation"), Predictions(np.array(ASKED, object), np.array(GIVEN, object)))
    assert found == {name: pytest.approx(value, abs=1e-9) for name, value in TOLD.items()}


def test_texts_of_nothing_have_figures() -> None:
    found = compute_metrics(
        named("text-generation"), Predictions(np.array(["", "a"], object), np.array(["", ""], object))
    )
    assert found == {"exact-match": 0.5, "bleu": 0.0, "chrf": 0.0, "rouge-1": 0.0, "rouge-2": 0.0, "rouge-l": 0.0}


def test_language_metrics_count_every_token_once() -> None:
    blocks = np.array([[np.log(4) * 10, 10, 5], [np.log(4) * 30, 30, 5]])
    truth = Predictions(blocks[:, 1], blocks, text_bytes=np.array([15.0, 25.0]))
    found = compute_metrics(resolve_metrics(get_task("language-modelling"), None), truth)
    assert found["perplexity"] == pytest.approx(4.0)
    assert found["bits-per-byte"] == pytest.approx(2.0)
    assert found["token-accuracy"] == pytest.approx(0.25)


def test_perplexity_equals_a_sum_over_torchs_cross_entropy() -> None:
    import torch

    from danlu.tasks.loss_weighting import LossWeighting
    from danlu.tasks.token_losses import token_loss, token_predict

    logits, target = torch.randn(3, 7, 11), torch.randint(11, (3, 7))
    target[2, 4:] = -100
    summed, count = token_loss(logits, target, LossWeighting())
    answers = token_predict(logits, target)
    assert float(answers[:, 0].sum()) == pytest.approx(float(summed), rel=1e-6)
    assert (int(answers[:, 1].sum()), count) == (18, 18)
    expected = torch.nn.functional.cross_entropy(logits[2, :4], target[2, :4], reduction="sum")
    assert float(answers[2, 0]) == pytest.approx(float(expected), rel=1e-6)


def test_class_figures_and_confusion() -> None:
    truth = Predictions(np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]]))
    assert confusion_matrix(2, truth) == [[1, 1], [0, 2]]
    figures = per_class_values(("cat", "dog"), COUNTS, truth, {})
    expected = {"precision": pytest.approx(2 / 3), "recall": 1.0, "f1": pytest.approx(0.8), "support": 2}
    assert figures["dog"] == {**expected, "intervals": {}}
    assert confusion_matrix(2, Predictions(truth.y_true, truth.y_pred, threshold=0.65)) == [[1, 1], [1, 1]]


def own(values: np.ndarray, answers: np.ndarray) -> float:
    """Share of answers above the truth."""
    return float((answers > values).mean())


def test_own_metrics_are_found_and_wrong_names_refused() -> None:
    name = f"{__name__}:own"
    assert resolve_metrics(get_task("regression"), ("mae", name)) == ("mae", name)
    found = compute_metrics([name], Predictions(np.array([1.0, 2.0]), np.array([2.0, 1.0])))
    assert found == {name: 0.5}
    with pytest.raises(RecipeError, match="no metric 'rmes' for regression"):
        resolve_metrics(get_task("regression"), ("rmes",))
    with pytest.raises(RecipeError, match="no metric 'accuracy' for regression"):
        resolve_metrics(get_task("regression"), ("accuracy",))
    with pytest.raises(ArgumentError, match="has no 'owm'"):
        resolve_metrics(get_task("regression"), (f"{__name__}:owm",))


def test_every_metric_says_what_it_means_and_the_usual_ones_exist() -> None:
    assert all(metric.description for metric in METRICS.values())
    assert all(name in metrics_of(task) for task in all_tasks() for name in task.default_metrics)


MACRO = {
    "precision": lambda true, said: reference.precision_score(true, said, average="macro", zero_division=0.0),
    "recall": lambda true, said: reference.recall_score(true, said, average="macro", zero_division=0.0),
    "f1": lambda true, said: reference.f1_score(true, said, average="macro", zero_division=0.0),
    "f2": lambda true, said: reference.fbeta_score(true, said, beta=2, average="macro", zero_division=0.0),
}


@st.composite
def of_few_classes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Truth and answers in which most classes that the model knows do not occur."""
    classes = draw(st.integers(2, 7))
    shown = draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=3))
    count = draw(st.integers(1, 25))
    true, said = (draw(st.lists(st.sampled_from(shown), min_size=count, max_size=count)) for _ in range(2))
    return np.array(true), np.array(said), classes


def answers(true: np.ndarray, said: np.ndarray, classes: int) -> Predictions:
    return Predictions(true, np.eye(classes)[said])


def test_one_class_that_is_always_right_has_an_f1_of_one() -> None:
    truth = answers(np.zeros(20, dtype=int), np.zeros(20, dtype=int), 2)
    assert compute_metrics(("f1", "precision", "recall"), truth) == {"f1": 1.0, "precision": 1.0, "recall": 1.0}


def test_a_class_that_is_only_answered_counts() -> None:
    truth = answers(np.array([0, 0, 0, 0]), np.array([0, 0, 1, 1]), 3)
    assert compute_metrics(("f1",), truth)["f1"] == pytest.approx((2 * 1.0 * 0.5 / 1.5 + 0.0) / 2)


@given(of_few_classes())
@settings(max_examples=150, deadline=None)
def test_macro_averages_are_over_the_classes_that_occur(drawn: tuple[np.ndarray, np.ndarray, int]) -> None:
    true, said, classes = drawn
    found = compute_metrics(tuple(MACRO), answers(true, said, classes))
    for name, compute in MACRO.items():
        same(found, name, compute(true, said))


@given(of_few_classes(), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_every_resample_averages_over_its_own_classes(drawn: tuple[np.ndarray, np.ndarray, int], seed: int) -> None:
    true, said, classes = drawn
    weights = np.random.default_rng(seed).multinomial(len(true), np.full(len(true), 1 / len(true)), size=5)
    prepared = COUNTS.prepare(answers(true, said, classes))(weights.astype(np.float64))
    for name, compute in MACRO.items():
        expected = [compute(true.repeat(row), said.repeat(row)) for row in weights]
        assert METRICS[name].finalize(prepared) == pytest.approx(expected, abs=NEAR)


def test_nothing_counted_is_undefined() -> None:
    counts = COUNTS.prepare(answers(np.array([0]), np.array([0]), 2))(np.zeros((1, 1)))
    assert np.isnan(METRICS["f1"].finalize(counts)).all()


@given(of_few_classes())
@settings(max_examples=60, deadline=None)
def test_batches_average_over_the_classes_of_all_of_them(drawn: tuple[np.ndarray, np.ndarray, int]) -> None:
    true, said, classes = drawn
    running = StreamingMetrics({name: METRICS[name] for name in MACRO})
    for place in range(len(true)):
        running.add(answers(true[place : place + 1], said[place : place + 1], classes))
    for name, value in running.compute().items():
        assert value == pytest.approx(MACRO[name](true, said), abs=NEAR)


@given(st.lists(st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from("ABCD")), min_size=1), min_size=1))
@settings(max_examples=60, deadline=None)
def test_tags_that_are_only_answered_count(rows: list[list[tuple[str, str]]]) -> None:
    true, said = (ragged_array([[pair[side] for pair in row] for row in rows]) for side in (0, 1))
    flat = [[pair[side] for row in rows for pair in row] for side in (0, 1)]
    found = METRICS["tag-f1"].compute(Predictions(true, said))
    assert found == pytest.approx(reference.f1_score(*flat, average="macro", zero_division=0.0))
    twice = METRICS["tag-f1"].statistic.prepare(Predictions(true, said))(np.eye(len(rows))[:1])
    flat = [[pair[side] for pair in rows[0]] for side in (0, 1)]
    expected = reference.f1_score(*flat, average="macro", zero_division=0.0)
    assert METRICS["tag-f1"].finalize(twice)[0] == pytest.approx(expected)
