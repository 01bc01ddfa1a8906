"""Choosing a model: the list with its figures, presets of size, a warning of too many weights, a probe."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import danlu as package
from danlu.api.list_models import list_models
from danlu.core.component import components
from danlu.data.specs import CorpusInputs, TextInputs
from danlu.errors import ArgumentError
from danlu.experiment.data_context import load_data
from danlu.experiment.linear_probe import probe_models
from danlu.experiment.model_summary import overparameterized_warning
from danlu.experiment.prepare import prepare_training
from danlu.models import catalog
from danlu.models.base import HasPresets
from danlu.models.text.options import Transformer
from danlu.models.text.presets import SIZE_PRESETS
from danlu.recipe.load import check_recipe
from tests.conftest import Command
from tests.support.real_weights import minilm


@pytest.mark.slow
@pytest.mark.training
def test_the_list_has_every_family_with_what_it_weighs(danlu: Command) -> None:
    done = danlu("models", "--task", "table", "--json")
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    names = {model["name"] for model in listed}
    assert names == {name for name, family in components("model").items() if family.kinds == ("tabular",)}  # type: ignore[attr-defined]
    weights = {(model["name"], model["size"]): model["parameters"] for model in listed}
    assert weights["linear", ""] == (20 + 4 * 6) * 2 + 2 + 4 * 10 * 6  # four embeddings of ten categories, six wide
    assert weights["boosting", ""] is None  # as it grows
    assert all(model["flops"] > 0 for model in listed if model["parameters"])


def test_figures_of_known_networks_are_those_that_are_known() -> None:
    found = list_models(like="timm:resnet18")
    assert [model.name for model in found] == ["timm:resnet18"]
    assert found[0].parameters == 11_689_512 - 513_000 + 5_130  # torchvision's, with ten classes for a thousand
    assert found[0].flops == pytest.approx(2 * 1.814e9, rel=0.01)  # He et al. 2015: 1.8 billion multiply-adds


@pytest.mark.parametrize(
    ("options", "words"), [({"like": "no-such-*"}, "no model matches"), ({"task": "x"}, "unknown task")]
)
def test_what_is_not_there_is_said(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        list_models(**options)


def test_a_size_fills_in_what_the_recipe_leaves_out() -> None:
    def model(**said: Any) -> Any:
        return check_recipe({"data": {"source": "builtin:wine"}, "model": said}).model

    assert model(name="mlp", size="large", dropout=0.3).model_dump(include={"hidden", "dropout"}) == {
        "hidden": (512, 512, 512),
        "dropout": 0.3,
    }
    assert model(name="mlp", size="large", hidden=[8]).hidden == (8,)
    assert model(name="resnet", size="base") == model(name="resnet").model_copy(update={"size": "base"})


@pytest.mark.slow
def test_presets_grow() -> None:
    listed = [*list_models(task="table"), *list_models(like="small-resnet")]
    by_size = {(found.name, found.size): found.parameters for found in listed if found.size and found.parameters}
    for name, family in components("model").items():
        if issubclass(family, HasPresets) and name != "hf":
            small, base, large = (by_size[name, size] for size in ("small", "base", "large"))
            assert small < base < large, name


def test_figures_are_counted_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path))
    first = list_models(like="mlp")

    def fails(*_: object) -> tuple[int, int]:
        raise AssertionError("counted again")

    monkeypatch.setattr(catalog, "_count", fails)
    assert list_models(like="mlp") == first
    with pytest.raises(AssertionError, match="counted again"):
        list_models(like="tabm")


ENCODERS = (
    *(
        "albert",
        "bert",
        "camembert",
        "convbert",
        "deberta",
        "deberta-v2",
        "distilbert",
        "electra",
        "flaubert",
        "funnel",
    ),
    *("longformer", "mobilebert", "modernbert", "mpnet", "nomic_bert", "roberta", "roformer", "xlm", "xlm-roberta"),
    *("xlnet", "bart"),
)
DECODERS = (
    *("biogpt", "bloom", "ctrl", "falcon", "gemma", "gemma3_text", "glm4", "gpt2", "gpt_neo", "gpt_neox", "gptj"),
    *("llama", "mistral", "mpt", "nemotron", "openai-gpt", "opt", "phi3", "qwen2", "qwen2_moe", "qwen3", "xglm"),
)


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "text") for name in ENCODERS), *((name, "corpus") for name in DECODERS)]
)
def test_a_size_takes_hold_whatever_an_architecture_calls_its_settings(name: str, kind: str) -> None:
    size = SIZE_PRESETS["small"]
    texts = TextInputs(vocabulary=300, longest=16, pad=0)
    spec = texts if kind == "text" else CorpusInputs(vocabulary=300, longest=16, end=0, packed=False)
    built: Any = Transformer(name=f"hf:{name}", size="small").build(spec, 2 if kind == "text" else 300)
    config = built.network.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (
        size["hidden_size"],
        size["num_hidden_layers"],
        size["num_attention_heads"],
    )
    config.output_hidden_states = True
    found = built.eval().network(input_ids=torch.arange(1, 9)[None])
    states = found.get("hidden_states") or found.get("encoder_hidden_states")
    assert len(states) - 1 == size["num_hidden_layers"]
    assert states[-1].shape[-1] == size["hidden_size"]
    wide = [weight.shape for weight in built.parameters() if weight.ndim == 2 and 300 not in weight.shape]
    assert max(max(shape) for shape in wide) <= 2 * size["intermediate_size"]  # two matrices may be one


def test_a_size_that_would_not_take_hold_is_refused() -> None:
    with pytest.raises(ArgumentError, match="perceiver has no setting for its layers that danlu knows"):
        Transformer(name="hf:perceiver", size="small").build(TextInputs(vocabulary=300, longest=16, pad=0), 2)


def test_a_recipe_goes_before_the_size_in_the_common_words_and_in_the_architectures() -> None:
    spec = TextInputs(vocabulary=300, longest=16, pad=0)
    said = {"n_layers": 3, "hidden_size": 64, "intermediate_size": 96}
    built: Any = Transformer(name="hf:distilbert", size="small", config=said).build(spec, 2)
    config = built.network.config
    assert (config.n_layers, config.dim, config.hidden_dim, config.n_heads) == (3, 64, 96, 4)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"name": "mlp", "hidden": [512, 512]}, r"[\d,]+ weights are trained on 124 samples, [\d,]+ per .*size: small"),
        ({"name": "linear"}, None),
    ],
)
def test_far_more_weights_than_samples_are_warned_of(model: dict[str, Any], words: str | None) -> None:
    fitting = prepare_training(load_data(check_recipe({"data": {"source": "builtin:wine"}, "model": model})))
    said = overparameterized_warning(fitting)
    if words is None:
        assert said is None
    else:
        assert said is not None
        assert re.search(words, said)


@pytest.mark.slow
def test_a_probe_takes_the_pretrained_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danlu.experiment.linear_probe.MAX_SAMPLES", 500)
    recipe = package.load_recipe("speeches", overrides=["data.sequence_length=64"])
    found = probe_models(recipe, [f"hf:{minilm()}", "hf:bert"])
    assert [candidate.name.endswith("bert") for candidate in found] == [False, True]
    assert found[0].take and not found[1].take
    assert found[0].low > found[1].high > 1 / 3
    assert found[0].width == 384


def test_what_cannot_be_probed_is_said() -> None:
    recipe = package.load_recipe("wine")
    with pytest.raises(ArgumentError, match="no features"):
        probe_models(recipe, ["mlp"])
    with pytest.raises(ArgumentError, match="no model 'bursting'"):
        probe_models(recipe, ["bursting"])
