"""Tagging: sentences of words -> token ids, with a target tag at the first token of each word."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Self

import numpy as np
import polars as pl

from danlu.data.dataset import Dataset
from danlu.data.descriptors import Origin, TokenizerFile
from danlu.data.loader import TARGET, PreparedDataset, Tensors
from danlu.data.specs import TaggingInputs
from danlu.data.splits import TrainSplit
from danlu.data.text.losses_of_text import log_cut_words, log_unknown_tokens
from danlu.data.text.preprocessor import TokenizingPreprocessor
from danlu.data.text.sequences import PaddedTokens
from danlu.data.text.special_tokens import open_for_texts
from danlu.data.text.tokenize import RaggedTokens, cached_tokens, plain_ids
from danlu.errors import DataError
from danlu.tasks.tagging import read_list
from danlu.tasks.token_losses import IGNORED

STAND_IN = "?"  # for a word without tokens, as white space
VERSION = "words 2"


@dataclass(frozen=True)
class TaggedTokens:
    """Pad sentences to the longest of a batch, with tags at each word's first token.

    Attributes:
        tokens: of all sentences; the first token of a word is stored as its complement.
        pad: the id of padding.
        codes: tag codes, concatenated over sentences, [words]; all 0 by default.
        begins: start of each sentence's tags, and the end of the last, [sentences + 1].
    """

    tokens: RaggedTokens
    pad: int
    codes: np.ndarray | None = None
    begins: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: np.ndarray, epoch: int | None = None) -> Tensors:
        import torch

        taken = PaddedTokens(self.tokens, self.pad).take(rows, epoch)
        ids = taken["input_ids"].numpy()
        first = ids < 0
        answers = np.where(first, 0, IGNORED).astype(np.int64)
        if self.codes is not None and self.begins is not None:
            places = self.begins[rows % len(self)][:, None] + np.cumsum(first, axis=1) - 1
            answers[first] = self.codes[places[first]]
        taken["input_ids"] = torch.from_numpy(np.where(first, ~ids, ids))
        return {**taken, TARGET: torch.from_numpy(answers)}


class TaggingPreprocessor(TokenizingPreprocessor):
    """Tokenize sentences, cut to the maximum length; words beyond get no tag."""

    default_length = 256
    adds_special_tokens = True
    kind: Literal["words"] = "words"

    @classmethod
    def texts(cls, train: TrainSplit, dataset: Dataset) -> list[str]:
        return [" ".join(read_list(text)) for text in train.column(dataset.content).to_list()]

    @property
    def inputs(self) -> TaggingInputs:
        return TaggingInputs(vocabulary=self.tokenizer.vocabulary, longest=self.longest, pad=self.tokenizer.pad)

    def transform(self, frame: pl.DataFrame, place: Origin) -> PreparedDataset:
        """Convert sentences to model inputs, in order."""
        tokenizer, longest = self.tokenizer, self.longest
        rule = f"{VERSION}, {longest}, {tokenizer.parses_special}"
        tokens = cached_tokens(frame[self.column], lambda some: _encode(tokenizer, some, longest), tokenizer, rule)
        marked = np.asarray(tokens.ids)
        given = sum(len(read_list(text)) for text in frame[self.column].to_list())
        log_cut_words(given - int((marked < 0).sum()), given, longest, place)
        log_unknown_tokens(tokenizer, plain_ids(marked), place)
        return PreparedDataset((TaggedTokens(tokens, tokenizer.pad),))

    def whole_tokens(self, frame: pl.DataFrame, origin: str) -> list[RaggedTokens]:
        rule = f"{VERSION}, all, {self.tokenizer.parses_special}"
        encode = partial(_encode, self.tokenizer, longest=None)
        return [cached_tokens(frame[self.column], encode, self.tokenizer, rule)]

    @classmethod
    def tagged(cls, examples: PreparedDataset, rows: list[np.ndarray]) -> PreparedDataset:
        """Return the same samples with each sentence's tag codes."""
        (sentences,) = examples.columns
        assert isinstance(sentences, TaggedTokens)
        begins = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
        return replace(examples, columns=(replace(sentences, codes=np.concatenate(rows), begins=begins),))

    def model_post_init(self: Self, context: object) -> None:
        """Check that a sentence has room for a start, a word and an end."""
        if self.longest < 3:
            raise DataError(
                f"data.sequence_length: {self.longest} tokens have no room for a word; set at least 3", code="DL120"
            )


def _encode(tokenizer: TokenizerFile, texts: list[str], longest: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return all tokens, [tokens] int32, and the number of each sentence, [sentences].

    First tokens of words are stored as complements.
    """
    reader = open_for_texts(tokenizer)
    reader.no_padding()
    reader.no_truncation()
    found: list[np.ndarray] = [np.zeros(0, dtype=np.int32)]
    for text in texts:
        # With a space before them, words are tokenized as they are within a text.
        words = [(" " if place else "") + word for place, word in enumerate(read_list(text))]
        encoding = reader.encode(words, is_pretokenized=True)
        known = {word for word in encoding.word_ids if word is not None}
        if len(known) < len(words):
            words = [word if place in known else STAND_IN for place, word in enumerate(words)]
            encoding = reader.encode(words, is_pretokenized=True)
            if len({word for word in encoding.word_ids if word is not None}) < len(words):
                raise DataError(
                    f"the model's tokenizer has no token for {STAND_IN!r}, so words cannot be told apart", code="DL242"
                )
        if longest is not None and len(encoding.ids) > longest:  # truncated by the tokenizer, which keeps its end token
            reader.enable_truncation(longest)
            encoding = reader.encode(words, is_pretokenized=True)
            reader.no_truncation()
        own = np.array([-1 if word is None else word for word in encoding.word_ids])
        first = (own >= 0) & (np.diff(own, prepend=-1) != 0)
        ids = np.array(encoding.ids, dtype=np.int32)
        found.append(np.where(first, ~ids, ids))
    return np.concatenate(found), np.array([len(ids) for ids in found[1:]], dtype=np.int64)
