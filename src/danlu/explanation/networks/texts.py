"""Texts as rows to explain: words are players, and an absent one is masked.

In: a text, tagging or language model's predictor and rows as they were read. Out: `TextRow`s, whose tokens' embeddings
gradients are taken of. A word is hidden by the tokenizer's mask token where it has one, else by its unknown or padding
token and out of the sight of attention, so the others keep their places.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from danlu.core.seeds import Seed
from danlu.core.text import suggestion
from danlu.data.chats.encode import prompt_pieces
from danlu.data.chats.preprocessor import ChatPreprocessor
from danlu.data.descriptors import Origin, TokenizerFile
from danlu.data.sources.chat_rows import ChatRow, Message, read_chat
from danlu.data.text.preprocessor import CorpusPreprocessor, TextPreprocessor, TokenizingPreprocessor
from danlu.data.text.special_tokens import open_for_texts
from danlu.data.text.tagging import TaggedTokens, TaggingPreprocessor
from danlu.data.text.tokenize import plain_ids
from danlu.errors import ArgumentError
from danlu.explanation.intervals import Interval
from danlu.explanation.networks.readout import Readout, choose_readout, read_token
from danlu.explanation.networks.rows import Attribution, Graph, NetworkRow, NetworkRows, local_explanation
from danlu.explanation.results import ColumnValue, LocalExplanation
from danlu.tasks.tagging import TagTarget, read_list

if TYPE_CHECKING:
    from torch import Tensor, nn

    from danlu.models.predictor import Predictor

MOST_PLAYERS = 64  # of a text; where it has more words, neighbours are explained together
BATCH_CELLS = 2**21  # tokens times outputs of a forward pass
BATCH_ROWS = 64
HIDING = ("mask_token", "unk_token", "pad_token")  # special tokens that stand for an absent one, the best first
WIDE = "\u2e80"  # the first letter of scripts without blanks between words


@dataclass(frozen=True)
class Word:
    """Hold tokens that are present or absent together.

    Attributes:
        tokens: their places among the tokens.
        start, end: in the text.
    """

    tokens: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class ReadText:
    """Hold a text as a model reads it.

    Attributes:
        text: as people wrote it.
        ids: all tokens, [length].
        words: the players.
    """

    text: str
    ids: np.ndarray
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Choice:
    """Hold what is explained of a text.

    Attributes:
        about: the word that is tagged; None where the whole is answered.
        reader: the token that is answered from; None where the network pools.
    """

    readout: Readout
    about: str | None = None
    reader: int | None = None


class TokenRows(NetworkRows):
    """Make rows of whatever is tokenized."""

    noun: ClassVar[str] = "words"

    def __init__(self, predictor: "Predictor") -> None:
        super().__init__(predictor)
        preprocessor = predictor.preprocessor
        assert isinstance(preprocessor, TokenizingPreprocessor)
        self.preprocessor, self.tokenizer = preprocessor, preprocessor.tokenizer
        self.hiding, self.is_mask = _hiding(self.tokenizer)

    def rows(self, frame: pl.DataFrame, numbers: Sequence[int], label: str | None) -> Iterator[NetworkRow]:
        for place, number in enumerate(numbers):
            row = self.row(frame[place : place + 1], number, label)
            if row is None:
                raise ArgumentError(f"row {number}: has no words to explain", code="DL409")
            yield row

    def row(self, frame: pl.DataFrame, number: int, label: str | None) -> "TextRow | None":
        """Prepare one row; None where it has no words."""
        read = self.read(frame, f"row {number}")
        if not read.words:
            return None
        outputs = self.run({"input_ids": read.ids[None], "attention_mask": np.ones((1, len(read.ids)), np.int64)})
        chosen = self.choose(read, outputs, label)
        return TextRow(number, chosen.readout, read, chosen.about, chosen.reader, self)

    def with_network(self, network: "nn.Module") -> "TokenRows":
        return type(self)(self.predictor.with_model(network))

    def run(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Return the network's outputs by the bundle's engine, [rows, ...]."""
        cells = inputs["input_ids"].shape[1] * self.outputs_a_token
        size = max(1, min(BATCH_ROWS, BATCH_CELLS // cells))
        rows, engine = range(0, len(inputs["input_ids"]), size), self.predictor.engine
        parts = [engine.run({name: each[start : start + size] for name, each in inputs.items()}) for start in rows]
        return np.concatenate(parts)

    def looks_up_once(self, row: NetworkRow) -> bool:
        """Return whether the network's embedding layer runs once, so that its gradients are the whole."""
        from danlu.explanation.networks.functions import look_up

        assert isinstance(row, TextRow)
        return len(look_up(self.predictor.model, row.tensors(row.read.ids))) == 1

    @property
    def outputs_a_token(self) -> int:
        """How many numbers the network gives for each token."""
        return 1

    @abstractmethod
    def read(self, frame: pl.DataFrame, origin: str) -> ReadText:
        """Read one row as the model does."""

    @abstractmethod
    def choose(self, read: ReadText, outputs: np.ndarray, label: str | None) -> Choice:
        """Choose what is explained, from the outputs, [1, ...]."""


class PlainTextRows(TokenRows):
    """Make rows of texts with an answer each."""

    def read(self, frame: pl.DataFrame, origin: str) -> ReadText:
        preprocessor = self.preprocessor
        assert isinstance(preprocessor, TextPreprocessor)
        text = _text_of(frame[preprocessor.column][0])
        reader = open_for_texts(self.tokenizer)
        reader.no_padding()
        reader.enable_truncation(preprocessor.longest)
        encoding = reader.encode(text)
        ids = np.array(encoding.ids or [self.tokenizer.pad], dtype=np.int64)
        return ReadText(text, ids, _words(text, encoding.offsets, encoding.word_ids))

    def choose(self, read: ReadText, outputs: np.ndarray, label: str | None) -> Choice:
        return Choice(choose_readout(self.predictor, outputs, label))


class TaggedRows(TokenRows):
    """Make rows of sentences of which one word's tag is explained.

    It is the word that most likely has the label; without one, the likeliest of the words whose tag is not the
    commonest of the sentence.
    """

    def read(self, frame: pl.DataFrame, origin: str) -> ReadText:
        preprocessor = self.preprocessor
        assert isinstance(preprocessor, TaggingPreprocessor)
        words = read_list(frame[preprocessor.column][0])
        (sentences,) = preprocessor.transform(frame, Origin(origin, Path.cwd())).columns
        assert isinstance(sentences, TaggedTokens)
        marked = np.asarray(sentences.tokens.ids)
        firsts, ids = np.flatnonzero(marked < 0).tolist(), plain_ids(marked).astype(np.int64)
        own = {token for token, said in self.tokenizer.open().get_added_tokens_decoder().items() if said.special}
        last = len(ids) - int(len(ids) > 1 and int(ids[-1]) in own)  # the tokenizer's closing token is no word's
        ends = np.cumsum([len(word) + 1 for word in words]) - 1
        found = [
            Word(tuple(range(first, after)), int(end) - len(word), int(end))
            for first, after, word, end in zip(firsts, [*firsts[1:], last], words, ends, strict=False)
        ]
        return ReadText(" ".join(words), ids, tuple(found))

    @property
    def outputs_a_token(self) -> int:
        return self.predictor.target.outputs

    def choose(self, read: ReadText, outputs: np.ndarray, label: str | None) -> Choice:
        target = self.predictor.target
        assert isinstance(target, TagTarget)
        firsts = [word.tokens[0] for word in read.words]
        logits = outputs[0, firsts].astype(np.float64)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        if label is None:
            codes = shares.argmax(axis=1)
            rare = codes != np.bincount(codes).argmax()
            word = int((shares.max(axis=1) + rare).argmax())
            code = int(codes[word])
        else:
            code = _position(target.labels, label)
            word = int(shares[:, code].argmax())
        spoken = read.words[word]
        about = read.text[spoken.start : spoken.end]
        first = spoken.tokens[0]
        return Choice(read_token(target.labels[code], first, code, of_words=True), about, first)


class NextTokenRows(TokenRows):
    """Make rows of texts of which the next token is explained."""

    @property
    def outputs_a_token(self) -> int:
        return self.predictor.target.outputs

    @property
    def longest(self) -> int:
        """The tokens that the model reads at most."""
        return int(self.preprocessor.longest)

    def read(self, frame: pl.DataFrame, origin: str) -> ReadText:
        preprocessor = self.preprocessor
        assert isinstance(preprocessor, CorpusPreprocessor)
        text, lead = _text_of(frame[preprocessor.column][0]), list(self.tokenizer.lead)
        encoding = open_for_texts(self.tokenizer).encode(text, add_special_tokens=False)
        begin = max(0, len(encoding.ids) - (self.longest - len(lead)))
        offsets, owners = encoding.offsets[begin:], encoding.word_ids[begin:]
        ids = np.array([*lead, *encoding.ids[begin:]], dtype=np.int64)
        words = _words(text, [(0, 0)] * len(lead) + offsets, [None] * len(lead) + owners)
        return ReadText(text, ids, words)

    def choose(self, read: ReadText, outputs: np.ndarray, label: str | None) -> Choice:
        reader = open_for_texts(self.tokenizer)
        if label is None:
            code = int(outputs[0, -1].argmax())
        else:
            found = reader.encode(label, add_special_tokens=False).ids
            if len(found) != 1:
                raise ArgumentError(
                    f"label: {label!r} is {len(found)} tokens, and the next token is one; with a blank before it, it "
                    "may be another",
                    code="DL402",
                )
            code = int(found[0])
        name = reader.decode([code], skip_special_tokens=False)
        last = len(read.ids) - 1
        return Choice(read_token(name, last, code, of_words=False), reader=last)


class ChatRows(NextTokenRows):
    """Make rows of conversations of which the answer's first token is explained.

    What the template writes stays; words of the messages are the players. A conversation that ends with an answer is
    explained without it.
    """

    def read(self, frame: pl.DataFrame, origin: str) -> ReadText:
        preprocessor = self.preprocessor
        assert isinstance(preprocessor, ChatPreprocessor)
        chat = read_chat(frame[preprocessor.column][0])
        asked = list(chat.messages)
        while asked and asked[-1]["role"] == "assistant":
            asked.pop()
        text, (found, places) = prompt_pieces(self.tokenizer, ChatRow(asked, chat.beside))
        ids, places = np.array(found[-self.longest :], dtype=np.int64), places[-self.longest :]
        spoken = _spoken(text, asked)
        owners: list[int | None] = []
        for begin, end in places.tolist():
            first = begin + len(text[begin:end]) - len(text[begin:end].lstrip())
            is_said = any(start <= first < stop for start, stop in spoken)
            owners.append(len(text[: first + 1].split()) if is_said else None)
        return ReadText(text, ids, _words(text, [(begin, end) for begin, end in places.tolist()], owners))


def _spoken(text: str, messages: Sequence[Message]) -> list[tuple[int, int]]:
    """Return where a rendered conversation holds what its messages say."""
    found, begin = [], 0
    for message in messages:
        content = message.get("content")
        said = content.strip() if isinstance(content, str) else ""
        place = text.find(said, begin) if said else -1
        if place >= 0:
            begin = place + len(said)
            found.append((place, begin))
    return found


@dataclass(frozen=True)
class TextRow(NetworkRow):
    """Show a text to methods."""

    number: int
    readout: Readout
    read: ReadText
    about: str | None
    reader: int | None
    source: TokenRows

    @property
    def players(self) -> int:
        """The number of words, or of spans of them."""
        return len(self.read.words)

    def inputs(self, coalitions: np.ndarray) -> dict[str, np.ndarray]:
        """Return tokens and mask with absent words hidden, [calls, length] each."""
        shape = (len(coalitions), len(self.read.ids))
        absent = np.zeros(shape, dtype=bool)
        for player, word in enumerate(self.read.words):
            absent[:, list(word.tokens)] = ~coalitions[:, [player]]
        ids = np.where(absent, self.source.hiding, self.read.ids)
        always_sees = 0 not in {place for word in self.read.words for place in word.tokens}
        unseen = absent if always_sees and not self.source.is_mask else np.zeros(shape, dtype=bool)
        return {"input_ids": ids, "attention_mask": (~unseen).astype(np.int64)}

    def values(self, coalitions: np.ndarray) -> np.ndarray:
        found = np.empty(len(coalitions))
        for start in range(0, len(coalitions), BATCH_ROWS):
            some = coalitions[start : start + BATCH_ROWS]
            found[start : start + len(some)] = self.readout.number(self.source.run(self.inputs(some)))
        return found

    def graph(self) -> Graph:
        from danlu.explanation.networks.functions import EmbeddingScore, look_up

        predictor, score = self.source.predictor, self.readout.score
        assert score is not None, "refused before"
        hidden = self.inputs(np.zeros((1, self.players), dtype=bool))["input_ids"][0]
        own, absent = self.tensors(self.read.ids), self.tensors(hidden)
        ((found,), (baseline,)) = (look_up(predictor.model, each) for each in (own, absent))
        function = EmbeddingScore(predictor.model, score, own)
        return Graph(function, predictor.model, found, baseline, baseline)

    def fold(self, attributions: np.ndarray) -> np.ndarray:
        return self.of_tokens(attributions.sum(axis=1))

    def rolled_out(self) -> np.ndarray | None:
        from danlu.explanation.networks.rollout import attention_of, is_causal, roll_out

        model = self.source.predictor.model
        attention = attention_of(model, self.tensors(self.read.ids))
        if attention is None:
            return None
        reader = self.reader if self.reader is not None else -1 if is_causal(attention) else 0
        if getattr(model, "pooling", None) == "mean":
            return self.of_tokens(roll_out(attention, None))
        return self.of_tokens(roll_out(attention, reader))

    def tensors(self, ids: np.ndarray) -> "dict[str, Tensor]":
        """Return tokens, [length], as the network takes them."""
        import torch

        given = {"input_ids": ids[None], "attention_mask": np.ones_like(ids)[None]}
        device = self.source.predictor.device
        return {name: torch.from_numpy(values).to(device) for name, values in given.items()}

    def of_tokens(self, values: np.ndarray) -> np.ndarray:
        """Sum values of tokens by word, [words]; what is no word's is left out."""
        return np.array([float(values[list(word.tokens)].sum()) for word in self.read.words])

    def of_players(self, values: np.ndarray) -> np.ndarray:
        return values

    def dummies(self) -> dict[str, np.ndarray]:
        lengths = np.array([float(word.end - word.start) for word in self.read.words])
        return {"input-magnitude": lengths}

    def near(self, seed: Seed, least: int) -> "TextRow":
        """Return the text with the word hidden that matters least."""
        ids = self.read.ids.copy()
        ids[list(self.read.words[least].tokens)] = self.source.hiding
        return replace(self, read=replace(self.read, ids=ids))

    def in_network(self, rows: NetworkRows) -> "TextRow":
        assert isinstance(rows, TokenRows)
        return replace(self, source=rows)

    def describe(self, method: str, found: Attribution) -> LocalExplanation:
        values, half = found.values, found.half_widths
        shares = [
            Interval(
                float(value),
                None if half is None else float(value - half[place]),
                None if half is None else float(value + half[place]),
            )
            for place, value in enumerate(values)
        ]
        text = self.read.text
        words = tuple(
            ColumnValue(text[word.start : word.end], None, share, word.start, word.end)
            for word, share in zip(self.read.words, shares, strict=True)
        )
        return local_explanation(self, method, found, values=words, about=self.about)


def _text_of(cell: Any) -> str:
    return "" if cell is None else str(cell)


def _hiding(tokenizer: TokenizerFile) -> tuple[int, bool]:
    """Return the token that stands for absent ones, and whether it masks."""
    reader = tokenizer.open()
    for name in HIDING:
        token = tokenizer.special.get(name)
        if token is not None and (found := reader.token_to_id(token)) is not None:
            return int(found), name == "mask_token"
    return tokenizer.pad, False


def _words(text: str, offsets: Sequence[tuple[int, int]], owners: Sequence[int | None]) -> tuple[Word, ...]:
    """Put tokens together to words, and neighbours to spans where there are more than `MOST_PLAYERS`.

    Tokens without letters of the text (a tokenizer's own, blanks) are no players. Pieces of one letter stay together;
    letters of scripts without blanks stand alone.

    Args:
        offsets: of each token in the text.
        owners: the word that each token is of, as the tokenizer sees it; None for its own tokens.
    """
    found: list[tuple[list[int], int, int]] = []
    last: int | None = None
    for place, ((start, end), owner) in enumerate(zip(offsets, owners, strict=True)):
        if owner is None or not text[start:end].strip():
            last = None
            continue
        start += len(text[start:end]) - len(text[start:end].lstrip())
        end -= len(text[start:end]) - len(text[start:end].rstrip())
        if found and (start < found[-1][2] or (owner == last and max(text[start:end]) < WIDE)):
            tokens, begin, before = found[-1]
            found[-1] = ([*tokens, place], min(begin, start), max(before, end))
        else:
            found.append(([place], start, end))
        last = owner
    if len(found) > MOST_PLAYERS:
        ends = np.linspace(0, len(found), MOST_PLAYERS + 1).astype(int)
        spans = [found[begin:end] for begin, end in pairwise(ends.tolist())]
        found = [([place for part in span for place in part[0]], span[0][1], span[-1][2]) for span in spans]
    return tuple(Word(tuple(tokens), start, end) for tokens, start, end in found)


def _position(labels: Sequence[str], label: str) -> int:
    if label not in labels:
        near = suggestion(label, labels)
        raise ArgumentError(f"label: no tag {label!r}{near}", code="DL402")
    return list(labels).index(label)


TOKENIZED: dict[type, type[TokenRows]] = {
    TextPreprocessor: PlainTextRows,
    TaggingPreprocessor: TaggedRows,
    CorpusPreprocessor: NextTokenRows,
    ChatPreprocessor: ChatRows,
}
