"""What is not read is said: texts and sentences that are cut, and tokens that stand for unknown words."""

import json
from pathlib import Path

import polars as pl
import pytest

from danlu.data.descriptors import Origin, TokenizerFile
from danlu.data.text.preprocessor import CorpusPreprocessor, TextPreprocessor, load_tokenizer
from danlu.data.text.tagging import TaggingPreprocessor
from tests.support.tiny_models import SENTENCES, tokenizer


def opened(path: Path, unigram: bool = False) -> TokenizerFile:
    tokenizer(unigram=unigram, begins=True).save_pretrained(path)
    return load_tokenizer(path)


def test_texts_that_are_cut_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = opened(tmp_path)
    sizes = [len(file.open().encode(text).ids) for text in SENTENCES]
    longest = sorted(sizes)[6]  # some are just as long, and are not cut
    cut = sum(size > longest for size in sizes)
    assert 0 < cut < 10
    frame, place = pl.DataFrame({"text": SENTENCES}), Origin("texts.csv", tmp_path)
    TextPreprocessor(column="text", longest=longest, tokenizer=file).transform(frame, place)
    expected = f"texts.csv: {cut} of 10 texts ({cut}0%) are longer than {longest} tokens and were cut"
    assert expected in capsys.readouterr().err
    TextPreprocessor(column="text", longest=max(sizes), tokenizer=file).transform(frame, place)
    assert capsys.readouterr().err == ""


def test_words_without_a_tag_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = opened(tmp_path)
    frame = pl.DataFrame({"words": [json.dumps(["the"] * 4), json.dumps(["the"] * 10)]})
    place = Origin("words.jsonl", tmp_path)
    TaggingPreprocessor(column="words", longest=7, tokenizer=file).transform(frame, place)
    told = capsys.readouterr().err  # a beginning and six of ten words, besides the four
    assert "words.jsonl: 4 of 14 words (28.6%) get no tag" in told
    TaggingPreprocessor(column="words", longest=32, tokenizer=file).transform(frame, place)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", [TextPreprocessor, CorpusPreprocessor])
def test_unknown_words_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: type[TextPreprocessor] | type[CorpusPreprocessor]
) -> None:
    file = opened(tmp_path, unigram=True)
    for texts, said in ((["the cat", "屏幕 是 黑 的"], True), (SENTENCES, False)):
        frame = pl.DataFrame({"text": texts})
        kind(column="text", longest=64, tokenizer=file).transform(frame, Origin("t.csv", tmp_path))
        told = capsys.readouterr().err
        assert ("of the tokens are <unk>: words that the model's tokenizer does not know" in told) is said
        assert ("warning: t.csv: " in told) is said
