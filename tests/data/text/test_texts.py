"""Texts: every token counted once, documents kept apart, tokenised once, any script read as it is."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import danlu as package
from danlu.data.descriptors import TokenizerFile
from danlu.data.specs import CorpusInputs
from danlu.data.text import tokenize as tokens_module
from danlu.data.text.preprocessor import CorpusPreprocessor, train_tokenizer
from danlu.data.text.sequences import PaddedTokens
from danlu.data.text.tokenize import TokenizeConfig, tokenize
from danlu.errors import ArgumentError
from danlu.experiment.data_context import DataContext, fit_preprocessing, load_data
from danlu.models.text.options import Transformer
from danlu.recipe.load import check_recipe
from danlu.tasks.token_losses import IGNORED

CPU = torch.device("cpu")
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
SMALL_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4}


@pytest.fixture(scope="module")
def tokenizer() -> TokenizerFile:
    return train_tokenizer(["the quick brown fox", "敏捷的棕色狐狸"] * 20, 400, add_special_tokens=False)


def corpus(folder: Path, packing: bool) -> tuple[DataContext, CorpusPreprocessor]:
    data = {"source": str(folder / "*.txt"), "sequence_length": 50, "vocabulary": 400, "packing": packing}
    opened = load_data(check_recipe({"data": data}))
    preprocessor = fit_preprocessing(opened).preprocessor
    assert isinstance(preprocessor, CorpusPreprocessor)
    return opened, preprocessor


@pytest.mark.parametrize("packing", [True, False])
def test_every_token_of_a_corpus_is_predicted_once(corpus_folder: Path, packing: bool) -> None:
    opened, preprocessor = corpus(corpus_folder, packing)
    frame = opened.splits.test.frame
    examples = preprocessor.transform(frame, opened.origin)
    inputs, answers = examples.take(np.arange(len(examples)), CPU)
    assert answers is not None
    stream = preprocessor.tokens(frame).ids.tolist()
    assert answers[answers != IGNORED].tolist() == stream
    assert preprocessor.tokenizer.open().decode(stream, skip_special_tokens=True) == "".join(frame["text"])
    # What comes before a token is the token before it, and an end token before a document's first.
    before = inputs["input_ids"][answers != IGNORED].tolist()
    assert before == [preprocessor.tokenizer.end, *stream[:-1]]
    padding = int((answers == IGNORED).sum())
    assert padding < 50 if packing else padding > 50


def test_positions_begin_anew_with_every_document_and_block(corpus_folder: Path) -> None:
    opened, preprocessor = corpus(corpus_folder, True)
    frame = opened.splits.test.frame
    examples = preprocessor.transform(frame, opened.origin)
    inputs, _ = examples.take(np.arange(len(examples)), CPU)
    offsets = preprocessor.tokens(frame).offsets
    expected = [
        place - max(place - place % 50, int(offsets[np.searchsorted(offsets, place, side="right") - 1]))
        for place in range(int(offsets[-1]))
    ]
    assert inputs["position_ids"].flatten()[: offsets[-1]].tolist() == expected


@pytest.mark.parametrize(("name", "config"), [("llama", SMALL), ("gpt2", SMALL_GPT2)])
def test_a_token_sees_its_own_document_alone(name: str, config: dict[str, Any]) -> None:
    torch.manual_seed(0)
    options = Transformer(name=f"hf:{name}", config=config)
    model = options.build(CorpusInputs(vocabulary=300, longest=32, end=0, packed=True), 300).eval()
    first, other, second = (torch.randint(1, 300, (1, length)) for length in (9, 9, 12))
    positions = torch.cat([torch.arange(9), torch.arange(12)])[None]
    with torch.no_grad():
        logits = [model(torch.cat([before, second], dim=1), position_ids=positions)[0, 9:] for before in (first, other)]
        alone = model(second)[0]
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(logits[0], alone, rtol=0, atol=1e-5)


def test_rounding_of_large_logits_is_no_sight_of_other_documents(tmp_path: Path) -> None:
    inputs = CorpusInputs(vocabulary=300, longest=32, end=0, packed=True)
    torch.manual_seed(0)
    network: Any = Transformer(name="hf:llama", config={**SMALL, "tie_word_embeddings": False}).build(inputs, 300)
    with torch.no_grad():
        network.network.lm_head.weight *= 1e6
    network.network.save_pretrained(tmp_path)
    Transformer(name=f"hf:{tmp_path}").build(inputs, 300)


def test_an_architecture_that_cannot_keep_documents_apart_is_refused() -> None:
    options = Transformer(name="hf:bloom", config={"hidden_size": 32, "n_layer": 2, "n_head": 4})
    with pytest.raises(
        ArgumentError, match=r"hf:bloom lets a token see other documents of its block; .*packing: false"
    ):
        options.build(CorpusInputs(vocabulary=300, longest=32, end=0, packed=True), 300)
    options.build(CorpusInputs(vocabulary=300, longest=32, end=0, packed=False), 300)


@pytest.mark.slow
@pytest.mark.training
def test_a_language_model_without_packing_trains_and_answers(corpus_folder: Path, tmp_path: Path) -> None:
    data = {"source": str(corpus_folder / "*.txt"), "sequence_length": 32, "vocabulary": 400, "packing": False}
    model = {"name": "hf:gpt2", "config": SMALL_GPT2}
    run = package.run({"data": data, "model": model, "training": {"max_steps": 4}}, output=tmp_path)
    recorded = pl.read_parquet(run.path / "predictions" / "test.parquet")
    again = package.load(run.model).predict(load_data(check_recipe({"data": data})).dataset.frame)
    assert again["tokens"][recorded["row"].to_numpy()].to_list() == recorded["tokens"].to_list()


def test_a_long_column_is_tokenised_once_and_goes_on_where_it_was(
    tokenizer: TokenizerFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path))
    monkeypatch.setattr(tokens_module, "PIECE_TEXTS", 10)
    texts = pl.Series([f"the {number} quick 狐狸 {'fox ' * (number % 7)}" for number in range(35)])
    rule = TokenizeConfig(longest=None, special=False, end=tokenizer.end, blank=tokenizer.end)
    encoded: list[int] = []
    usual = tokens_module._encode

    def counting(reader: TokenizerFile, piece: list[str], how: TokenizeConfig) -> tuple[np.ndarray, np.ndarray]:
        if len(encoded) == 2:
            raise KeyboardInterrupt
        encoded.append(len(piece))
        return usual(reader, piece, how)

    monkeypatch.setattr(tokens_module, "_encode", counting)
    with pytest.raises(KeyboardInterrupt):
        tokenize(tokenizer, texts, rule)
    rest: list[int] = []
    monkeypatch.setattr(tokens_module, "_encode", lambda *given: rest.append(len(given[1])) or usual(*given))
    found = tokenize(tokenizer, texts, rule)
    assert (encoded, rest) == ([10, 10], [10, 5])
    again = tokenize(tokenizer, texts, rule)
    assert rest == [10, 5]
    assert isinstance(again.ids, np.memmap)
    monkeypatch.setattr(tokens_module, "PIECE_TEXTS", 100)
    monkeypatch.setattr(tokens_module, "_encode", usual)
    whole = tokenize(tokenizer, texts, rule)
    for one in (found, again):
        assert one.ids.tolist() == whole.ids.tolist()
        assert one.offsets.tolist() == whole.offsets.tolist()


strange = st.text(st.characters(blacklist_categories=("Cs",)), max_size=60)


@given(strange)
@settings(max_examples=200, deadline=None)
def test_any_text_comes_back_from_its_tokens(tokenizer: TokenizerFile, text: str) -> None:
    """Emoji, right to left, combining marks, NUL: bytes can write everything."""
    ids = tokenizer.open().encode(text, add_special_tokens=False).ids
    assert tokenizer.open().decode(ids, skip_special_tokens=False) == text


@given(st.lists(strange, min_size=1, max_size=6), st.integers(1, 8))
@settings(max_examples=100, deadline=None)
def test_a_batch_holds_each_text_and_padding(tokenizer: TokenizerFile, texts: list[str], longest: int) -> None:
    rule = TokenizeConfig(longest=longest, special=True, end=None, blank=tokenizer.pad)
    lists = PaddedTokens(tokenize(tokenizer, pl.Series(texts), rule), tokenizer.pad)
    taken = lists.take(np.arange(len(texts))[::-1].copy())
    reader = tokenizer.open()
    for row, text in enumerate(reversed(texts)):
        expected = reader.encode(text).ids[:longest] or [tokenizer.pad]
        length = int(taken["attention_mask"][row].sum())
        assert taken["input_ids"][row, :length].tolist() == expected
        assert (taken["input_ids"][row, length:] == tokenizer.pad).all()


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize(
    "text", ["🦊🦊 👩‍👩‍👧", "שלום עולם", "e\u0301" * 50, "a\x00b", "x" * 20_000, " \n\t ", "", "línea\r\notra\rmás"]
)
def test_strange_texts_are_predicted_as_they_were_trained_on(text_run: Path, text: str) -> None:
    model = package.load(text_run)
    alone, beside = model.predict([text]), model.predict(["another text of some length", text])
    assert alone["prediction"][0] == beside["prediction"][1]
    assert alone["probability"][0] == pytest.approx(beside["probability"][1], abs=1e-5)
