"""llama.cpp itself, through the package xllamacpp, reads what danlu writes, where danlu cannot be imported."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import danlu
from danlu.core.imports import patch_torchvision
from danlu.models.predictor import Predictor
from tests.support.outside import answers_without_danlu
from tests.support.tiny_models import CHATML, CHATML_TOKENS, NETWORKS, folder, pieces, tokenizer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("xllamacpp") is None,
        reason="llama.cpp is asked through the package xllamacpp, which is not installed here: pip install xllamacpp",
    ),
]
# Keys and values with all digits, as the network has them; llama.cpp keeps 16 bits otherwise. A token is forced, since
# one that is no whole character would be answered without its logits, which are those before it was forced.
LLAMA_CPP = """
import xllamacpp
ask = xllamacpp.CommonParams()
ask.model.path, ask.n_ctx, ask.n_parallel, ask.warmup, ask.verbosity = "out/model.gguf", 256, 1, False, -1
ask.cpuparams.n_threads = ask.cpuparams_batch.n_threads = 1
ask.cache_type_k = ask.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
ask.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
server = xllamacpp.Server(ask)
answers = []
for prompt in given["prompts"]:
    told = {"prompt": prompt, "n_predict": 1, "n_probs": given["size"], "temperature": 0, "cache_prompt": False}
    found = server.handle_completions({**told, "post_sampling_probs": False, "logit_bias": [[given["plain"], 1000.0]]})
    chances = {one["id"]: one["logprob"] for one in found["choices"][0]["logprobs"]["content"][0]["top_logprobs"]}
    answers.append([chances[token] for token in range(given["size"])])
"""


def scores_of_llama_cpp(prompts: list[Any], size: int, plain: int, at: Path) -> np.ndarray:
    """The log-probabilities of all tokens after each prompt, a text or tokens, [prompts, vocabulary]."""
    given = {"prompts": prompts, "size": size, "plain": plain}
    return np.array(answers_without_danlu(LLAMA_CPP, given, at, "xllamacpp"))


def scores_of_torch(network: Any, prompts: list[list[int]]) -> np.ndarray:
    with torch.inference_mode():
        logits = [network(torch.tensor([tokens])).logits[0, -1] for tokens in prompts]
    return torch.stack(logits).log_softmax(dim=-1).numpy()


@pytest.mark.parametrize(("arch", "given"), NETWORKS.values(), ids=NETWORKS.keys())
def test_each_architecture_is_computed_as_transformers_does(arch: str, given: dict[str, Any], tmp_path: Path) -> None:
    patch_torchvision()
    from transformers import AutoModelForCausalLM

    made = tokenizer(CHATML, CHATML_TOKENS)
    own = folder(tmp_path / "own", made, arch=arch, **given)
    danlu.export(own, tmp_path / "out", to="gguf", outtype="f32")
    generator = np.random.default_rng(0)
    prompts = [generator.integers(3, 200, length).tolist() for length in (1, 17, 120)]
    network: Any = AutoModelForCausalLM.from_pretrained(own, dtype=torch.float32).eval()
    expected = scores_of_torch(network, prompts)
    found = scores_of_llama_cpp(prompts, expected.shape[1], made.convert_tokens_to_ids("a"), tmp_path)
    # llama.cpp looks the GELU up in a table of 16 bits.
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-3 if arch == "gpt2" else 5e-5)


@pytest.mark.parametrize("spaces", ["prepend", "plain"])
def test_pieces_of_sentencepiece_are_the_same_tokens(spaces: str, corpus_folder: Path, tmp_path: Path) -> None:
    patch_torchvision()
    from transformers import AutoModelForCausalLM

    made = pieces(spaces, CHATML, CHATML_TOKENS)
    own = folder(tmp_path / "own", made)
    danlu.export(own, tmp_path / "out", to="gguf", outtype="f32")
    guide = Path(danlu.__file__).parents[2] / "docs" / "guide.zh.md"
    english = [path.read_text(encoding="utf-8")[200:260] for path in sorted(corpus_folder.glob("*.txt"))[:3]]
    chinese = guide.read_text(encoding="utf-8")[400:440]
    texts = [*english, chinese, "  two   blanks\n\n", "<|im_start|>user\nthe<|im_end|>\n the"]
    tokens = [made.backend_tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    network: Any = AutoModelForCausalLM.from_pretrained(own, dtype=torch.float32).eval()
    expected = scores_of_torch(network, tokens)
    found = scores_of_llama_cpp(texts, expected.shape[1], made.convert_tokens_to_ids("a"), tmp_path)
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-5)


@pytest.mark.training
@pytest.mark.parametrize(("outtype", "largest"), [("f32", 1e-4), ("f16", 0.02), ("q8_0", 0.3)])
def test_texts_become_the_bundles_tokens_and_scores(
    outtype: str, largest: float, corpus_run: Path, corpus_folder: Path, tmp_path: Path
) -> None:
    """Given as texts, so that how they are cut and what stands before them is llama.cpp's own reading, too."""
    danlu.export(corpus_run, tmp_path / "out", to="gguf", outtype=outtype)
    predictor = Predictor.load(corpus_run)
    preprocessor, model = predictor.preprocessor, predictor.model
    own: Any = preprocessor
    reader = own.tokenizer.open()
    texts = [path.read_text(encoding="utf-8")[200:300] for path in sorted(corpus_folder.glob("*.txt"))[:6]]
    tokens = [[*own.tokenizer.lead, *reader.encode(text, add_special_tokens=False).ids] for text in texts]
    expected = scores_of_torch(model.network, tokens)
    plain = reader.token_to_id("a")
    found = scores_of_llama_cpp(texts, expected.shape[1], plain, tmp_path)
    apart = np.abs(found - expected)
    assert apart.max() <= largest
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.8
    given_as_tokens = scores_of_llama_cpp(tokens, expected.shape[1], plain, tmp_path)
    np.testing.assert_array_equal(found, given_as_tokens)
    assert json.loads((tmp_path / "out" / "danlu.json").read_text())["check"]["mean_deviation"] <= largest
