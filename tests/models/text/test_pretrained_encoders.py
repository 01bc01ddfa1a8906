"""Pretrained encoders of texts from local folders: pooling, and everything that a folder may lack or hide."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import danlu as package
from danlu.core.imports import patch_torchvision
from danlu.data.specs import TextInputs
from danlu.errors import ArgumentError, ArtifactError, DanluError, DataError, RecipeError
from danlu.models.text.options import Transformer
from danlu.models.text.sentence_encoder import SentenceEncoderClassifier
from tests.support.real_weights import minilm


def recipe(folder: Path, text_file: Path, **model: Any) -> dict[str, Any]:
    return {
        "data": {"source": str(text_file), "text": "text", "target": "era", "sequence_length": 24},
        "model": {"name": f"hf:{folder}", **model},
        "training": {"max_steps": 3, "batch_size": 8},
    }


@pytest.fixture
def encoder(small_encoder: Path, tmp_path: Path) -> Path:
    """A copy of the small encoder's folder, to be changed."""
    return Path(shutil.copytree(small_encoder, tmp_path / "encoder"))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_texts_are_pooled_over_their_tokens_alone(small_encoder: Path, pooling: Any) -> None:
    inputs = TextInputs(vocabulary=400, longest=16, pad=0)
    model = Transformer(name=f"hf:{small_encoder}", pooling=pooling).build(inputs, 2).eval()
    assert isinstance(model, SentenceEncoderClassifier)
    ids = torch.tensor([[5, 6, 7, 8]])
    padded = torch.tensor([[5, 6, 7, 8, 0, 0]])
    with torch.no_grad():
        hidden = model.network(input_ids=ids).last_hidden_state[0]
        wanted = hidden.mean(dim=0) if pooling == "mean" else hidden[0]
        found = model.features(padded, (padded != 0).long())[0]
    torch.testing.assert_close(found, wanted)


