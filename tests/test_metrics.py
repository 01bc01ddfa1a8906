"""Metrics equal scikit-learn's, on fuzzed and on degenerate answers."""

import warnings

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.data.targets import Classes
from danlu.evaluation.metrics import METRICS, Truth, class_figures, compute_metrics, confusion, metrics_for


@st.composite
def answered(draw: st.DrawFn) -> Truth:
    classes = draw(st.integers(2, 5))
    count = draw(st.integers(2, 60))
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    logits = generator.normal(size=(count, classes)) * draw(st.sampled_from([0.0, 0.5, 3.0]))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Truth(generator.integers(classes, size=count), probabilities)


@given(answered())
@settings(max_examples=150, deadline=None)
def test_classification_metrics_equal_scikit_learns(truth: Truth) -> None:
    found = compute_metrics(metrics_for("classification", None), truth)
    labels = list(range(truth.answers.shape[1]))
    predicted = truth.answers.argmax(axis=1)
    macro = {"labels": labels, "average": "macro", "zero_division": 0.0}
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth.values, predicted), abs=1e-9)
    assert found["precision"] == pytest.approx(reference.precision_score(truth.values, predicted, **macro), abs=1e-9)
    assert found["recall"] == pytest.approx(reference.recall_score(truth.values, predicted, **macro), abs=1e-9)
    assert found["f1"] == pytest.approx(reference.f1_score(truth.values, predicted, **macro), abs=1e-9)
    assert found["log-loss"] == pytest.approx(
        reference.log_loss(truth.values, truth.answers, labels=labels), rel=1e-6, abs=1e-6
    )
    present = set(truth.values.tolist())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        balanced = reference.balanced_accuracy_score(truth.values, predicted)
    assert found["balanced-accuracy"] == pytest.approx(balanced, abs=1e-9)
    if present != set(labels):
        assert "auroc" not in found  # undefined without every class
    elif len(labels) == 2:
        assert found["auroc"] == pytest.approx(reference.roc_auc_score(truth.values, truth.answers[:, 1]), abs=1e-9)
    else:
        expected = reference.roc_auc_score(truth.values, truth.answers, multi_class="ovr", average="macro")
        assert found["auroc"] == pytest.approx(expected, abs=1e-9)


@given(st.integers(2, 80), st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_regression_metrics_equal_scikit_learns(count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = Truth(generator.normal(size=count) * 50, generator.normal(size=count) * 50)
    found = compute_metrics(metrics_for("regression", None), truth)
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(truth.values, truth.answers), abs=1e-9)
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(truth.values, truth.answers), abs=1e-9)
    assert found["r2"] == pytest.approx(reference.r2_score(truth.values, truth.answers), abs=1e-9)


def test_language_metrics_count_every_token_once() -> None:
    blocks = np.array([[np.log(4) * 10, 10, 5], [np.log(4) * 30, 30, 5]])
    found = compute_metrics(metrics_for("language-modelling", None), Truth(blocks[:, 1], blocks, text_bytes=40))
    assert found["perplexity"] == pytest.approx(4.0)
    assert found["bits-per-byte"] == pytest.approx(2.0)
    assert found["token-accuracy"] == pytest.approx(0.25)


def test_perplexity_equals_a_sum_over_torchs_cross_entropy() -> None:
    import torch

    from danlu.data.balance.emphasis import Emphasis
    from danlu.models.heads import token_answer, token_loss

    logits, target = torch.randn(3, 7, 11), torch.randint(11, (3, 7))
    target[2, 4:] = -100
    summed, count = token_loss(logits, target, Emphasis())
    answers = token_answer(logits, target)
    assert float(answers[:, 0].sum()) == pytest.approx(float(summed), rel=1e-6)
    assert (int(answers[:, 1].sum()), count) == (18, 18)
    expected = torch.nn.functional.cross_entropy(logits[2, :4], target[2, :4], reduction="sum")
    assert float(answers[2, 0]) == pytest.approx(float(expected), rel=1e-6)


def test_class_figures_and_confusion() -> None:
    target = Classes(column="y", labels=("cat", "dog"))
    truth = Truth(np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]]))
    assert confusion(target, truth) == [[1, 1], [0, 2]]
    figures = class_figures(target, truth)
    assert figures["dog"] == {"precision": pytest.approx(2 / 3), "recall": 1.0, "f1": pytest.approx(0.8), "support": 2}


def test_every_metric_says_what_it_means() -> None:
    assert all(metric.meaning for metric in METRICS.values())
