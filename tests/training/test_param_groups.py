"""Which weights decay, at what share of the rate they learn, and what stands in the way of large ones."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from danlu.core.imports import patch_torchvision
from danlu.errors import ArgumentError, DanluError
from danlu.recipe.sections.training import LearningRateScaling
from danlu.training.param_groups import layer_depths, parameter_groups, parameter_roles
from danlu.training.regularization import add_penalties, max_norm_weights, penalized_params, renorm_units
from danlu.training.schedules import scaled_lr


def timm_network(name: str, **options: Any) -> nn.Module:
    patch_torchvision()
    import timm

    network: nn.Module = timm.create_model(name, num_classes=5, **options)
    return network


class Wrapped(nn.Module):
    """As danlu wraps a network of timm."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


def bert() -> nn.Module:
    patch_torchvision()
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    return Wrapped(BertForSequenceClassification(BertConfig(vocab_size=50, num_labels=4, **sizes)))


def gpt2() -> nn.Module:
    patch_torchvision()
    from transformers import GPT2Config, GPT2LMHeadModel

    return Wrapped(GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=8)))


def by_name(groups: list[dict[str, Any]], key: str) -> dict[str, float]:
    return {name: group[key] for group in groups for name in group["names"]}


def test_biases_and_norms_do_not_decay_and_frozen_weights_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    model[0].weight.requires_grad_(False)
    groups = parameter_groups(model, 0.3)
    assert by_name(groups, "weight_decay") == {
        "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0, "2.weight": 0.3, "2.bias": 0.0,
    }  # fmt: skip
    assert set(by_name(groups, "lr_scale").values()) == {1.0}
    named = dict(model.named_parameters())
    for group in groups:
        assert [named[name] for name in group["names"]] == group["params"]


def test_what_cannot_be_grouped_is_refused() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ArgumentError, match="weight_decay must not be negative"):
        parameter_groups(model, -0.1)
    for decay in (0.0, 1.1):
        with pytest.raises(ArgumentError, match="layer_decay must be above 0"):
            parameter_groups(model, 0.0, decay)
    model.requires_grad_(False)
    with pytest.raises(DanluError, match="are frozen"):
        parameter_groups(model, 0.0)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext", "test_efficientnet"])
def test_rates_by_layer_are_timms_own(name: str) -> None:
    network = timm_network(name)
    from timm.optim import param_groups_layer_decay

    theirs = param_groups_layer_decay(network, weight_decay=0.05, layer_decay=0.7)
    wanted = {id(value): group["lr_scale"] for group in theirs for value in group["params"]}
    groups = parameter_groups(Wrapped(network), 0.05, 0.7)
    assert {id(value): group["lr_scale"] for group in groups for value in group["params"]} == pytest.approx(wanted)
    decays = {id(value): group["weight_decay"] for group in theirs for value in group["params"]}
    assert {id(value): group["weight_decay"] for group in groups for value in group["params"]} == decays


def test_blocks_of_transformers_are_found_by_their_names() -> None:
    scales = by_name(parameter_groups(bert(), 0.01, 0.5), "lr_scale")
    assert scales["network.bert.embeddings.word_embeddings.weight"] == 0.5**4
    assert scales["network.bert.encoder.layer.0.attention.self.query.weight"] == 0.5**3
    assert scales["network.bert.encoder.layer.2.output.dense.weight"] == 0.5
    assert scales["network.bert.pooler.dense.weight"] == scales["network.classifier.weight"] == 1.0
    depths = layer_depths(gpt2())
    assert depths["network.transformer.wte.weight"] == 0
    assert depths["network.transformer.h.1.mlp.c_fc.weight"] == 2
    assert depths["network.transformer.ln_f.weight"] == 3


def test_roles_tell_hidden_matrices_from_embeddings_heads_and_vectors() -> None:
    roles = parameter_roles(bert())
    assert roles["network.bert.embeddings.word_embeddings.weight"] == "embedding"
    assert roles["network.bert.encoder.layer.0.attention.self.query.weight"] == "matrix"
    assert roles["network.classifier.weight"] == "head"
    assert roles["network.classifier.bias"] == "vector"
    vit = parameter_roles(timm_network("test_vit"))
    assert (vit["pos_embed"], vit["cls_token"], vit["head.weight"]) == ("embedding", "embedding", "head")
    assert vit["patch_embed.proj.weight"] == vit["blocks.0.attn.qkv.weight"] == "matrix"
    tied = parameter_roles(gpt2())
    assert tied["network.transformer.wte.weight"] == "embedding"
    assert [name for name, role in tied.items() if role == "head"] == []


