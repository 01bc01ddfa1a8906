"""`danlu export --to gguf`: what llama.cpp's file holds, as the packages gguf and transformers read it."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import danlu as package
from danlu.core.imports import patch_torchvision
from danlu.data.text.preprocessor import load_tokenizer
from danlu.errors import ArgumentError, ArtifactError, DataError
from danlu.exporters.gguf import network as networks
from danlu.exporters.gguf.sentencepiece import pieces_of
from danlu.models.predictor import Predictor
from danlu.models.text import gguf as reading
from danlu.models.text.gguf import unpack_gguf
from danlu.models.text.gguf_rope import llama3_divisors, llama3_rotation, scaled_rotation
from tests.support.tiny_models import CHATML, CHATML_TOKENS, LLAMA3, NETWORKS, SCALED, folder, pieces, tokenizer

pytest.importorskip("gguf")
MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def read(path: Path) -> tuple[Any, Any]:
    """Return what reads a field, and the tensors by name."""
    from gguf import GGUFReader

    reader: Any = GGUFReader(path / "model.gguf")
    return lambda name: reader.fields[name].contents(), {tensor.name: tensor for tensor in reader.tensors}


def said_of(path: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((path / "danlu.json").read_text(encoding="utf-8"))
    return said


@pytest.mark.training
def test_a_models_file_holds_network_tokenizer_template_and_how_texts_begin(corpus_run: Path, tmp_path: Path) -> None:
    out = package.export(corpus_run, tmp_path / "out", to="gguf", outtype="f32")
    preprocessor: Any = Predictor.load(corpus_run).preprocessor
    own = preprocessor.tokenizer
    field, tensors = read(out)
    assert field("general.architecture") == "llama"
    assert field("tokenizer.ggml.pre") == "gpt-2"
    assert field("tokenizer.ggml.add_bos_token") is True  # documents followed the end token in training
    assert field("tokenizer.ggml.bos_token_id") == own.lead[0]
    assert field("tokenizer.ggml.eos_token_id") == own.end
    assert field("tokenizer.chat_template") == own.chat_template
    assert len(field("tokenizer.ggml.tokens")) == own.vocabulary
    kinds = dict(zip(field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type"), strict=True))
    assert (kinds["<|im_end|>"], kinds["e"]) == (3, 1)
    assert {tensor.tensor_type.name for tensor in tensors.values()} == {"F32"}
    said = said_of(out)
    assert (said["to"], said["inside"]) == ("gguf", ["tokenizer", "chat-template"])
    assert said["check"]["max_deviation"] <= 1e-4
    assert said["check"]["rows"] > 0


@pytest.mark.training
def test_transformers_alone_reads_the_bundles_tokens_and_scores(corpus_run: Path, tmp_path: Path) -> None:
    patch_torchvision()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = package.export(corpus_run, tmp_path / "out", to="gguf", outtype="f32")
    predictor = Predictor.load(corpus_run)
    preprocessor: Any = predictor.preprocessor
    tokens: Any = AutoTokenizer.from_pretrained(out, gguf_file="model.gguf")
    text = "Fellow citizens, it's 1865."
    ids = preprocessor.tokenizer.open().encode(text, add_special_tokens=False).ids
    assert tokens(text, add_special_tokens=False)["input_ids"] == ids
    network: Any = AutoModelForCausalLM.from_pretrained(out, gguf_file="model.gguf", dtype=torch.float32)
    given = torch.tensor([[preprocessor.tokenizer.lead[0], *ids]])
    with torch.inference_mode():
        torch.testing.assert_close(network(given).logits, predictor.model(given), rtol=0, atol=1e-4)


@pytest.mark.training
def test_conversations_begin_as_the_template_writes_them(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "red stone"}, {"role": "assistant", "content": "blue cloud"}]
    run = package.run(
        {
            "data": {"vocabulary": 300, "sequence_length": 64},
            "model": {"name": "hf:qwen2", "config": {"hidden_size": 32, "num_hidden_layers": 1,
                      "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 64}},
            "training": {"max_steps": 2, "batch_size": 4},
            "evaluation": {"baselines": False},
        },
        data=pl.DataFrame({"messages": [[*turns, {"role": "user", "content": str(n)}, turns[1]] for n in range(24)]}),
        output=tmp_path,
        name="run",
    ).path  # fmt: skip
    out = package.export(run, tmp_path / "out", to="gguf")
    field, tensors = read(out)
    preprocessor: Any = Predictor.load(run).preprocessor
    assert field("tokenizer.ggml.add_bos_token") is False
    assert field("tokenizer.ggml.eot_token_id") == preprocessor.tokenizer.open().token_to_id("<|im_end|>")
    assert tensors["blk.0.attn_q.weight"].tensor_type.name == "Q8_0"
    assert said_of(out)["check"]["tolerance_of"] == "mean_deviation"
    # A folder beside Qwen2's network is read by Qwen2's own rules, which this tokenizer was not trained with.
    told = {step["what"]: step["value"] for step in said_of(package.export(run, tmp_path / "folder"))["outside"]}
    assert told["tokenizer-class"] == "PreTrainedTokenizerFast"


@pytest.mark.parametrize(("arch", "given"), NETWORKS.values(), ids=NETWORKS.keys())
def test_each_architecture_comes_back_as_it_was(arch: str, given: dict[str, Any], tmp_path: Path) -> None:
    own = folder(tmp_path / "own", tokenizer(CHATML, CHATML_TOKENS), arch=arch, **given)
    out = package.export(own, tmp_path / "out", to="gguf", outtype="f32")
    check = said_of(out)["check"]
    assert (check["max_deviation"], check["inputs"]) == (0.0, "drawn")
    unpack_gguf(out / "model.gguf", tmp_path / "back")
    assert (
        load_tokenizer(tmp_path / "back").open().encode("don't 123").ids
        == load_tokenizer(own).open().encode("don't 123").ids
    )


@pytest.mark.parametrize(
    ("outtype", "inner", "words"),
    [
        ("Q8_0", "Q8_0", "Q8_0"),
        ("q4_1", "Q4_1", "Q8_0"),
        pytest.param("f16", "F16", "F16", marks=pytest.mark.slow),
        pytest.param("q5_1", "Q5_1", "Q8_0", marks=pytest.mark.slow),
        pytest.param("q5_0", "Q5_0", "Q8_0", marks=pytest.mark.slow),
        pytest.param("q4_0", "Q4_0", "Q8_0", marks=pytest.mark.slow),
    ],
)
def test_weights_are_kept_in_the_type_that_is_asked(outtype: str, inner: str, words: str, tmp_path: Path) -> None:
    import gguf
    from safetensors.numpy import load_file

    own = folder(tmp_path / "own", tokenizer())
    out = package.export(own, tmp_path / "out", to="gguf", outtype=outtype, tolerance=9.0)
    _, tensors = read(out)
    kinds = {name: tensor.tensor_type.name for name, tensor in tensors.items()}
    assert {kinds[f"blk.0.{name}.weight"] for name in MATRICES} == {inner}
    assert (kinds["token_embd.weight"], kinds["output.weight"]) == (words, words)
    assert kinds["output_norm.weight"] == "F32"
    # Independent of the table that was used to write: the values of one matrix, in steps of its type.
    kept = gguf.dequantize(tensors["blk.1.ffn_down.weight"].data, tensors["blk.1.ffn_down.weight"].tensor_type)
    was = load_file(own / "model.safetensors")["model.layers.1.mlp.down_proj.weight"]
    steps = {"F16": 2048, "Q8_0": 254, "Q5_1": 31, "Q5_0": 31, "Q4_1": 15, "Q4_0": 15}
    assert np.abs(kept - was).max() <= 2.1 * np.abs(was).max() / steps[inner]


def test_a_row_that_is_no_whole_block_has_16_bits(tmp_path: Path) -> None:
    own = folder(tmp_path / "own", tokenizer(), hidden_size=48, intermediate_size=64)
    _, tensors = read(package.export(own, tmp_path / "out", to="gguf", outtype="q4_0", tolerance=9.0))
    assert tensors["blk.0.ffn_up.weight"].tensor_type.name == "F16"  # rows of 48
    assert tensors["blk.0.ffn_down.weight"].tensor_type.name == "Q4_0"  # rows of 64


@pytest.mark.parametrize("outtype", ["Q4_K_M", "iq2_xs"])
def test_other_types_are_llama_cpps_own(outtype: str, tmp_path: Path) -> None:
    own = folder(tmp_path / "own", tokenizer())
    with pytest.raises(ArgumentError, match=rf"--outtype {outtype}: only llama.cpp itself .*llama-quantize"):
        package.export(own, tmp_path / "out", to="gguf", outtype=outtype)
    with pytest.raises(ArgumentError, match="--outtype q9: must be one of f32, f16, q8_0"):
        package.export(own, tmp_path / "out", to="gguf", outtype="q9")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arch", "config", "said"),
    [
        ("llama", {"hidden_act": "gelu"}, "computes llama with hidden_act: silu, and this has gelu"),
        (
            "llama",
            {"rope_parameters": {**SCALED, "rope_type": "dynamic"}},
            "no positions of rope_type dynamic",
        ),
        ("qwen2", {"rope_parameters": LLAMA3}, "qwen2 has no positions of rope_type llama3"),
        ("llama", {"rope_parameters": {**SCALED, "rope_type": "yarn", "beta_fast": 16.0}}, "yarn with beta_fast: 16.0"),
        ("qwen3", {"attention_bias": True}, "qwen3 with attention_bias: False, and this has True"),
        ("mistral", {"sliding_window": 16}, "no sliding window"),
        ("olmo", {}, "OlmoForCausalLM has no form there; these have: llama"),
    ],
)
def test_what_llama_cpp_computes_otherwise_is_refused(
    arch: str, config: dict[str, Any], said: str, tmp_path: Path
) -> None:
    own = folder(tmp_path / "own", tokenizer(), arch=arch, **config)
    with pytest.raises(ArgumentError, match=f"--to gguf: .*{said}"):
        package.export(own, tmp_path / "out", to="gguf")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("orig", [512, 8192])
@pytest.mark.parametrize("width", [32, 64])
def test_llama_3s_settings_follow_from_its_divisors(orig: int, width: int) -> None:
    """Of Llama 3.1 to 3.3: 8 or 32 times as long, frequencies from a base of 500,000."""
    frequencies = 5e5 ** (-np.arange(width) / width) / (2 * np.pi)
    given = {
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": orig,
    }
    found = llama3_rotation(llama3_divisors(frequencies, **given).astype(np.float32), 5e5, "model.gguf")
    assert found == {"rope_type": "llama3", "rope_theta": 5e5, **given}


def test_divisors_of_another_kind_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"scaled by divisors \(rope_freqs\.weight\) that are not Llama 3's"):
        llama3_rotation(np.linspace(3.0, 9.0, 32, dtype=np.float32), 5e5, "model.gguf")


def test_positions_that_are_scaled_in_an_unknown_way_are_refused_by_name() -> None:
    fields = {"general.architecture": "phi3", "phi3.rope.scaling.type": "longrope"}
    with pytest.raises(DataError, match=r"model\.gguf: its positions are scaled by longrope"):
        scaled_rotation(fields.get, None, 1e4, "model.gguf")


def test_a_file_whose_positions_come_back_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As transformers alone reads it."""
    own = folder(tmp_path / "own", tokenizer(), rope_parameters={**SCALED, "rope_type": "linear"})
    monkeypatch.setattr(reading, "scaled_rotation", lambda *_: None)
    with pytest.raises(ArtifactError, match="its positions come back scaled otherwise; nothing was written"):
        package.export(own, tmp_path / "out", to="gguf")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("call", ["write_header_to_file", "write_tensors_to_file"])
