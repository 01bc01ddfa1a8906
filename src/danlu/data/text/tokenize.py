"""Tokenize texts once: long columns are cached as arrays and read through a memory map.

A column is tokenized in pieces that are cached one by one, so that an interrupted run continues where it was.
"""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from danlu.artifacts.cache import cached_dir
from danlu.data.descriptors import TokenizerFile
from danlu.data.text.special_tokens import open_for_words

PIECE_TEXTS = 4_096  # cached together; a shorter column is tokenized again each time, which is quicker
UNCACHED_TEXTS = 512  # encodings in memory at a time
VERSION = 2

# Texts -> all their tokens, [tokens] int32, and the number of each text, [texts] int64.
Encode = Callable[[list[str]], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class TokenizeConfig:
    """Configure how a text becomes tokens.

    Attributes:
        longest: maximum tokens per text; None for all.
        special: whether the tokenizer puts its own tokens around the text.
        before: tokens put before each text.
        words: whether tokens of control inside a text are encoded as words.
        end: a token appended to each text; None for none.
        blank: the token of a text without tokens.
    """

    longest: int | None
    special: bool
    end: int | None
    blank: int
    before: tuple[int, ...] = ()
    words: bool = False


@dataclass(frozen=True)
class RaggedTokens:
    """Hold the tokens of texts, concatenated.

    Attributes:
        ids: [tokens] int32.
        offsets: start of each text, and the end of the last, [texts + 1] int64.
    """

    ids: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1


def plain_ids(marked: np.ndarray) -> np.ndarray:
    """Return token ids without their marks: a marked token is stored as its complement."""
    return np.where(marked < 0, ~marked, marked)


def tokenize(tokenizer: TokenizerFile, texts: pl.Series, rule: TokenizeConfig) -> RaggedTokens:
    """Tokenize texts, in order; a missing text is empty."""
    return cached_tokens(texts, lambda some: _encode(tokenizer, some, rule), tokenizer, repr(asdict(rule)))


def tokenize_alone(tokenizer: TokenizerFile, texts: pl.Series, longest: int | None) -> RaggedTokens:
    """Return the tokens of texts that are read one by one, as by a classifier.

    Args:
        tokenizer: of the model.
        texts: a missing one is empty.
        longest: maximum tokens per text; None for all.
    """
    # A tokenizer without special tokens gives no token for an empty text; a model needs at least one position.
    words = not tokenizer.parses_special
    return tokenize(
        tokenizer, texts, TokenizeConfig(longest=longest, special=True, end=None, blank=tokenizer.pad, words=words)
    )


def cached_tokens(texts: pl.Series, encode: Encode, tokenizer: TokenizerFile, rule: str) -> RaggedTokens:
    """Tokenize texts with `encode`, cached where there are many.

    Args:
        texts: a missing one is empty.
        encode: texts -> all their tokens, and how many each has.
        tokenizer, rule: part of the cache key, besides the texts.
    """
    texts = texts.cast(pl.String).fill_null("")
    if len(texts) <= PIECE_TEXTS:
        ids, lengths = encode(texts.to_list())
        return RaggedTokens(ids, _offsets(lengths))
    pieces = [texts.slice(start, PIECE_TEXTS) for start in range(0, len(texts), PIECE_TEXTS)]
    keys = [_key(tokenizer, piece, rule) for piece in pieces]
    whole = cached_dir("tokens", [VERSION, keys], lambda folder: _join(folder, encode, pieces, keys))
    return RaggedTokens(np.load(whole / "ids.npy", mmap_mode="r"), np.load(whole / "offsets.npy", mmap_mode="r"))


def _join(folder: Path, encode: Encode, pieces: list[pl.Series], keys: list[str]) -> None:
    """Tokenize the pieces that are not cached yet, and join all in one file."""
    parts: list[Path] = []
    for piece, key in zip(pieces, keys, strict=True):

        def make(part: Path, piece: pl.Series = piece) -> None:
            ids, lengths = encode(piece.to_list())
            np.save(part / "ids.npy", ids)
            np.save(part / "lengths.npy", lengths)

        parts.append(cached_dir("token-pieces", [VERSION, key], make))
    offsets = _offsets(np.concatenate([np.load(part / "lengths.npy") for part in parts]))
    np.save(folder / "offsets.npy", offsets)
    ids = np.lib.format.open_memmap(folder / "ids.npy", mode="w+", dtype=np.int32, shape=(int(offsets[-1]),))
    start = 0
    for part in parts:
        found = np.load(part / "ids.npy", mmap_mode="r")
        ids[start : start + len(found)] = found
        start += len(found)
    ids.flush()


@lru_cache(maxsize=4)  # for a server: to open one of 30,000 words takes far longer than to answer a request
def _reader(json_text: str, words: bool, longest: int | None) -> Any:
    """Open a tokenizer, which nobody changes afterwards."""
    from tokenizers import Tokenizer

    reader = open_for_words(json_text) if words else Tokenizer.from_str(json_text)
    reader.no_padding()
    reader.no_truncation()
    if longest is not None:
        reader.enable_truncation(longest)
    return reader


def _encode(tokenizer: TokenizerFile, texts: list[str], rule: TokenizeConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return all tokens, [tokens] int32, and the number of each text, [texts] int64."""
    reader = _reader(tokenizer.json_text, rule.words, rule.longest)
    after = [] if rule.end is None else [rule.end]
    found: list[np.ndarray] = [np.zeros(0, dtype=np.int32)]
    lengths: list[int] = []
    for start in range(0, len(texts), UNCACHED_TEXTS):
        for encoding in reader.encode_batch(texts[start : start + UNCACHED_TEXTS], add_special_tokens=rule.special):
            ids = [*rule.before, *encoding.ids, *after] or [rule.blank]
            found.append(np.array(ids, dtype=np.int32))
            lengths.append(len(ids))
    return np.concatenate(found), np.array(lengths, dtype=np.int64)


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)])


def _key(tokenizer: TokenizerFile, texts: pl.Series, rule: str) -> str:
    """Hash everything that decides the tokens of some texts."""
    digest = hashlib.blake2b(tokenizer.json_text.encode(), digest_size=16)
    digest.update(rule.encode())
    for text in texts.to_list():
        content = text.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()