def test_a_lower_layer_moves_less() -> None:
    from danlu.training.optimizers.options import SGD

    model = bert()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = SGD(momentum=0.0).build(parameter_groups(model, 0.0, 0.5), 0.1)
    for value in model.parameters():
        value.grad = torch.ones_like(value)
    optimizer.step()
    moved = {name: float((before[name] - value.detach()).mean()) for name, value in model.named_parameters()}
    assert moved["network.classifier.weight"] == pytest.approx(0.1, rel=1e-4)
    assert moved["network.bert.encoder.layer.1.output.dense.weight"] == pytest.approx(0.1 * 0.5**2, rel=1e-4)


@pytest.mark.parametrize(
    ("rule", "size", "wanted"), [("linear", 1024, 0.4), ("sqrt", 1024, 0.2), ("linear", 64, 0.025), ("sqrt", 64, 0.05)]
)
def test_a_rate_is_scaled_by_the_batch(rule: Any, size: int, wanted: float) -> None:
    assert scaled_lr(0.1, size, LearningRateScaling(rule=rule, reference=256)) == pytest.approx(wanted)
    assert scaled_lr(0.1, size, None) == 0.1


def test_penalties_are_the_gradients_of_their_terms() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 4, 2)).double()
    inputs = torch.randn(4, 2, 4, 4, dtype=torch.float64)
    loss = model(inputs).square().mean()
    terms = sum(
        0.01 * value.abs().sum() + 0.3 / 2 * value.square().sum() for value in model.parameters() if value.ndim > 1
    )
    wanted = torch.autograd.grad(loss + terms, list(model.parameters()), retain_graph=True)
    loss.backward()
    add_penalties(penalized_params(model), 0.01, 0.3)
    for value, gradient in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(value.grad, gradient)


def test_penalties_leave_alone_what_a_step_did_not_use() -> None:
    model = nn.Linear(2, 2)
    add_penalties(penalized_params(model), 0.1, 0.1)
    assert model.weight.grad is None
    model.weight.requires_grad_(False)
    assert penalized_params(model) == []
    assert max_norm_weights(model) == []


@given(st.floats(0.05, 5.0), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_no_unit_has_a_larger_norm_and_small_ones_keep_their_bits(largest: float, seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.ModuleList(
        [nn.Linear(5, 4), nn.Conv2d(3, 4, 2), nn.ConvTranspose2d(3, 4, 2), nn.Embedding(6, 4), nn.LayerNorm(4)]
    )
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    renorm_units(max_norm_weights(model), largest)
    for name, dimension in (("0.weight", 0), ("1.weight", 0), ("2.weight", 1)):
        after, was = model.get_parameter(name).detach(), before[name]
        for unit, old in zip(after.unbind(dimension), was.unbind(dimension), strict=True):
            assert float(unit.norm()) <= largest * (1 + 1e-5)
            if float(old.norm()) < largest * (1 - 1e-5):
                assert torch.equal(unit, old)
            elif float(old.norm()) > largest * (1 + 1e-5):
                torch.testing.assert_close(unit, old * (largest / old.norm()))
    for name in ("0.bias", "3.weight", "4.weight"):
        assert torch.equal(model.get_parameter(name), before[name])


def test_the_rows_of_gpt2s_matrices_are_its_columns() -> None:
    model = gpt2()
    renorm_units(max_norm_weights(model), 0.01)
    weight = model.get_parameter("network.transformer.h.0.mlp.c_fc.weight").detach()
    assert weight.shape == (16, 64)
    assert weight.norm(dim=0).tolist() == pytest.approx([0.01] * 64, rel=1e-3)
    assert not math.isclose(float(weight.norm(dim=1)[0]), 0.01, rel_tol=0.1)
