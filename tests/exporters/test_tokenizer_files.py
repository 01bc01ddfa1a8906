"""What AutoTokenizer makes of an exported folder is looked at without parsing the tokenizer again for each token."""

from pathlib import Path

import polars as pl
import pytest

from danlu.data.descriptors import TokenizerFile
from danlu.data.text.preprocessor import train_tokenizer
from danlu.exporters.tokenizer_files import auto_tokenizer_steps


def test_a_tokenizer_is_parsed_once_however_many_tokens_it_has(
    small_encoder: Path, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = train_tokenizer(pl.read_ndjson(text_file)["text"].to_list(), 400, True)
    parse, parsed = TokenizerFile.open, []
    monkeypatch.setattr(TokenizerFile, "open", lambda self: parsed.append(self) or parse(self))
    assert auto_tokenizer_steps(small_encoder, own) == ()
    assert len(parsed) == 1  # of a vocabulary of 49,000 tokens each takes .1 s
