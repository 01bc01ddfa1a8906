"""Conversations and preferences -> model inputs, by the tokenizer's own chat template.

The output is like a corpus's: tokens, the token that follows each, and positions that restart. So a language model
needs to know nothing of conversations.
"""

from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
import polars as pl

from danlu.core.console import say
from danlu.core.seeds import Seed
from danlu.data.chats.encode import answer_tokens, conversation_tokens, plain_ids
from danlu.data.chats.messages import CHOSEN, MESSAGES, PREFERENCE, PROMPT, REJECTED, read_messages
from danlu.data.chats.template import choose_template
from danlu.data.dataset import Dataset
from danlu.data.place import Hints, Place
from danlu.data.specs import PreferenceInputs
from danlu.data.splits import TrainSplit
from danlu.data.texts import BlocksColumn, TokenizedColumn
from danlu.data.tokens import Tokens
from danlu.recipe.sections import Data

if TYPE_CHECKING:
    from danlu.data.examples import Examples


class _Chats(TokenizedColumn):
    """Tokenize messages by the tokenizer's chat template."""

    usual_longest = 512
    framed = False
    turns = True
    fitted_on: ClassVar[tuple[str, ...]]

    @classmethod
    def fit(cls, train: TrainSplit, dataset: Dataset, section: Data, hints: Hints, seed: Seed) -> Self:
        found = super().fit(train, dataset, section, hints, seed)
        return found.model_copy(update={"tokenizer": choose_template(found.tokenizer, section.chat_template)})

    @classmethod
    def texts(cls, train: TrainSplit, dataset: Dataset) -> list[str]:
        """Return the messages' contents, without roles."""
        frame = train.columns(*cls.fitted_on)
        chats = [read_messages(text) for column in cls.fitted_on for text in frame[column].to_list()]
        return [message["content"] for chat in chats for message in chat]


class ChatPreprocessor(_Chats, BlocksColumn):
    """Tokenize conversations; only the assistant's tokens are targets."""

    kind: Literal["chat"] = "chat"
    fitted_on = (MESSAGES,)

    def tokens(self, frame: pl.DataFrame, origin: str = "the conversations") -> Tokens:
        """Tokenize conversations; tokens that are not the assistant's are complements."""
        return conversation_tokens(self.tokenizer, frame[self.column], origin)

    def successions(self, frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return each target token, the one before it, and its row, [targets] each."""
        tokens = self.tokens(frame)
        marked = np.asarray(tokens.ids, dtype=np.int64)
        begins = np.zeros(len(marked), dtype=bool)
        begins[tokens.offsets[:-1]] = True
        learned = (marked >= 0) & ~begins
        owners = np.repeat(np.arange(len(tokens)), np.diff(tokens.offsets))
        return marked[learned], plain_ids(np.roll(marked, 1))[learned], owners[learned]

    def transform(self, frame: pl.DataFrame, place: Place) -> "Examples":
        """Return blocks for training.

        A conversation that is too long is cut; one whose answers are all cut off is dropped.
        """
        tokens = self.tokens(frame, place.origin)
        answers, sizes = _kept_answers(tokens, self.longest), np.diff(tokens.offsets) - 1
        useful = np.flatnonzero(answers)
        _say_what_is_cut(int((sizes > self.longest).sum()), len(sizes) - len(useful), len(sizes), self.longest, place)
        if not len(useful):
            useful = np.arange(len(sizes))
        if not self.packed:
            return self._blocks(tokens, useful, np.arange(len(useful) + 1), packed=False)
        from danlu.data.chats.batches import pack

        members, bounds = pack(np.minimum(sizes[useful], self.longest), self.longest)
        return self._blocks(tokens, useful[members], bounds, packed=True)

    def transform_each(self, frame: pl.DataFrame) -> "tuple[Examples, np.ndarray]":
        """Return every conversation in a block of its own, and each block's conversation, [blocks]."""
        tokens = self.tokens(frame)
        rows = np.arange(len(tokens))
        return self._blocks(tokens, rows, np.arange(len(tokens) + 1), packed=False), rows

    def _blocks(self, tokens: Tokens, members: np.ndarray, bounds: np.ndarray, packed: bool) -> "Examples":
        from danlu.data.chats.batches import Conversations
        from danlu.data.examples import Examples

        return Examples((Conversations(tokens, members, bounds, self.longest, self.tokenizer.pad, packed),))


class PreferencePreprocessor(_Chats):
    """Tokenize a prompt with two answers, of which the first is preferred."""

    kind: Literal["preference"] = "preference"
    fitted_on = PREFERENCE

    @property
    def columns(self) -> tuple[str, ...]:
        return PREFERENCE

    @property
    def inputs(self) -> PreferenceInputs:
        return PreferenceInputs(
            vocabulary=self.tokenizer.vocabulary, longest=self.longest, end=self.tokenizer.end, pad=self.tokenizer.pad
        )

    def transform(self, frame: pl.DataFrame, place: Place) -> "Examples":
        """Return pairs, in order, cut to the maximum length."""
        from danlu.data.chats.batches import Pairs
        from danlu.data.examples import Examples

        chosen, rejected = (
            answer_tokens(self.tokenizer, frame[PROMPT], frame[name], place.origin) for name in (CHOSEN, REJECTED)
        )
        longer = np.maximum(np.diff(chosen.offsets), np.diff(rejected.offsets)) - 1 > self.longest
        without = (_kept_answers(chosen, self.longest) == 0) | (_kept_answers(rejected, self.longest) == 0)
        _say_what_is_cut(int(longer.sum()), int(without.sum()), len(longer), self.longest, place)
        return Examples((Pairs(chosen, rejected, self.longest, self.tokenizer.pad),))


def _kept_answers(tokens: Tokens, longest: int) -> np.ndarray:
    """Count each conversation's target tokens within `longest` positions, [conversations]."""
    sizes = np.diff(tokens.offsets)
    within = np.arange(len(tokens.ids)) - np.repeat(tokens.offsets[:-1], sizes)
    counts = (np.asarray(tokens.ids) >= 0) & (within > 0) & (within <= longest)
    return np.bincount(np.repeat(np.arange(len(sizes)), sizes), weights=counts, minlength=len(sizes)).astype(np.int64)


def _say_what_is_cut(cut: int, lost: int, count: int, longest: int, place: Place) -> None:
    if not (cut or lost):
        return
    beyond = f"; {lost:,} of them are not trained on, because their answers were cut off" if lost else ""
    say(
        f"{place.origin}: {cut:,} of {count:,} conversations are longer than {longest} tokens and were cut{beyond}; "
        "data.sequence_length sets the limit"
    )
