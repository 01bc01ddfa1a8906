"""What follows a network, and how much of it a layer's weights can hold."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from danlu.models.answer_folding import (
    Affine,
    AnswerSteps,
    Step,
    answer_steps,
    foldable,
    folded_into,
    place_steps,
    unfolded,
)
from danlu.tasks.base import Target
from danlu.tasks.calibrations import Isotonic, Temperature
from danlu.tasks.classification import ClassTarget
from danlu.tasks.language_modelling import NextTokenTarget
from danlu.tasks.ordinal import OrdinalTarget
from danlu.tasks.preference import PreferenceTarget
from danlu.tasks.regression import NumericTarget

MEANS = st.floats(-500, 500)
DEVIATIONS = st.floats(1.0, 1e4)


def affine(scale: list[float], offset: list[float]) -> Affine:
    scaling, shifting = Step("deviation", scale), Step("mean", offset)
    return Affine(np.array(scale), np.array(offset), scaling, shifting)


@settings(deadline=None)
@given(st.lists(st.tuples(DEVIATIONS, MEANS), min_size=1, max_size=4), st.integers(0, 9))
def test_a_folded_layer_answers_in_units_and_the_old_one_comes_back(
    pairs: list[tuple[float, float]], seed: int
) -> None:
    torch.manual_seed(seed)
    layer, inputs = nn.Linear(5, len(pairs)), torch.randn(7, 5)
    scale, offset = (torch.tensor(values, dtype=torch.float64) for values in zip(*pairs, strict=True))
    change = affine(scale.tolist(), offset.tolist())
    before = layer(inputs)
    assert foldable(layer, change) is change
    with folded_into(layer, change):
        folded = layer(inputs)
        back = unfolded(_Named(layer), change)(inputs=inputs)
    torch.testing.assert_close(folded.double(), before.double() * scale + offset, rtol=1e-5, atol=1e-2)
    torch.testing.assert_close(back, before, rtol=0, atol=2e-4)
    assert torch.equal(layer(inputs), before)


class _Named(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(inputs)
        return found


def test_a_convolution_of_one_pixel_holds_it_too() -> None:
    layer, inputs = nn.Conv2d(4, 2, 1), torch.randn(3, 4, 1, 1)
    before = layer(inputs)
    with folded_into(layer, foldable(layer, affine([2.0, 3.0], [10.0, -1.0]))):
        expected = before * torch.tensor([2.0, 3.0]).view(1, 2, 1, 1) + torch.tensor([10.0, -1.0]).view(1, 2, 1, 1)
        torch.testing.assert_close(layer(inputs), expected)


@pytest.mark.parametrize("layer", [nn.Linear(5, 2), nn.Identity(), None, (nn.Linear(5, 1), nn.Linear(5, 1))])
def test_layers_of_another_width_or_kind_hold_nothing(layer: object) -> None:
    assert foldable(layer, affine([2.0], [10.0])) is None


@pytest.mark.parametrize(("layer", "mean"), [(nn.Linear(5, 1, bias=False), 10.0), (nn.Linear(5, 1), 1.7e9)])
def test_what_a_layer_cannot_hold_of_a_mean_is_named(layer: nn.Module, mean: float) -> None:
    """It has no bias, or a bias of float32 would lose the digits: 1.7e9 ± 1e5 seconds come in steps of 128."""
    steps = answer_steps(NumericTarget(column="y", mean=mean, std=2.0))
    placed = place_steps(steps, foldable(layer, steps.affine), True, (), ())
    assert placed.inside == ("deviation",)
    assert placed.outside == (Step("mean", mean),)


def test_a_temperature_divides_and_curves_stay_outside() -> None:
    labels = {"column": "y", "labels": ("a", "b")}
    soft = answer_steps(ClassTarget.model_validate({**labels, "calibration": Temperature(temperature=2.5)}))
    assert soft.affine is not None
    assert soft.affine.scale.tolist() == [0.4, 0.4]
    curves = Isotonic(given=((0.0, 1.0),), true=((0.1, 0.9),))
    curved = answer_steps(ClassTarget.model_validate({**labels, "calibration": curves, "threshold": 0.3}))
    assert curved.affine is None
    assert [step.what for step in curved.decisions] == ["isotonic", "threshold"]


def test_the_temperature_of_ordered_classes_is_not_that_of_their_borders() -> None:
    target = OrdinalTarget.model_validate(
        {"column": "y", "labels": (1, 2, 3), "calibration": Temperature(temperature=2.0)}
    )
    steps = answer_steps(target)
    assert steps.affine is None
    assert [step.what for step in steps.decisions] == ["temperature", "labels"]
    assert steps.names == ("1 | 2", "2 | 3")


class _PluginTarget(Target):
    kind: str = "plugin"
    base: float = 2.0

    @property
    def outputs(self) -> int:
        return 1

    def encode(self, values: Any) -> Any:
        return values

    def decode(self, answers: Any) -> Any:
        return answers


@pytest.mark.parametrize("target", [NextTokenTarget.model_construct(), PreferenceTarget.model_construct()])
def test_nothing_follows_a_language_model(target: Target) -> None:
    assert answer_steps(target) == AnswerSteps()


def test_what_another_packages_target_does_is_named() -> None:
    target = _PluginTarget.model_construct(kind="plugin", base=2.0)
    steps = answer_steps(target)
    assert steps.decisions == (Step("target", {"class": "_PluginTarget", "kind": "plugin", "base": 2.0}),)
    placed = place_steps(steps, foldable(nn.Linear(3, 1), steps.affine), False, ("tokenizer",), ())
    assert placed.outside == steps.decisions
    assert placed.inside == ("tokenizer",)
