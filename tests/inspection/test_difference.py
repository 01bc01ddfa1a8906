"""Two networks part where one was changed: the changed layer is named, and nothing else."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from danlu.inspection import difference as inspected
from danlu.inspection.difference import Difference, WeightDifference
from danlu.inspection.layers import TorchLayers
from tests.support.small_models import batch, build

KINDS = ("mlp", "image", "text", "corpus")


def compare_networks(one: nn.Module, other: nn.Module, batches: Any, **options: Any) -> Difference:
    return inspected.compare_networks(TorchLayers(one), TorchLayers(other), batches, **options)


def compare_weights(one: nn.Module, other: nn.Module) -> list[WeightDifference]:
    return inspected.compare_weights(TorchLayers(one), TorchLayers(other))


def difference(one: nn.Module, other: nn.Module, kind: str, **options: Any) -> Difference:
    batches = [dict(batch(kind, number=number).inputs) for number in range(2)]
    return compare_networks(one.eval(), other.eval(), [(each, each) for each in batches], **options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_is_equal_in_every_layer(kind: str) -> None:
    network = build(kind)
    found = difference(network, copy.deepcopy(network), kind)
    assert found.layers and all(layer.snr_db is None for layer in found.layers)
    assert found.first_below is None and found.rows == [] and found.unmatched == ((), ())
    assert {each.change for each in found.weights} == {0.0}


@pytest.mark.parametrize("kind", KINDS)
def test_one_perturbed_layer_of_a_copy_is_the_first_that_parts(kind: str) -> None:
    network = build(kind)
    other = copy.deepcopy(network)
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    planted = linear[len(linear) // 2]
    with torch.no_grad():
        other.get_submodule(planted).weight.normal_(generator=torch.Generator().manual_seed(3))  # type: ignore[operator,union-attr]
    found = difference(network, other, kind)
    assert found.first_below == planted
    changed = {each.name for each in found.weights if each.change > 0}
    assert changed == {f"{planted}.weight"}
    if kind != "image":  # there the branch ends in a norm that begins at zero, so the answers stay
        assert len(found.rows) == 8 and found.answers[found.rows[0]] == max(found.answers) > 0


def test_a_small_noise_parts_no_layer_under_the_threshold_and_has_the_decibels_that_were_planted() -> None:
    network = nn.Sequential(nn.Linear(6, 6, bias=False))
    other = copy.deepcopy(network)
    with torch.no_grad():
        other[0].weight.mul_(1 + 10 ** (-40 / 20))
    inputs = {"input": torch.randn(32, 6)}
    found = compare_networks(network, other, [(inputs, inputs)])
    assert found.layers[0].snr_db == pytest.approx(40.0, abs=1e-3)
    assert found.layers[0].cosine == pytest.approx(1.0) and found.first_below is None
    assert compare_networks(network, other, [(inputs, inputs)], threshold_db=45.0).first_below == "0"


def test_swapped_channels_are_named_as_pairs() -> None:
    network = build("image").eval()
    other = copy.deepcopy(network)
    name, planted = next((n, m) for n, m in other.named_modules() if isinstance(m, nn.Conv2d) and len(m.weight) > 7)
    with torch.no_grad():
        planted.weight[[2, 7]] = planted.weight[[7, 2]]
    found = difference(network, other, "image")
    assert [(each.name, each.swapped) for each in found.weights if each.change > 0] == [(f"{name}.weight", ((2, 7),))]
    assert found.first_below == name


def test_frozen_layers_show_no_change_and_trained_ones_do() -> None:
    network = build("mlp")
    trained = copy.deepcopy(network)
    frozen = {name for name, _ in list(network.named_parameters())[:2]}
    for name, values in trained.named_parameters():
        values.requires_grad_(name not in frozen)
    optimizer = torch.optim.SGD([each for each in trained.parameters() if each.requires_grad], lr=0.1)
    trained(**batch("mlp").inputs).square().sum().backward()
    optimizer.step()
    changed = {each.name for each in compare_weights(network, trained) if each.change > 0}
    assert changed and not changed & frozen
    assert all(each.swapped == () for each in compare_weights(network, trained))


class Wrapped(nn.Module):
    """Calls a network under another name, as exports do."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.network(input)


def test_layers_are_matched_by_name_behind_a_prefix_and_else_by_shape_in_order() -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    inputs = {"input": torch.randn(5, 4)}
    found = compare_networks(network, Wrapped(copy.deepcopy(network)), [(inputs, inputs)])
    assert [(each.name, each.other, each.matched) for each in found.layers] == [
        *(("0", "network.0", "name"), ("1", "network.1", "name"), ("2", "network.2", "name")),
    ]
    renamed = nn.Sequential()
    for name, module in zip(("body", "act", "head"), copy.deepcopy(network), strict=True):
        renamed.add_module(name, module)
    found = compare_networks(network, renamed, [(inputs, inputs)])
    assert [(each.name, each.other) for each in found.layers] == [("0", "body"), ("1", "act"), ("2", "head")]
    assert {each.matched for each in found.layers} == {"shape"} and found.rows == []
    pruned = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    found = compare_networks(network, pruned, [(inputs, inputs)])
    assert found.first_below == "0" and found.layers[0].cosine is None
    assert found.as_json()["layers"][0]["snr_db"] == -120.0
