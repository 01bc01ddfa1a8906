"""Conversations and preferences -> model inputs, by the tokenizer's own chat template.

The output is like a corpus's: tokens, the token that follows each, and positions that restart. So a language model
needs to know nothing of conversations.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import polars as pl

from danlu.core.console import info
from danlu.core.seeds import Seed
from danlu.data.chats.encode import answer_tokens, conversation_tokens, count_answers
from danlu.data.chats.shown import shown_tokens
from danlu.data.chats.unwritten import unwritten_parts
from danlu.data.dataset import Dataset
from danlu.data.descriptors import DataRequirements, Origin
from danlu.data.sources.chat_forms import CHOSEN, MESSAGES, PREFERENCE, PROMPT, REJECTED
from danlu.data.sources.chat_rows import ChatRow, Message, read_chat, read_messages
from danlu.data.specs import PreferenceInputs
from danlu.data.splits import TrainSplit
from danlu.data.text.chat_template import answer_beginnings, choose_template
from danlu.data.text.losses_of_text import log_unknown_tokens
from danlu.data.text.preprocessor import BlockPreprocessor, TokenizingPreprocessor
from danlu.data.text.tokenize import RaggedTokens, plain_ids
from danlu.errors import DataError
from danlu.recipe.sections.data import Data

if TYPE_CHECKING:
    from danlu.data.loader import PreparedDataset

NEVER = np.iinfo(np.int64).max


class _ChatPreprocessorBase(TokenizingPreprocessor):
    """Tokenize messages by the tokenizer's chat template."""

    default_length = 512
    adds_special_tokens = False
    adds_turn_tokens = True
    fitted_on: ClassVar[tuple[str, ...]]

    @classmethod
    def fit(cls, train: TrainSplit, dataset: Dataset, section: Data, hints: DataRequirements, seed: Seed) -> Self:
        found = super().fit(train, dataset, section, hints, seed)
        answers = (message["content"] for message in cls._messages(train) if message["role"] == "assistant")
        tokenizer = choose_template(found.tokenizer, section.chat_template, answer_beginnings(answers))
        if lost := unwritten_parts(tokenizer, cls.conversations(train.columns(*cls.fitted_on))):
            info(
                f"{dataset.origin}: the chat template does not write {', '.join(lost)}, so the model never reads them; "
                "data.chat_template names another one"
            )
        return found.model_copy(update={"tokenizer": tokenizer})

    @classmethod
    def texts(cls, train: TrainSplit, dataset: Dataset) -> list[str]:
        """Return the messages' contents, without roles."""
        return [message["content"] for message in cls._messages(train)]

    @classmethod
    def written_texts(cls, train: TrainSplit, dataset: Dataset) -> list[str]:
        """Return what others than the assistant say."""
        return [message["content"] for message in cls._messages(train) if message["role"] != "assistant"]

    @classmethod
    def _messages(cls, train: TrainSplit) -> Iterator[Message]:
        frame = train.columns(*cls.fitted_on)
        for column in cls.fitted_on:
            for text in frame[column].to_list():
                yield from read_messages(text)

    @classmethod
    @abstractmethod
    def conversations(cls, frame: pl.DataFrame) -> Iterator[ChatRow]:
        """Yield each row's conversation, of a preference that with the chosen answer."""

    @abstractmethod
    def marked(self, frame: pl.DataFrame, origin: str) -> dict[str, RaggedTokens]:
        """Return the marked tokens of each text that a row becomes."""

    def whole_tokens(self, frame: pl.DataFrame, origin: str) -> list[RaggedTokens]:
        return list(self.marked(frame, origin).values())

    @property
    def cut_at(self) -> int:
        return self.longest + 1  # the last token is an answer alone

    def shown_row(self, frame: pl.DataFrame, origin: str) -> list[dict[str, Any]]:
        """Return the first row as the model reads it, a text for each answer."""
        texts = self.marked(frame.head(1), origin)
        return [
            shown_tokens(self.tokenizer, np.asarray(tokens.ids), name, self.longest) for name, tokens in texts.items()
        ]