def test_a_sentence_encoder_is_pooled_as_its_folder_says_and_others_are_not(encoder: Path) -> None:
    inputs = TextInputs(vocabulary=400, longest=16, pad=0)
    assert not isinstance(Transformer(name=f"hf:{encoder}").build(inputs, 2), SentenceEncoderClassifier)
    (encoder / "1_Pooling").mkdir()
    (encoder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    options = Transformer(name=f"hf:{encoder}")
    model = options.build(inputs, 2)
    assert isinstance(model, SentenceEncoderClassifier)
    assert model.pooling == "cls"
    kept = options.portable()
    assert (kept.pooling, kept.folder) == ("cls", None)
    assert set(kept.build(inputs, 2).state_dict()) == set(model.state_dict())


def test_numbers_are_learned_from_texts(small_encoder: Path, text_file: Path, tmp_path: Path) -> None:
    import polars as pl

    frame = pl.read_ndjson(text_file).with_columns(length=pl.col("text").str.len_chars().cast(pl.Float64))
    frame.write_ndjson(tmp_path / "lengths.jsonl")
    values = recipe(small_encoder, tmp_path / "lengths.jsonl", pooling="mean")
    values["data"] |= {"target": "length", "columns": {"era": "drop"}}
    run = package.train(values, output=tmp_path, name="run")
    assert package.load(run.path).predict(["of the people"])["prediction"].dtype == pl.Float64


def test_a_folder_without_a_tokenizer_is_refused(encoder: Path, text_file: Path, tmp_path: Path) -> None:
    for file in encoder.glob("*token*"):
        file.unlink()
    with pytest.raises(DataError, match="no readable tokenizer"):
        package.train(recipe(encoder, text_file), output=tmp_path)


def test_texts_longer_than_the_models_positions_are_refused(encoder: Path, text_file: Path, tmp_path: Path) -> None:
    values = recipe(encoder, text_file)
    values["data"]["sequence_length"] = 65
    with pytest.raises(RecipeError, match="the model takes at most 64 tokens, got 65"):
        package.train(values, output=tmp_path)


def test_weights_of_another_architecture_are_refused_with_how_many_differ(
    encoder: Path, text_file: Path, tmp_path: Path
) -> None:
    weights = load_file(encoder / "model.safetensors")
    other = {name.replace("attention.self", "attention.own"): value for name, value in weights.items()}
    save_file(other, encoder / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=r"another network than its config.json describes: of \d+ 6 are absent"):
        package.train(recipe(encoder, text_file), output=tmp_path)
    config = json.loads((encoder / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps({**config, "hidden_size": 16}))
    save_file(weights, encoder / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match="are of another shape"):
        package.train(recipe(encoder, text_file), output=tmp_path)


class Runs:
    """Would run when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.target),))


def test_a_folder_whose_weights_are_a_pickle_with_code_is_refused(
    encoder: Path, text_file: Path, tmp_path: Path
) -> None:
    weights = load_file(encoder / "model.safetensors")
    (encoder / "model.safetensors").unlink()
    torch.save({**weights, "extra": Runs(tmp_path / "made")}, encoder / "pytorch_model.bin")
    with pytest.raises(DanluError, match="pickle"):
        package.train(recipe(encoder, text_file), output=tmp_path)
    assert not (tmp_path / "made").exists()


CODE = """
from transformers import BertConfig, BertForSequenceClassification, BertModel

class Config(BertConfig):
    model_type = "own-bert"

class Classifier(BertForSequenceClassification):
    config_class = Config

class Encoder(BertModel):
    config_class = Config
"""


def test_code_in_a_folder_runs_only_where_the_recipe_allows_it(
    encoder: Path, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_torchvision()
    import transformers.dynamic_module_utils

    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    (encoder / "own_model.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n{CODE}")
    config = json.loads((encoder / "config.json").read_text())
    classes = {
        "AutoConfig": "own_model.Config",
        "AutoModel": "own_model.Encoder",
        "AutoModelForSequenceClassification": "own_model.Classifier",
    }
    (encoder / "config.json").write_text(json.dumps({**config, "model_type": "own-bert", "auto_map": classes}))
    with pytest.raises(DataError, match=r"code from its folder \(own_model.Config\).*model.allow_remote_code: true"):
        package.train(recipe(encoder, text_file), output=tmp_path)
    assert not (tmp_path / "ran").exists()
    run = package.train(recipe(encoder, text_file, allow_remote_code=True), output=tmp_path, name="run")
    assert (tmp_path / "ran").exists()
    with pytest.raises(ArtifactError, match="opening a bundle runs no code unasked"):
        package.load(run.path)
    assert package.load(run.path, own_code=True).predict(["peace"]).height == 1
    elsewhere = {"AutoConfig": "somebody/code--model.Config"}
    (encoder / "config.json").write_text(json.dumps({**config, "auto_map": elsewhere}))
    with pytest.raises(DataError, match="which is not in the folder; danlu downloads no code"):
        package.train(recipe(encoder, text_file, allow_remote_code=True), output=tmp_path)


def test_an_unknown_architecture_names_the_nearest() -> None:
    inputs = TextInputs(vocabulary=400, longest=16, pad=0)
    with pytest.raises(ArgumentError, match="no architecture 'brt'; the nearest is \"bert\""):
        Transformer(name="hf:brt").build(inputs, 2)


def test_a_real_sentence_encoder_tells_what_texts_are_about() -> None:
    folder = minilm()
    options = Transformer(name=f"hf:{folder}")
    hints = options.data_requirements()
    assert hints.longest == 512
    assert hints.tokenizer is not None
    model = options.build(TextInputs(vocabulary=hints.tokenizer.vocabulary, longest=64, pad=0), 2).eval()
    assert isinstance(model, SentenceEncoderClassifier)
    tokenizer = hints.tokenizer.open()
    tokenizer.no_padding()
    texts = ["The dog sleeps on the sofa.", "A puppy is napping on the couch.", "Interest rates rose again in March."]
    with torch.no_grad():
        found = [torch.tensor([tokenizer.encode(text).ids]) for text in texts]
        embeddings = torch.cat([model.features(ids, torch.ones_like(ids)) for ids in found])
    alike = torch.nn.functional.cosine_similarity(embeddings[:1], embeddings)
    assert float(alike[1]) > 0.5 > 0.3 > float(alike[2])