def test_a_full_disk_leaves_nothing_behind(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gguf

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    own = folder(tmp_path / "own", tokenizer())
    monkeypatch.setattr(gguf.GGUFWriter, call, full)
    with pytest.raises(ArtifactError, match="No space left"):
        package.export(own, tmp_path / "out", to="gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_a_tokenizer_that_llama_cpp_has_no_name_for_is_refused(tmp_path: Path) -> None:
    own = folder(tmp_path / "own", tokenizer(unigram=True))
    with pytest.raises(ArgumentError, match="this one is Unigram"):
        package.export(own, tmp_path / "out", to="gguf")


READ = ("the king  said", " two  blanks", "naïve 你好\n\n", "<|im_start|>user said<|im_end|> the", "▁")


@pytest.mark.parametrize("spaces", ["prepend", "plain", "never", "first"])
def test_pieces_of_sentencepiece_come_back_as_the_same_tokens(spaces: str, tmp_path: Path) -> None:
    template = None if spaces == "first" else CHATML
    made = pieces(spaces, template, CHATML_TOKENS)
    out = package.export(folder(tmp_path / "own", made), tmp_path / "out", to="gguf", outtype="f32")
    field, _ = read(out)
    assert (field("tokenizer.ggml.model"), field("tokenizer.ggml.unknown_token_id")) == ("llama", 0)
    assert field("tokenizer.ggml.add_space_prefix") is (spaces in ("prepend", "first"))
    tokens, scores, kinds = (field(f"tokenizer.ggml.{name}") for name in ("tokens", "scores", "token_type"))
    assert {kinds[tokens.index(token)] for token in ("<0x00>", "<0xFF>")} == {6}
    assert [kinds[tokens.index(token)] for token in ("<unk>", "<s>", "<|im_end|>", "▁")] == [2, 3, 3, 1]
    learnt = [score for token, score in zip(tokens, scores, strict=True) if len(token) > 1 and token[0] != "<"]
    assert learnt == sorted(learnt, reverse=True)  # as they were learnt
    unpack_gguf(out / "model.gguf", tmp_path / "back")
    own, back = made.backend_tokenizer, load_tokenizer(tmp_path / "back").open()
    for text in READ:
        ids = own.encode(text, add_special_tokens=False).ids
        # Metaspace puts no space before a text that begins with one; danlu.json says that llama.cpp does.
        expected = spaces != "first" or not (text[0] in " ▁" or "<|im" in text)
        assert (back.encode(text, add_special_tokens=False).ids == ids) is expected
    text = "the king said 你"
    assert back.decode(back.encode(text, add_special_tokens=False).ids) == text
    outside = [step["what"] for step in said_of(out)["outside"]]
    assert outside == (["leading-space"] if spaces == "first" else [])


def told(spaces: str = "plain", **changed: Any) -> dict[str, Any]:
    """A tokenizer's JSON, some of its model changed."""
    found = json.loads(pieces(spaces).backend_tokenizer.to_str())
    return {**found, "model": {**found["model"], **changed}}


def test_pieces_that_llama_cpp_would_join_otherwise_are_refused() -> None:
    whole = told()
    vocabulary, merges = whole["model"]["vocab"], whole["model"]["merges"]
    swapped = [*merges[1:4], merges[0], *merges[4:]]
    apart = next(at for at in range(len(merges) - 1) if "".join(merges[at]) == "".join(merges[at + 1]))
    split = [*merges[: apart + 1], *merges[apart + 2 :], merges[apart + 1]]
    without = {token: place for token, place in vocabulary.items() if token != "<0x41>"}
    assert pieces_of(told(merges=swapped), False).scores != pieces_of(whole, False).scores
    for changed, said in (
        ({"merges": [*merges[:-1]]}, "it does not join"),
        ({"merges": split}, "between its merges to .* stand others"),
        ({"vocab": without}, "has no token <0x41>"),
        ({"ignore_merges": True}, "marks of their own"),
    ):
        with pytest.raises(ArgumentError, match=said):
            pieces_of(told(**changed), False)


def test_spaces_that_llama_cpp_writes_otherwise_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"Metaspace, first.*how conversations begin"):
        pieces_of(told("first"), has_template=True)
    cutting = told("never")
    cutting["pre_tokenizer"]["split"] = True
    assert not pieces_of(cutting, False).begins_with_space  # no piece has a space within
    cutting["model"]["vocab"]["☃▁☃"] = 999
    with pytest.raises(ArgumentError, match="joins pieces across"):
        pieces_of(cutting, False)
    with pytest.raises(ArgumentError, match="in a way that"):
        pieces_of({**told(), "normalizer": {"type": "NFKC"}}, False)


def test_a_file_with_weights_in_the_wrong_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = folder(tmp_path / "own", tokenizer())
    wrong = networks.Architecture("llama", lambda name, values, config: values)
    monkeypatch.setitem(networks.ARCHITECTURES, "llama", wrong)
    with pytest.raises(ArtifactError, match=r"attn_q\.weight comes back otherwise; nothing was written"):
        package.export(own, tmp_path / "out", to="gguf")
    assert not (tmp_path / "out").exists()


def test_a_type_that_costs_more_than_is_allowed_is_refused(tmp_path: Path) -> None:
    own = folder(tmp_path / "own", tokenizer())
    with pytest.raises(ArtifactError, match=r"Q4_0 moves logits by .* \(allowed 1e-06\); nothing was written"):
        package.export(own, tmp_path / "out", to="gguf", outtype="q4_0", tolerance=1e-6)


@pytest.mark.training
def test_gguf_is_for_language_models(table_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="--to gguf is for language models; mlp answers"):
        package.export(table_run, tmp_path / "out", to="gguf")
    with pytest.raises(ArgumentError, match="--outtype is for --to gguf"):
        package.export(table_run, tmp_path / "out", to="onnx", outtype="f16")


def test_a_tokenizer_stays_as_its_file_says_whatever_the_network_is(tmp_path: Path) -> None:
    """AutoTokenizer cuts words by Qwen2's rules in a folder with Qwen2's network."""
    made = tokenizer()
    own = folder(tmp_path / "own", made, arch="qwen2")
    told = json.loads(load_tokenizer(own).json_text)["pre_tokenizer"]
    assert told == json.loads(made.backend_tokenizer.to_str())["pre_tokenizer"]