class ChatPreprocessor(_ChatPreprocessorBase, BlockPreprocessor):
    """Tokenize conversations; only the assistant's tokens are targets."""

    kind: Literal["chat"] = "chat"
    fitted_on = (MESSAGES,)

    def tokens(self, frame: pl.DataFrame, origin: str = "the conversations") -> RaggedTokens:
        """Tokenize conversations; tokens that are not the assistant's are complements."""
        return conversation_tokens(self.tokenizer, frame[self.column], origin)

    def check_split(self, name: str, frame: pl.DataFrame, place: Origin) -> None:
        """Raise DataError if no answer begins within the maximum length."""
        _require_answer(_first_answers(self.tokens(frame, place.name)), self.longest, name, place)

    @classmethod
    def conversations(cls, frame: pl.DataFrame) -> Iterator[ChatRow]:
        return map(read_chat, frame[MESSAGES].to_list())

    def marked(self, frame: pl.DataFrame, origin: str) -> dict[str, RaggedTokens]:
        return {MESSAGES: self.tokens(frame, origin)}

    def successions(self, frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return each target token, the one before it, and its row, [targets] each."""
        tokens = self.tokens(frame)
        marked = np.asarray(tokens.ids, dtype=np.int64)
        begins = np.zeros(len(marked), dtype=bool)
        begins[tokens.offsets[:-1]] = True
        learned = (marked >= 0) & ~begins
        owners = np.repeat(np.arange(len(tokens)), np.diff(tokens.offsets))
        return marked[learned], plain_ids(np.roll(marked, 1))[learned], owners[learned]

    def transform(self, frame: pl.DataFrame, place: Origin) -> "PreparedDataset":
        """Return blocks for training.

        A conversation that is too long is cut; one whose answers are all cut off is dropped.
        """
        tokens = self.tokens(frame, place.name)
        log_unknown_tokens(self.tokenizer, plain_ids(tokens.ids), place)
        answers, sizes = _count_kept_answers(tokens, self.longest), np.diff(tokens.offsets) - 1
        useful = np.flatnonzero(answers)
        _log_answers(*count_answers(tokens, frame[self.column]), place)
        _log_truncation(int((sizes > self.longest).sum()), len(sizes) - len(useful), len(sizes), self.longest, place)
        if not len(useful):
            useful = np.arange(len(sizes))
        if not self.packed:
            return self._blocks(tokens, useful, np.arange(len(useful) + 1), packed=False)
        from danlu.data.chats.batches import pack

        members, bounds = pack(np.minimum(sizes[useful], self.longest), self.longest)
        return self._blocks(tokens, useful[members], bounds, packed=True)

    def transform_each(self, frame: pl.DataFrame) -> "tuple[PreparedDataset, np.ndarray]":
        """Return every conversation in a block of its own, and each block's conversation, [blocks]."""
        tokens = self.tokens(frame)
        rows = np.arange(len(tokens))
        return self._blocks(tokens, rows, np.arange(len(tokens) + 1), packed=False), rows

    def _blocks(self, tokens: RaggedTokens, members: np.ndarray, bounds: np.ndarray, packed: bool) -> "PreparedDataset":
        from danlu.data.chats.batches import ConversationBlocks
        from danlu.data.loader import PreparedDataset

        return PreparedDataset((ConversationBlocks(tokens, members, bounds, self.longest, self.tokenizer.pad, packed),))


class PreferencePreprocessor(_ChatPreprocessorBase):
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

    def check_split(self, name: str, frame: pl.DataFrame, place: Origin) -> None:
        """Raise DataError if of no pair both answers begin within the maximum length."""
        firsts = [_first_answers(tokens) for tokens in self.marked(frame, place.name).values()]
        _require_answer(np.maximum(*firsts), self.longest, name, place)

    @classmethod
    def conversations(cls, frame: pl.DataFrame) -> Iterator[ChatRow]:
        for prompt, chosen in frame.select(PROMPT, CHOSEN).iter_rows():
            asked = read_chat(prompt)
            yield replace(asked, messages=[*asked.messages, *read_messages(chosen)])

    def marked(self, frame: pl.DataFrame, origin: str) -> dict[str, RaggedTokens]:
        return {name: answer_tokens(self.tokenizer, frame[PROMPT], frame[name], origin) for name in (CHOSEN, REJECTED)}

    def transform(self, frame: pl.DataFrame, place: Origin) -> "PreparedDataset":
        """Return pairs, in order, cut to the maximum length.

        Of a pair without two answers nothing is learned.
        """
        from danlu.data.chats.batches import PreferencePairs
        from danlu.data.loader import PreparedDataset

        chosen, rejected = self.marked(frame, place.name).values()
        log_unknown_tokens(self.tokenizer, plain_ids(chosen.ids), place)
        longer = np.maximum(np.diff(chosen.offsets), np.diff(rejected.offsets)) - 1 > self.longest
        without = (_count_kept_answers(chosen, self.longest) == 0) | (_count_kept_answers(rejected, self.longest) == 0)
        _log_truncation(int(longer.sum()), int(without.sum()), len(longer), self.longest, place)
        return PreparedDataset((PreferencePairs(chosen, rejected, ~without, self.longest, self.tokenizer.pad),))


def _count_kept_answers(tokens: RaggedTokens, longest: int) -> np.ndarray:
    """Count each conversation's target tokens within `longest` positions, [conversations]."""
    sizes = np.diff(tokens.offsets)
    within = np.arange(len(tokens.ids)) - np.repeat(tokens.offsets[:-1], sizes)
    counts = (np.asarray(tokens.ids) >= 0) & (within > 0) & (within <= longest)
    return np.bincount(np.repeat(np.arange(len(sizes)), sizes), weights=counts, minlength=len(sizes)).astype(np.int64)


def _first_answers(tokens: RaggedTokens) -> np.ndarray:
    """Return how many positions reach each conversation's first target token, [conversations]; NEVER without one."""
    sizes = np.diff(tokens.offsets)
    within = np.arange(len(tokens.ids)) - np.repeat(tokens.offsets[:-1], sizes)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    targets = (np.asarray(tokens.ids) >= 0) & (within > 0)
    found = np.full(len(sizes), NEVER)
    np.minimum.at(found, owners[targets], within[targets])
    return found


def _require_answer(firsts: np.ndarray, longest: int, name: str, place: Origin) -> None:
    """Raise DataError if no conversation's first answer begins within `longest` positions."""
    first = int(firsts.min())
    if first <= longest:
        return
    if first == NEVER:
        raise DataError(f"{place.name}: the {name} split holds no answer that is learned; add some", code="DL240")
    raise DataError(
        f"{place.name}: data.sequence_length is {longest}, and no answer of the {name} split's {len(firsts):,} "
        f"conversations begins within it; the earliest needs {first}: set at least that, or shorten the prompts",
        code="DL120",
    )


def _log_answers(learned: int, given: int, place: Origin) -> None:
    if learned < given:
        info(
            f"{place.name}: {learned:,} of {given:,} answers are learned; the chat template writes others otherwise "
            "as soon as the conversation goes on, as those that take earlier reasoning away do. {% generation %} in "
            "the template marks what is learned"
        )


def _log_truncation(cut: int, lost: int, count: int, longest: int, place: Origin) -> None:
    if not (cut or lost):
        return
    beyond = f"; {lost:,} of them are not trained on, because their answers were cut off" if lost else ""
    info(
        f"{place.name}: {cut:,} of {count:,} conversations are longer than {longest} tokens and were cut{beyond}; "
        "data.sequence_length sets the limit"
    )
