"""Sparsity during training: schedules equal their formulae, what is asked is reached, zeros stay."""

import math

import pytest
import torch
from torch import nn

from danlu.core.seeds import Seed
from danlu.errors import RecipeError
from danlu.recipe.load import check_recipe
from danlu.recipe.sections.sparsity import Sparsity
from danlu.training.early_stopping import EarlyStopper
from danlu.training.masks import lowest_masks, n_of_m_masks, prunable_weights, sparsity_of
from danlu.training.sparsity import Sparsifier, scheduled_sparsity


def test_a_polynomial_rises_as_zhu_and_gupta_say() -> None:
    options = Sparsity(amount=0.9, start=0.1, begin=20, end=80, power=3)
    for step in range(20, 80):
        wanted = 0.9 + (0.1 - 0.9) * (1 - (step - 20) / 60) ** 3
        assert scheduled_sparsity(options, step, 100) == pytest.approx(wanted, abs=1e-12)
    assert [scheduled_sparsity(options, step, 100) for step in (0, 19, 80, 100)] == [0.1, 0.1, 0.9, 0.9]


def test_a_cosine_rises_by_half_a_wave() -> None:
    options = Sparsity(amount=0.8, schedule="cosine", begin=0.1, end=0.5)
    for step in range(10, 50):
        wanted = 0.8 - 0.8 * (1 + math.cos(math.pi * (step - 10) / 40)) / 2
        assert scheduled_sparsity(options, step, 100) == pytest.approx(wanted, abs=1e-12)
    assert scheduled_sparsity(options, 30, 100) == pytest.approx(0.4)


def test_a_constant_is_there_from_its_first_step() -> None:
    options = Sparsity(amount=0.5, schedule="constant", begin=10)
    assert [scheduled_sparsity(options, step, 100) for step in (9, 10, 99)] == [0.0, 0.5, 0.5]


@pytest.mark.parametrize("by_layer", [True, False])
def test_as_many_weights_are_zero_as_asked(by_layer: bool) -> None:
    torch.manual_seed(0)
    scores = {"a": torch.rand(40, 50), "b": torch.rand(30, 17, 3, 3) * 1.5}
    masks = lowest_masks(scores, 0.437, by_layer=by_layer)
    total = sum(mask.numel() for mask in masks.values())
    assert sum(int((~mask).sum()) for mask in masks.values()) / total == pytest.approx(0.437, abs=1e-3)
    shares = [float((~mask).float().mean()) for mask in masks.values()]
    assert (abs(shares[0] - shares[1]) < 1e-3) == by_layer
    lowest = min(float(score[masks[name]].min()) for name, score in scores.items())
    assert by_layer or all(float(score[~masks[name]].max()) <= lowest for name, score in scores.items())


def test_two_of_four_neighbours_are_kept_and_they_are_the_largest() -> None:
    score = torch.tensor([[4.0, 1.0, 3.0, 2.0, 1.0, 2.0, 3.0, 4.0, 9.0]])
    mask = n_of_m_masks({"w": score}, 2, 4)["w"]
    assert mask.tolist() == [[True, False, True, False, False, False, True, True, True]]
    turned = n_of_m_masks({"w": score.T}, 2, 4, frozenset({"w"}))["w"]
    assert turned.T.tolist() == mask.tolist()


def _train(steps: int, options: Sparsity, begin: int = 0, network: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(0)
    network = network or nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    sparsifier = Sparsifier(network, options, 40, Seed(0))
    for step in range(begin + 1, steps + 1):
        zeros = sparsifier.zeros_before(step)
        drawn = torch.Generator().manual_seed(step)
        with torch.no_grad():
            for weight in network.parameters():
                weight += 0.05 * torch.randn(weight.shape, generator=drawn)
        sparsifier.after_step(step, zeros)
    return network


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_zeros_stay_zero_while_others_join_them(scope: str) -> None:
    options = Sparsity.model_validate({"amount": 0.75, "end": 0.5, "scope": scope})
    before = {name: weight.detach() == 0 for name, weight in prunable_weights(_train(15, options)).items()}
    after = _train(40, options)
    assert sparsity_of(after) == pytest.approx(0.75, abs=1e-3)
    for name, weight in prunable_weights(after).items():
        assert bool((weight[before[name]] == 0).all()) and int(before[name].sum()) > 0


def test_training_that_goes_on_from_a_step_has_the_same_zeros() -> None:
    options = Sparsity(amount=0.6, schedule="cosine", by="random")
    whole, half = _train(40, options), _train(17, options)
    again = _train(40, options, begin=17, network=half)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_weights_from_before_the_sparsity_is_reached_are_never_the_best() -> None:
    stopper = EarlyStopper("validation/loss", 1, higher_is_better=False, first_step=10)
    assert [stopper.update({"validation/loss": loss}, step) for loss, step in ((0.1, 5), (0.5, 10), (0.4, 15))] == [
        False,
        True,
        True,
    ]
    assert stopper.best_step == 15


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"sparsity": {"amount": 0.5, "start": 0.6}}, "sparsity only rises"),
        ({"sparsity": {"amount": 0.5, "pattern": "1:4", "schedule": "constant"}}, "makes 0.75 of the weights zero"),
        ({"sparsity": {"amount": 0.5}, "average": "ema"}, "which an average undoes"),
        ({"rounding": {}, "precision": "bf16-master"}, "not copies"),
    ],
)
def test_what_would_undo_sparsity_is_refused(training: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        check_recipe({"data": {"source": "builtin:wine"}, "training": training})
