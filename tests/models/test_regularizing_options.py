"""What models offer against overfitting: dropout, stochastic depth and other normalizations, each really there."""

from typing import Any

import pytest
import torch
from torch import nn

import danlu as package
from danlu.data.specs import CorpusInputs, ImageInputs, TabularInputs, TextInputs
from danlu.errors import ArgumentError
from danlu.models.normalization import num_groups
from danlu.models.tabular.options import MLP
from danlu.models.text.options import Transformer
from danlu.models.vision.options import Timm

IMAGE = ImageInputs(channels=3, size=64, mean=(0.5,) * 3, std=(0.25,) * 3)
TEXT = TextInputs(vocabulary=50, longest=8, pad=0)
CORPUS = CorpusInputs(vocabulary=50, longest=8, end=0, packed=False)
PIXELS = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def rates(model: nn.Module, attribute: str) -> list[float]:
    return [value for module in model.modules() if (value := getattr(module, attribute, None))]


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_resnet", "timm:test_convnext"])
def test_stochastic_depth_grows_with_the_block(name: str) -> None:
    model = Timm(name=name, stochastic_depth=0.3).build(IMAGE, 4)
    found = rates(model, "drop_prob")
    assert max(found) == pytest.approx(0.3)
    assert found == sorted(found)
    for value in model.parameters():
        if value.ndim == 1:  # some blocks begin as nothing, and then it is all the same
            nn.init.ones_(value)
    model.train()
    torch.manual_seed(1)
    answers = [model(PIXELS) for _ in range(8)]
    assert not all(torch.equal(answer, answers[0]) for answer in answers)
    model.eval()
    assert torch.equal(model(PIXELS), model(PIXELS))
    assert rates(Timm(name=name).build(IMAGE, 4), "drop_prob") == []


def test_a_network_without_blocks_to_leave_out_refuses_stochastic_depth() -> None:
    with pytest.raises(ArgumentError, match=r"model\.stochastic_depth: vgg11 .* leave it out"):
        Timm(name="timm:vgg11", stochastic_depth=0.1).build(IMAGE, 4)


@pytest.mark.parametrize(("wanted", "groups"), [("group", 16), ("layer", 1)])
@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_efficientnet"])
def test_batch_norms_are_replaced_and_activations_stay(name: str, wanted: Any, groups: int) -> None:
    torch.manual_seed(0)
    own = Timm(name=name).build(IMAGE, 4)
    torch.manual_seed(0)
    model = Timm(name=name, normalization=wanted).build(IMAGE, 4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    norms = [module for module in model.modules() if isinstance(module, nn.GroupNorm)]
    assert len(norms) == sum(isinstance(module, nn.BatchNorm2d) for module in own.modules())
    assert all(norm.num_groups == (num_groups(norm.num_channels, 2) if groups > 1 else 1) for norm in norms)
    scales = [module.weight for module in own.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(torch.equal(norm.weight, scale) for norm, scale in zip(norms, scales, strict=True))
    acts = [type(module) for module in own.modules() if isinstance(module, nn.ReLU | nn.SiLU)]
    assert [type(module) for module in model.modules() if isinstance(module, nn.ReLU | nn.SiLU)] == acts
    model.train()
    alone, together = model(PIXELS[:1]), model(PIXELS)
    torch.testing.assert_close(alone[0], together[0], rtol=1e-4, atol=1e-5)  # no sample sees another


def test_normalization_is_refused_where_it_cannot_be() -> None:
    with pytest.raises(ArgumentError, match="test_vit has no batch normalization"):
        Timm(name="timm:test_vit", normalization="group").build(IMAGE, 4)
    with pytest.raises(ArgumentError, match="pretrained weights need the network's own"):
        Timm(name="timm:test_resnet", normalization="layer", pretrained="weights.safetensors").build(IMAGE, 4)
    model = Timm(name="timm:test_resnet", normalization="batch").build(IMAGE, 4)
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize(("size", "groups"), [(64, 4), (128, 8), (100, 5), (37, 1), (8, 1)])
def test_an_mlps_groups_hold_sixteen_features_or_more(size: int, groups: int) -> None:
    inputs = TabularInputs(numeric=3, cardinalities=())
    model = MLP(hidden=(size,), normalization="group").build(inputs, 2)
    (norm,) = [module for module in model.modules() if isinstance(module, nn.GroupNorm)]
    assert norm.num_groups == groups
    assert model(numeric=torch.randn(5, 3)).shape == (5, 2)


@pytest.mark.parametrize(
    ("name", "inputs", "config"),
    [
        ("hf:bert", TEXT, TINY),
        ("hf:distilbert", TEXT, {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}),
        ("hf:gpt2", CORPUS, {"n_embd": 16, "n_layer": 1, "n_head": 2}),
    ],
)
def test_dropout_reaches_a_transformer(name: str, inputs: Any, config: dict[str, Any]) -> None:
    ids = torch.tensor([[1, 2, 3, 4]])
    for dropout, random in ((0.4, True), (0.0, False)):
        model = Transformer(name=name, config=config, dropout=dropout).build(inputs, 3)
        found = {module.p for module in model.modules() if isinstance(module, nn.Dropout)}
        assert dropout in found
        model.train()
        torch.manual_seed(0)
        first, second = model(ids), model(ids)
        assert torch.equal(first, second) is not random


def test_what_config_says_of_dropout_stays() -> None:
    options = Transformer(name="hf:bert", config={**TINY, "hidden_dropout_prob": 0.7}, dropout=0.2)
    settings = options.build(TEXT, 3).network.config
    assert (settings.hidden_dropout_prob, settings.attention_probs_dropout_prob) == (0.7, 0.2)


def test_a_pretrained_folder_takes_dropout_too(tmp_path: Any) -> None:
    Transformer(name="hf:bert", config=TINY).build(TEXT, 3).network.save_pretrained(tmp_path / "model")
    options = Transformer(name=f"hf:{tmp_path / 'model'}", dropout=0.3)
    settings = options.build(TEXT, 3).network.config
    assert (settings.hidden_dropout_prob, settings.attention_probs_dropout_prob, settings.num_labels) == (0.3, 0.3, 3)
    assert options.portable().dropout is None


def test_an_architecture_without_dropout_refuses_it() -> None:
    with pytest.raises(ArgumentError, match=r"model\.dropout: hf:mamba has no dropout to set"):
        Transformer(name="hf:mamba", config={"hidden_size": 16, "num_hidden_layers": 1}, dropout=0.1).build(CORPUS, 50)


def test_a_recipe_trains_with_all_of_it(image_recipe: dict[str, Any], tmp_path: Any) -> None:
    model = {"name": "timm:test_resnet", "dropout": 0.1, "stochastic_depth": 0.1, "normalization": "group"}
    training = {"epochs": 2, "batch_size": 32, "optimizer": {"lr": 3e-3}}
    run = package.train({**image_recipe, "model": model, "training": training}, output=tmp_path)
    losses = [line["validation/loss"] for line in run.metrics() if "validation/loss" in line]
    assert losses[-1] < losses[0]
    assert package.load(run.path).predict  # the bundle builds the same network
