"""DPO by hand: margins over a reference, smoothing, and which tokens count."""

import math

import pytest
import torch

from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.preference import PreferenceTarget, preference_loss, preference_predict
from danlu.tasks.table import task_of

OURS = torch.tensor([[-10.0, -12.0], [-5.0, -4.0]])
REFERENCE = torch.tensor([[-11.0, -11.0], [-5.0, -5.0]])
# Chosen over rejected, against the reference: 1 - (-1) = 2, and 0 - 1 = -1.


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("beta", [0.1, 0.5, 2.0])
def test_the_loss_is_that_of_margins_times_beta(beta: float) -> None:
    total, count = preference_loss(OURS, REFERENCE, LossWeighting(), beta)
    assert count == 2
    assert float(total) == pytest.approx(-math.log(sigmoid(2 * beta)) - math.log(sigmoid(-beta)), rel=1e-6)


def test_smoothing_takes_a_share_of_preferences_the_wrong_way_round() -> None:
    total, _ = preference_loss(OURS, REFERENCE, LossWeighting(smoothing=0.2), 0.5)
    terms = [-0.8 * math.log(sigmoid(margin)) - 0.2 * math.log(sigmoid(-margin)) for margin in (1.0, -0.5)]
    assert float(total) == pytest.approx(sum(terms), rel=1e-6)


def test_a_model_that_has_not_moved_costs_log_2() -> None:
    total, _ = preference_loss(REFERENCE, REFERENCE, LossWeighting(), 0.1)
    assert float(total) == pytest.approx(2 * math.log(2))


def test_the_gradient_favours_the_chosen_answer() -> None:
    ours = OURS.clone().requires_grad_(True)
    preference_loss(ours, REFERENCE, LossWeighting(), 0.5)[0].backward()
    assert ours.grad is not None
    assert ours.grad[0].tolist() == pytest.approx([-0.5 * sigmoid(-1.0), 0.5 * sigmoid(-1.0)])


def test_the_head_of_a_preference_has_its_beta() -> None:
    target = PreferenceTarget(beta=2.0, vocabulary=300)
    head = task_of(target).head(target)
    assert float(head.loss(OURS, REFERENCE, LossWeighting())[0]) == pytest.approx(
        -math.log(sigmoid(4.0)) - math.log(sigmoid(-2.0)), rel=1e-5
    )
    assert torch.equal(preference_predict(OURS, None), OURS)
