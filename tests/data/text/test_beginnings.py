"""BOS: where the tokenizer begins a text with it, so do documents, prompts, figures, exports and GGUF files."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import danlu as package
from danlu.data.descriptors import Origin, TokenizerFile
from danlu.data.text.chat_template import choose_template, render
from danlu.data.text.preprocessor import CorpusPreprocessor, load_tokenizer
from danlu.models.generation import encode_prompt
from danlu.models.text.options import Transformer
from tests.support.chatting import write_lines
from tests.support.tiny_models import CHATML, CHATML_TOKENS, SENTENCES, folder, tokenizer

TEXTS = ["the cat sat on the mat", "two and two make four", "", "paris is the capital of france"]


def by_hand(weights: Path, text: str) -> float:
    """Return the perplexity of a text and its end, by transformers alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    reader: Any = AutoTokenizer.from_pretrained(weights)
    ids = torch.tensor([[*reader(text)["input_ids"], reader.eos_token_id]])
    with torch.inference_mode():
        return math.exp(AutoModelForCausalLM.from_pretrained(weights)(ids, labels=ids).loss.item())


def train(weights: Path, tmp_path: Path, **data: Any) -> Path:
    source = write_lines(tmp_path / "texts.jsonl", [{"text": text} for text in SENTENCES])
    run = package.train(
        {
            "data": {"source": str(source), "task": "language-modelling", **data},
            "model": {"name": f"hf:{weights}"},
            "training": {"max_steps": 3, "batch_size": 4, "optimizer": {"lr": 1e-3}},
        },
        output=tmp_path,
        name="run",
    )
    return run.path


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("packing", [True, False])
def test_perplexities_are_those_by_hand(tmp_path: Path, packing: bool) -> None:
    run = train(folder(tmp_path / "weights", tokenizer(CHATML, CHATML_TOKENS, begins=True)), tmp_path, packing=packing)
    exported = package.export(run, tmp_path / "exported")
    found = package.load(run).predict({"text": TEXTS})["perplexity"].to_list()
    assert found == pytest.approx([by_hand(exported, text) for text in TEXTS], rel=1e-4)
    reader, prompt = load_tokenizer(exported), "the cat"
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(exported)
    assert encode_prompt(reader, prompt, 1) == own(prompt)["input_ids"]
    assert own(prompt)["input_ids"][0] == own.bos_token_id


def read_blocks(file: TokenizerFile, texts: list[str], packed: bool, longest: int) -> list[list[tuple[int, int]]]:
    """Return each block's pairs of an input and its answer."""
    preprocessor = CorpusPreprocessor(column="text", longest=longest, tokenizer=file, packed=packed)
    prepared = preprocessor.transform(pl.DataFrame({"text": texts}), Origin("texts", Path()))
    taken = prepared.columns[0].take(np.arange(len(prepared)))
    pairs = zip(taken["input_ids"].tolist(), taken["target"].tolist(), strict=True)
    return [[pair for pair in zip(*rows, strict=True) if pair[1] >= 0] for rows in pairs]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("begins", [True, False])
def test_documents_begin_as_the_tokenizer_begins_texts(tmp_path: Path, begins: bool, packed: bool) -> None:
    tokens = tokenizer(begins=begins)
    tokens.save_pretrained(tmp_path)
    file = load_tokenizer(tmp_path)
    first = [tokens.bos_token_id if begins else tokens.eos_token_id]
    expected = []
    for text in TEXTS:
        ids = [*first, *tokens(text, add_special_tokens=False)["input_ids"], tokens.eos_token_id]
        expected += list(itertools.pairwise(ids))
    found = read_blocks(file, TEXTS, packed, longest=4)
    assert [pair for block in found for pair in block] == expected
    preprocessor = CorpusPreprocessor(column="text", longest=4, tokenizer=file)
    answers, before, _ = preprocessor.successions(pl.DataFrame({"text": TEXTS}))
    assert list(zip(before.tolist(), answers.tolist(), strict=True)) == expected


def test_several_tokens_may_begin_a_text(tmp_path: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    tokens = tokenizer(extra=("[gMASK]",))
    ids = {name: tokens.convert_tokens_to_ids(name) for name in ("[gMASK]", "<s>")}
    tokens.backend_tokenizer.post_processor = TemplateProcessing(single="[gMASK] <s> $A", special_tokens=[*ids.items()])
    tokens.save_pretrained(tmp_path)
    file = load_tokenizer(tmp_path)
    assert file.begins == (ids["[gMASK]"], ids["<s>"])
    (block,) = read_blocks(file, ["the cat"], packed=False, longest=16)
    assert [given for given, _ in block] == tokens("the cat")["input_ids"]
    assert encode_prompt(file, "the cat", 1) == tokens("the cat")["input_ids"]


@pytest.mark.parametrize("choice", ["plain", "chatml"])
def test_danlus_own_templates_begin_so_too(tmp_path: Path, choice: str) -> None:
    for begins in (True, False):
        tokenizer(extra=CHATML_TOKENS, begins=begins).save_pretrained(tmp_path)
        file = choose_template(load_tokenizer(tmp_path), choice)
        assert render(file, [{"role": "user", "content": "a"}], answer_next=True).startswith("<s>") is begins


END = "<|endoftext|>"


def write_gguf(path: Path, tokens: Any, **said: Any) -> Path:
    """Write a llama of two layers and a byte-level tokenizer as llama.cpp has them."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    vocabulary = [name for name, _ in sorted(tokens.get_vocab().items(), key=lambda entry: entry[1])]
    if said.get("ends", True):
        vocabulary += {END} - set(vocabulary)  # transformers adds it to a tokenizer without it, which then has no row
    writer.add_context_length(256)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(said.get("pre", "default"))
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if name in tokens.all_special_tokens else 1 for name in vocabulary])
    merges = json.loads(tokens.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(tokens.bos_token_id)
    writer.add_eos_token_id(tokens.eos_token_id)
    if "begins" in said:
        writer.add_add_bos_token(said["begins"])
    draws, wide = np.random.default_rng(0), {"ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64)}
    square = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (32, 32))
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (len(vocabulary), 32), "output_norm": (32,)}
    shapes["output"] = (len(vocabulary), 32)
    for layer in range(2):
        own = {**square, **wide, "attn_norm": (32,), "ffn_norm": (32,)}
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in own.items()}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", draws.normal(0, 0.2, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("said", "begins"),
    [
        ({"begins": True}, True),
        ({"begins": False, "pre": "llama-bpe"}, False),
        ({}, False),
        ({"pre": "llama-bpe"}, True),
    ],
)
def test_gguf_files_begin_as_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], begins: bool
) -> None:
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    tokens = tokenizer()
    file = write_gguf(tmp_path / "model.gguf", tokens, **said)
    found = Transformer(name=f"hf:{file}").data_requirements().tokenizer
    assert found is not None
    assert found.begins == ((tokens.bos_token_id,) if begins else ())
