"""Ragged batches: whatever joins and leaves, each row's scores are those of its whole text read at once."""

import random
from typing import Any

import pytest
import torch

from danlu.core.imports import patch_torchvision
from danlu.serving.language.decoder import CachedDecoder, Network, WholeDecoder, open_decoder
from danlu.serving.language.prefix_cache import BLOCK, PrefixCache

patch_torchvision()
import transformers  # noqa: E402  # which reads torchvision's version at once

CPU = torch.device("cpu")
SMALL = {"vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LLAMA = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "intermediate_size": 64}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "mistral": {**LLAMA, "sliding_window": 8},
}


def network(family: str, **more: Any) -> Any:
    config = transformers.AutoConfig.for_model(family, **SMALL, **FAMILIES.get(family, {}), **more)
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_that_join_and_leave_have_the_scores_of_their_whole_texts(family: str) -> None:
    built = network(family)
    decoder, whole, chance = open_decoder(built, CPU, 0, 2**20), Network(built, CPU), random.Random(1)
    assert isinstance(decoder, CachedDecoder)
    common = [chance.randrange(3, 60) for _ in range(2 * BLOCK + 3)]
    texts: list[list[int]] = []
    known = 0
    for _ in range(25):
        if len(texts) < 6 and chance.random() < 0.5:
            fresh = [
                common[: chance.randrange(1, len(common))]
                + [chance.randrange(3, 60) for _ in range(chance.randrange(1, 9))]
                for _ in range(chance.randrange(1, 4))
            ]
            reading = decoder.read(fresh)
            while not reading.advance():
                pass
            known += sum(reading.known)
            for row, text in enumerate(fresh):
                assert torch.allclose(reading.scores[row], whole.whole(text), atol=1e-4)
            decoder.join(reading)
            texts += fresh
        if texts:
            tokens = [chance.randrange(3, 60) for _ in texts]
            scores = decoder.step(tokens)
            for row, text in enumerate(texts):
                text.append(tokens[row])
                assert torch.allclose(scores[row], whole.whole(text), atol=1e-4)
        while texts and chance.random() < 0.3:
            row = chance.randrange(len(texts))
            decoder.drop(row, texts[row])
            texts[row] = texts[-1]
            texts.pop()
    assert known > 0  # beginnings were shared, and changed no score


def test_a_family_without_keys_and_values_is_read_anew_for_each_token() -> None:
    built = network("mamba", hidden_size=32, num_hidden_layers=2, state_size=4)
    decoder, whole = open_decoder(built, CPU, 0, 2**20), Network(built, CPU)
    assert isinstance(decoder, WholeDecoder)
    reading = decoder.read([[3, 4], [5]])
    while not reading.advance():
        pass
    decoder.join(reading)
    assert torch.equal(decoder.step([6, 7])[1], whole.whole([5, 7]))
    decoder.drop(0, [3, 4, 6])
    assert torch.equal(decoder.step([8])[0], whole.whole([5, 7, 8]))


def test_beginnings_are_kept_within_their_bytes_and_found_only_behind_the_same_text() -> None:
    asked = Network(network("llama"), CPU)
    text = [3 + at % 50 for at in range(4 * BLOCK)]
    size = 2 * 2 * 2 * 8 * BLOCK * 4  # layers, keys and values, heads, width, tokens, bytes
    prefixes = PrefixCache(3 * size)
    decoder = CachedDecoder(asked, prefixes, 0)
    decoder.read([text]).advance()
    assert prefixes.bytes == 3 * size and len(prefixes) == 3
    assert len(prefixes.find(text)) == 3  # the end went first, so the beginning is of use
    assert len(prefixes.find(text[:BLOCK])) == 0  # its last token has to be read
    assert len(prefixes.find([4, *text[1:]])) == 0
    assert len(prefixes.find([*text[:BLOCK], 3, *text[BLOCK + 1 :]])) == 1


def test_a_row_of_the_first_prompts_leaves_at_once() -> None:
    built = network("llama")
    decoder, whole = open_decoder(built, CPU, 0, 2**20), Network(built, CPU)
    texts = [[3, 4, 5], [6, 7], [8, 9, 10, 11]]
    reading = decoder.read(texts)
    assert reading.advance()
    decoder.join(reading)
    decoder.drop(0, texts[0])
    scores = decoder.step([12, 13])
    assert torch.allclose(scores[0], whole.whole([*texts[2], 12]), atol=1e-4)
    assert torch.allclose(scores[1], whole.whole([*texts[1], 13]), atol=1e-4)
