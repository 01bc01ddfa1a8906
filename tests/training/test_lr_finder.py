"""The range test finds a rate that trains, leaves the model as it was, and draws what it saw."""

import math
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn

from danlu.errors import DanluError
from danlu.reporting.figures.lr_finder import lr_finder_plot
from danlu.training.lr_finder import find_lr
from danlu.training.optimizers import Optimizer
from danlu.training.optimizers.options import SGD, AdamW
from danlu.training.param_groups import parameter_groups


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    features, classes = load_digits(return_X_y=True)
    return torch.tensor(features, dtype=torch.float32) / 16, torch.tensor(classes)


class Trainer:
    """A small network over the digits, stepped in batches of 64."""

    def __init__(self, options: Optimizer, digits: tuple[Tensor, Tensor]) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
        self.optimizer = options.build(parameter_groups(self.model, 0.0), options.default_lr)
        self.features, self.classes = digits
        self.count = 0

    def step(self, rate: float) -> float:
        rows = torch.arange(self.count * 64, self.count * 64 + 64) % len(self.classes)
        self.count += 1
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = nn.functional.cross_entropy(self.model(self.features[rows]), self.classes[rows])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


@pytest.mark.parametrize("options", [SGD(momentum=0.0), AdamW()], ids=["sgd", "adamw"])
def test_the_suggested_rate_trains_better_than_much_smaller_and_larger_ones(
    options: Any, digits: tuple[Tensor, Tensor]
) -> None:
    trainer = Trainer(options, digits)
    found = find_lr(trainer.model, trainer.step)
    assert found.lrs[0] == 1e-6
    assert len(found.lrs) == len(found.losses)
    assert found.suggested_lr in found.lrs

    def after(rate: float) -> float:
        fresh = Trainer(options, digits)
        losses = [fresh.step(rate) for _ in range(60)]
        return sum(losses[-10:]) if math.isfinite(losses[-1]) else math.inf

    suggested = after(found.suggested_lr)
    assert suggested < 0.5 * after(found.suggested_lr / 100)
    assert suggested < after(found.suggested_lr * 100)


def test_the_model_is_left_as_it_was(digits: tuple[Tensor, Tensor]) -> None:
    trainer = Trainer(AdamW(), digits)
    trainer.model.eval()
    before = {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}

    def step(rate: float) -> float:
        trainer.model.train()
        return trainer.step(rate)

    find_lr(trainer.model, step)
    assert not trainer.model.training
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())


def test_the_sweep_ends_where_training_diverges() -> None:
    """The loss w^2 from w = 1, by plain gradient descent: steps above 1 grow without bound."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)

    def step(rate: float) -> float:
        loss = float(model.weight.detach() ** 2)
        with torch.no_grad():
            model.weight -= rate * 2 * model.weight
        return loss

    found = find_lr(model, step, min_lr=1e-3, max_lr=1e6, steps=200)
    assert len(found.lrs) < 200
    assert found.suggested_lr < 1.0
    assert model.weight.item() == 1.0


def test_a_loss_that_never_falls_is_told() -> None:
    with pytest.raises(DanluError, match=r"found no rate from 1e-06 to 1e\+01 .* set training\.optimizer\.lr"):
        find_lr(nn.Linear(1, 1), lambda rate: 1.0)
    with pytest.raises(DanluError, match="found no rate"):
        find_lr(nn.Linear(1, 1), lambda rate: math.nan)


def test_the_picture_stands_alone(digits: tuple[Tensor, Tensor]) -> None:
    trainer = Trainer(AdamW(), digits)
    found = find_lr(trainer.model, trainer.step)
    svg = lr_finder_plot(found.lrs, found.losses, found.suggested_lr)
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert f"suggested {found.suggested_lr:.2g}" in root.attrib["aria-label"]
    assert "learning rate" in "".join(root.itertext())
    assert "var(" not in svg
