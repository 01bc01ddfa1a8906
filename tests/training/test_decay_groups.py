"""Which weights decay and how fast each block learns."""

import pytest
from torch import nn

from danlu.errors import ArgumentError, DanluError
from danlu.training.param_groups import layer_depths, layer_lr_scales, parameter_groups, parameter_roles


class Blocks(nn.Module):
    """A stem, three blocks, a norm and a head, as a transformer has them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.blocks = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)


def test_matrices_decay_and_vectors_do_not() -> None:
    groups = parameter_groups(Blocks(), 0.1)
    decays = {name: group["weight_decay"] for group in groups for name in group["names"]}
    assert {name for name, decay in decays.items() if decay == 0.1} == {
        "embed.weight",
        "blocks.0.weight",
        "blocks.1.weight",
        "blocks.2.weight",
        "head.weight",
    }
    assert {decay for name, decay in decays.items() if "bias" in name or "norm" in name} == {0.0}
    assert {group["lr_scale"] for group in groups} == {1.0} and len(groups) == 2


def test_each_block_learns_at_a_share_of_the_one_above() -> None:
    assert layer_depths(Blocks()) == {
        "embed.weight": 0,
        **{f"blocks.{index}.{kind}": index + 1 for index in range(3) for kind in ("weight", "bias")},
        **{f"{name}.{kind}": 4 for name in ("norm", "head") for kind in ("weight", "bias")},
    }
    scales = layer_lr_scales(Blocks(), 0.5)
    assert (scales["head.weight"], scales["norm.bias"], scales["blocks.2.bias"]) == (1.0, 1.0, 0.5)
    assert (scales["blocks.1.weight"], scales["blocks.0.weight"], scales["embed.weight"]) == (0.25, 0.125, 0.0625)
    groups = parameter_groups(Blocks(), 0.1, 0.5)
    assert sorted({group["lr_scale"] for group in groups}) == [0.0625, 0.125, 0.25, 0.5, 1.0]
    found = {name: group["lr_scale"] for group in groups for name in group["names"]}
    assert found == scales


def test_every_trained_weight_is_in_one_group_with_its_name_and_role() -> None:
    model = Blocks()
    model.blocks[0].weight.requires_grad_(False)
    groups = parameter_groups(model, 0.1, 0.9)
    named = dict(model.named_parameters())
    pairs = [(name, value) for group in groups for name, value in zip(group["names"], group["params"], strict=True)]
    assert all(named[name] is value for name, value in pairs)
    assert sorted(name for name, _ in pairs) == sorted(set(named) - {"blocks.0.weight"})
    roles = {name: role for group in groups for name, role in zip(group["names"], group["roles"], strict=True)}
    assert roles["embed.weight"] == "embedding"
    assert roles["blocks.1.weight"] == "matrix"
    assert roles["head.weight"] == "head"
    assert roles["head.bias"] == roles["norm.weight"] == "vector"


def test_the_head_is_the_last_linear_layer() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    assert parameter_roles(model) == {"0.weight": "matrix", "0.bias": "vector", "2.weight": "head", "2.bias": "vector"}


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ArgumentError, match="weight_decay"):
        parameter_groups(Blocks(), -0.1)
    for layer_decay in (0.0, -1.0, 1.1):
        with pytest.raises(ArgumentError, match="layer_decay"):
            parameter_groups(Blocks(), 0.1, layer_decay)
    assert parameter_groups(Blocks(), 0.0, 1.0)
    frozen = Blocks()
    frozen.requires_grad_(False)
    with pytest.raises(DanluError, match="frozen"):
        parameter_groups(frozen, 0.1)
