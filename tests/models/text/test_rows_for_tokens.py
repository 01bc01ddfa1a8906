"""A tokenizer with more tokens than the weights have rows is refused with these tokens, or gets rows."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import danlu as package
from danlu.data.specs import CorpusInputs
from danlu.errors import DataError
from danlu.models.adapters import merge_adapters
from danlu.models.text.options import Transformer
from danlu.recipe.sections.training import Finetune
from danlu.training.finetuning import apply_finetuning
from tests.data.text.test_beginnings import write_gguf
from tests.support.tiny_folders import SENTENCES, tiny_folder, tiny_tokenizer
from tests.support.tiny_models import CHATML, CHATML_TOKENS, tokenizer

TURNS = ("<|im_start|>", "<|im_end|>")


@pytest.fixture
def short(tmp_path: Path) -> tuple[Path, int]:
    """A folder whose tokenizer has two tokens more than the weights have rows, and the number of rows."""
    rows = len(tiny_tokenizer())
    return tiny_folder(tmp_path / "model", "llama", extra=TURNS, rows=rows), rows


def recipe(folder: Path, **model: Any) -> dict[str, Any]:
    return {
        "data": {"task": "language-modelling", "text": "text", "sequence_length": 16},
        "model": {"name": f"hf:{folder}", **model},
        "training": {"max_steps": 2, "batch_size": 4},
    }


def test_tokens_without_rows_are_named_when_the_folder_is_opened(short: tuple[Path, int]) -> None:
    folder, rows = short
    with pytest.raises(DataError) as caught:
        Transformer(name=f"hf:{folder}").data_requirements()
    assert f"2 tokens beyond the {rows} rows of the embeddings: '<|im_start|>', '<|im_end|>'" in str(caught.value)
    assert caught.value.code == "DL242"


def test_more_rows_than_tokens_are_usual(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", "llama", rows=600)
    assert Transformer(name=f"hf:{folder}").data_requirements().longest is not None


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_rows_are_added_where_the_recipe_says_so(architecture: str, tmp_path: Path) -> None:
    rows = len(tiny_tokenizer())
    folder = tiny_folder(tmp_path / "model", architecture, extra=TURNS, rows=rows)
    inputs = CorpusInputs(vocabulary=rows + 2, longest=16, end=2, packed=False)
    before: Any = Transformer(name=f"hf:{folder}").build(inputs, rows)
    model: Any = Transformer(name=f"hf:{folder}", resize_embeddings=True).build(inputs, rows)
    grown, old = (each.network.get_input_embeddings().weight for each in (model, before))
    assert (len(old), len(grown)) == (rows, rows + 2)
    assert torch.equal(grown[:rows], old)
    assert model(torch.tensor([[rows, rows + 1]])).shape == (1, 2, rows + 2)


def test_adapters_train_the_added_rows(short: tuple[Path, int]) -> None:
    folder, rows = short
    inputs = CorpusInputs(vocabulary=rows + 2, longest=16, end=2, packed=False)
    model = Transformer(name=f"hf:{folder}", resize_embeddings=True).build(inputs, rows)
    names = set(model.state_dict())
    apply_finetuning(model, Finetune(mode="lora", rank=2))
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad and "lora" not in name}
    assert trained == {"network.model.embed_tokens.weight", "network.lm_head.weight"}
    merge_adapters(model)
    assert set(model.state_dict()) == names


@pytest.mark.training
@pytest.mark.parametrize("mode", ["full", "lora"])
def test_a_run_with_added_rows_opens_and_is_exported(mode: str, short: tuple[Path, int], tmp_path: Path) -> None:
    folder, rows = short
    text = {"text": [f"<|im_start|>{sentence}<|im_end|>" for sentence in SENTENCES] * 3}
    with pytest.raises(DataError, match="resize_embeddings: true"):
        package.train(recipe(folder), data=text, output=tmp_path)
    said = recipe(folder, resize_embeddings=True, finetune={"mode": mode})
    run = package.train(said, data=text, output=tmp_path, name="run")
    opened: Any = package.load(run).model
    assert opened.network.config.vocab_size == rows + 2
    from transformers import AutoConfig

    exported = package.export(run, tmp_path / "out")
    assert AutoConfig.from_pretrained(exported, local_files_only=True).vocab_size == rows + 2


def test_a_token_that_transformers_adds_to_a_gguf_file_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gguf")
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    tokens = tokenizer(CHATML, CHATML_TOKENS)
    (tmp_path / "model").mkdir()
    file = write_gguf(tmp_path / "model" / "model.gguf", tokens, ends=False, begins=True)
    text = {"text": [f"{sentence}<|endoftext|>" for sentence in SENTENCES] * 3}
    run = package.train(recipe(file.parent), data=text, output=tmp_path, name="run")
    assert "<|endoftext|>, which transformers adds to the tokenizer, is no token of the file" in capsys.readouterr().err
    opened: Any = package.load(run)
    assert opened.model.network.config.vocab_size == len(tokens)
    known: Any = opened.preprocessor.tokenizer
    assert known.vocabulary == len(tokens)
    assert known.open().token_to_id("<|endoftext|>") is None
    assert known.begins == (tokens.bos_token_id,)
    assert "unk_token" not in known.special or known.special["unk_token"] == "<unk>"
    assert len(package.generate(run, "my screen", max_new_tokens=2)) == 1


def test_a_token_that_transformers_adds_to_a_folder_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder with GPT-2's own files of words and merges, that end texts by a token of their own."""
    from transformers import AutoConfig, AutoModelForCausalLM

    words = json.loads(tiny_tokenizer().backend_tokenizer.to_str())["model"]
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(words["vocab"]), encoding="utf-8")
    merges = "\n".join(" ".join(pair) for pair in words["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    said = {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said), encoding="utf-8")
    rows = len(words["vocab"])
    config = AutoConfig.for_model("gpt2", vocab_size=rows, n_embd=32, n_layer=2, n_head=2, n_positions=64)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    found = Transformer(name=f"hf:{folder}").data_requirements().tokenizer
    assert found is not None
    assert found.vocabulary == rows
    assert found.open().token_to_id("<|endoftext|>") is None
    assert found.open().encode("the cat</s>").ids[-1] == found.end
    assert "<|endoftext|>, which transformers adds to the tokenizer, is named by no file" in capsys.readouterr().err
    (folder / "tokenizer_config.json").write_text(json.dumps({**said, "eos_token": "<|endoftext|>"}), encoding="utf-8")
    with pytest.raises(DataError, match="1 tokens beyond"):
        Transformer(name=f"hf:{folder}").data_requirements()
