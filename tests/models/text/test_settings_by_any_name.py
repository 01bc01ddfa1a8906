"""What a folder's or a recipe's config says wins under any name of a setting, and the bundle builds the same shapes."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import nn

import danlu as package
from danlu.data.specs import CorpusInputs, ImageInputs, TabularInputs
from danlu.errors import ArgumentError
from danlu.experiment.rebuild import check_rebuild
from danlu.models.base import Model, TabularModel
from danlu.models.tabular.options import MLP
from danlu.models.text.options import Transformer
from danlu.models.vision.options import SmallResNet, Timm
from tests.support.tiny_folders import SENTENCES, tiny_folder

INPUTS = CorpusInputs(vocabulary=260, longest=16, end=2, packed=False)
RENAMING = ("gpt2", "gpt_bigcode", "openai-gpt", "ctrl", "gptj", "codegen")


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


@pytest.mark.parametrize("architecture", [*RENAMING, "gpt_neox", "bloom", "opt", "llama", "mistral"])
def test_a_folder_is_built_again_with_its_own_shapes(architecture: str, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", architecture)
    options = Transformer(name=f"hf:{folder}")
    network = options.build(INPUTS, 260)
    check_rebuild(options, network, INPUTS, 260)
    assert shapes(options.portable().build(INPUTS, 260)) == shapes(network)


@pytest.mark.parametrize("architecture", [*RENAMING, "gpt_neox", "bloom", "opt", "llama"])
def test_a_folder_whose_config_names_no_padding_says_what_it_needs(architecture: str, tmp_path: Path) -> None:
    """CodeGen's config of transformers has no such setting at all."""
    folder = tiny_folder(tmp_path / "model", architecture)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config.pop("pad_token_id", None)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    needs = Transformer(name=f"hf:{folder}").data_requirements()
    assert needs.tokenizer is not None
    assert needs.longest == config.get("n_positions", config.get("max_position_embeddings"))


@pytest.mark.parametrize("architecture", RENAMING)
@pytest.mark.parametrize("name", ["n_positions", "max_position_embeddings"])
def test_a_recipe_says_the_positions_by_either_name(architecture: str, name: str) -> None:
    options = Transformer(name=f"hf:{architecture}", size="small", config={name: 77})
    network: Any = options.build(INPUTS, 260)
    assert network.network.config.n_positions == 77
    check_rebuild(options, network, INPUTS, 260)


def test_settings_that_equal_a_default_are_kept(tmp_path: Path) -> None:
    """Mistral has 8 groups of keys by default, GPT-2 1024 positions; neither is filled in from heads or data."""
    folder = tiny_folder(tmp_path / "m", "mistral", hidden_size=64, num_attention_heads=16, num_key_value_heads=8)
    options = Transformer(name=f"hf:{folder}")
    check_rebuild(options, options.build(INPUTS, 260), INPUTS, 260)
    assert options.portable().config["num_key_value_heads"] == 8  # type: ignore[index]
    folder = tiny_folder(tmp_path / "g", "gpt2", n_positions=1024)
    assert Transformer(name=f"hf:{folder}").portable().config["n_positions"] == 1024  # type: ignore[index]


def test_dropout_of_the_recipe_leaves_what_config_says_by_another_name() -> None:
    network: Any = Transformer(name="hf:gpt2", size="small", dropout=0.4, config={"attn_pdrop": 0.1}).build(INPUTS, 260)
    assert (network.network.config.attn_pdrop, network.network.config.resid_pdrop) == (0.1, 0.4)


def test_two_names_with_two_values_are_refused() -> None:
    options = Transformer(name="hf:gpt2", size="small", config={"n_positions": 64, "max_position_embeddings": 32})
    with pytest.raises(ArgumentError, match="n_positions and max_position_embeddings are two names of one setting"):
        options.build(INPUTS, 260)


@pytest.mark.training
@pytest.mark.parametrize("architecture", ["gpt2", "gpt_bigcode"])
def test_a_tuned_folder_becomes_a_bundle_that_opens(architecture: str, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", architecture, n_positions=256)
    recipe = {
        "data": {"task": "language-modelling", "text": "text", "sequence_length": 16, "packing": False},
        "model": {"name": f"hf:{folder}"},
        "training": {"max_steps": 2, "batch_size": 4},
    }
    run = package.train(recipe, data={"text": list(SENTENCES) * 3}, output=tmp_path, name="run")
    opened: Any = package.load(run).model
    assert opened.network.config.n_positions == 256


class Forgetful(TabularModel):
    """A family whose bundle would build a wider network than was trained."""

    name: Literal["forgetful"] = "forgetful"
    width: int = 4

    def build_network(self, inputs: Any, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Linear(inputs.numeric, self.width), nn.Linear(self.width, outputs))

    def portable(self) -> "Forgetful":
        return self.model_copy(update={"width": 9})


def test_names_and_shapes_that_differ_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danlu.models.predictor.model_options", Forgetful.model_validate)
    inputs, options = TabularInputs(numeric=3, cardinalities=()), Forgetful()
    with pytest.raises(ArgumentError, match=r"0.weight is \[9, 3\] in place of \[4, 3\]; 0.bias is \[9\]"):
        check_rebuild(options, options.build(inputs, 2), inputs, 2)


@pytest.mark.parametrize(
    ("options", "inputs"),
    [
        (MLP(), TabularInputs(numeric=3, cardinalities=(4,))),
        (Timm(name="timm:test_resnet"), ImageInputs(channels=3, size=32, mean=(0.5,) * 3, std=(0.25,) * 3)),
        (SmallResNet(), ImageInputs(channels=1, size=28, mean=(0.5,), std=(0.25,))),
    ],
)
def test_the_check_draws_no_random_number(options: Model, inputs: Any) -> None:
    network = options.build(inputs, 2)
    torch.manual_seed(4)
    wanted = torch.rand(1)
    torch.manual_seed(4)
    check_rebuild(options, network, inputs, 2)
    assert torch.equal(torch.rand(1), wanted)


def test_a_network_that_no_bundle_could_open_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wider = {"n_embd": 64, "n_layer": 2, "n_head": 2}
    monkeypatch.setattr(Transformer, "portable", lambda self: self.model_copy(update={"config": wider}))
    recipe = {
        "data": {
            "task": "language-modelling",
            "text": "text",
            "sequence_length": 16,
            "vocabulary": 300,
            "packing": False,
        },
        "model": {"name": "hf:gpt2", "config": {"n_embd": 32, "n_layer": 2, "n_head": 2}},
        "training": {"max_steps": 2, "batch_size": 4},
    }
    with pytest.raises(ArgumentError, match="could not be opened") as caught:
        package.train(recipe, data={"text": list(SENTENCES) * 3}, output=tmp_path, name="run")
    assert caught.value.code == "DL310"
    assert not (tmp_path / "run").exists()
