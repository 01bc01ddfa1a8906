"""Losses and answers of every task, by hand."""

import math

import pytest
import torch
from torch import Tensor

from danlu.tasks.classification import classification_loss, classification_predict
from danlu.tasks.ensembles import ensemble_loss, ensemble_predict
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.multi_label import multilabel_loss, multilabel_predict
from danlu.tasks.regression import regression_loss
from danlu.tasks.table import get_task
from danlu.tasks.tagging import tagging_predict
from danlu.tasks.token_losses import IGNORED, num_tokens, token_loss, token_predict

# Probabilities 1/2, 1/4, 1/4 and 1/10, 1/5, 7/10.
LOGITS = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]))
TARGET = torch.tensor([0, 1])


def loss(**emphasis: object) -> float:
    total, count = classification_loss(LOGITS, TARGET, LossWeighting(**emphasis))  # type: ignore[arg-type]
    assert count == 2
    return float(total)


def test_cross_entropy_is_summed() -> None:
    assert loss() == pytest.approx(-math.log(0.5) - math.log(0.2), rel=1e-6)


def test_label_smoothing_spreads_a_share_over_all_classes() -> None:
    plain = [-math.log(0.5), -math.log(0.2)]
    mean = [-(math.log(0.5) + 2 * math.log(0.25)) / 3, -(math.log(0.1) + math.log(0.2) + math.log(0.7)) / 3]
    expected = sum(0.9 * one + 0.1 * other for one, other in zip(plain, mean, strict=True))
    assert loss(smoothing=0.1) == pytest.approx(expected, rel=1e-6)


def test_class_weights_count_a_samples_own_class() -> None:
    expected = -2.0 * math.log(0.5) - 0.5 * math.log(0.2)
    assert loss(class_weights=(2.0, 0.5, 1.0)) == pytest.approx(expected, rel=1e-6)


def test_focal_loss_fades_what_is_known() -> None:
    expected = -(0.5**2) * math.log(0.5) - 0.8**2 * math.log(0.2)
    assert loss(focal_gamma=2.0) == pytest.approx(expected, rel=1e-6)
    expected = -2.0 * 0.5**1.5 * math.log(0.5) - 0.5 * 0.8**1.5 * math.log(0.2)
    assert loss(focal_gamma=1.5, class_weights=(2.0, 0.5, 1.0)) == pytest.approx(expected, rel=1e-6)


def test_smoothing_with_weights_has_the_mean_of_the_weights_own_term() -> None:
    # w_y ((1 - s) l_y + s mean(l)), with w = 2 and 0.5.
    rows = [(2.0, LOGITS[0], 0), (0.5, LOGITS[1], 1)]
    expected = sum(-weight * (0.8 * row[code] + 0.2 * row.mean()) for weight, row, code in rows)
    assert loss(class_weights=(2.0, 0.5, 1.0), smoothing=0.2) == pytest.approx(float(expected), rel=1e-6)


def test_offsets_are_added_to_the_logits() -> None:
    # Offsets of log 2 for the first class: probabilities 1, 1/4, 1/4 of 3/2, and 0.2, 0.2, 0.7 of 1.1.
    expected = -math.log(1 / 1.5) - math.log(0.2 / 1.1)
    assert loss(logit_offsets=(math.log(2.0), 0.0, 0.0)) == pytest.approx(expected, rel=1e-6)


def test_a_mixed_sample_costs_the_mean_over_its_classes() -> None:
    shares = torch.tensor([[0.75, 0.25, 0.0], [0.0, 1.0, 0.0]])
    expected = -0.75 * math.log(0.5) - 0.25 * math.log(0.25) - math.log(0.2)
    for emphasis in (LossWeighting(), LossWeighting(class_weights=(1.0, 1.0, 1.0))):
        assert float(classification_loss(LOGITS, shares, emphasis)[0]) == pytest.approx(expected, rel=1e-6)


def test_a_certain_sample_has_a_gradient_that_is_a_number() -> None:
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    total, _ = classification_loss(logits, torch.tensor([0]), LossWeighting(focal_gamma=0.5))
    total.backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_several_labels_cost_their_mean() -> None:
    logits, target = torch.zeros(2, 4), torch.tensor([[1.0, 0, 0, 0], [0, 1, 1, 1]])
    total, count = multilabel_loss(logits, target, LossWeighting())
    assert (float(total), count) == (pytest.approx(2 * math.log(2)), 2)
    # An answer of 1 becomes 0.9, one of 0 0.1, at a probability of 0.8.
    sure = torch.full((1, 1), math.log(4.0))
    smoothed, _ = multilabel_loss(sure, torch.ones(1, 1), LossWeighting(smoothing=0.2))
    assert float(smoothed) == pytest.approx(-0.9 * math.log(0.8) - 0.1 * math.log(0.2))
    torch.testing.assert_close(multilabel_predict(sure, None), torch.tensor([[0.8]]))


def test_numbers_cost_squares() -> None:
    total, count = regression_loss(torch.tensor([[1.0], [5.0]]), torch.tensor([0.0, 3.0]), LossWeighting())
    assert (float(total), count) == (5.0, 2)


def test_members_learn_alone_and_answer_together() -> None:
    logits = torch.stack([LOGITS, LOGITS.flip(1)], dim=1)  # [2, 2, 3]
    total, count = ensemble_loss(classification_loss)(logits, TARGET, LossWeighting())
    first, second = (float(classification_loss(some, TARGET, LossWeighting())[0]) for some in (LOGITS, LOGITS.flip(1)))
    assert (float(total), count) == (pytest.approx((first + second) / 2), 2)
    answer = ensemble_predict(classification_predict)(logits, None)
    torch.testing.assert_close(answer, torch.tensor([[0.375, 0.25, 0.375], [0.4, 0.2, 0.4]]))


TOKENS = torch.log(torch.tensor([[[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]]]))
FOLLOWING = torch.tensor([[1, 1, IGNORED]])


def test_tokens_that_are_not_asked_for_cost_nothing() -> None:
    total, count = token_loss(TOKENS, FOLLOWING, LossWeighting())
    assert (float(total), count) == (pytest.approx(-math.log(0.5) - math.log(0.8)), 2)
    assert num_tokens(FOLLOWING) == 2


def test_answers_to_tokens_are_loss_number_and_right_ones() -> None:
    found = token_predict(TOKENS, FOLLOWING)
    assert found[0].tolist() == pytest.approx([-math.log(0.5) - math.log(0.8), 2.0, 1.0])


def test_tags_of_words_stand_in_front() -> None:
    logits = torch.zeros(1, 4, 3)
    for position, code in enumerate((2, 1, 0, 1)):
        logits[0, position, code] = 1.0
    target = torch.tensor([[IGNORED, 0, IGNORED, 2]])
    assert tagging_predict(logits, target).tolist() == [[1, 1, -1, -1]]


@pytest.mark.parametrize("task", ["classification", "multi-label", "regression"])
def test_a_batch_counts_its_rows(task: str) -> None:
    target: Tensor = torch.zeros(5, 2)
    assert get_task(task).head(None).num_targets(target) == 5
