"""Texts -> token ids, for classifying texts and for language models.

The tokenizer is the pretrained model's own, or a byte-level BPE trained on the training split. Either way it is kept as
one JSON file (tokenizers' format), so that a bundle needs nothing else to read text.
"""

import json
from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import polars as pl

from danlu.core.seeds import Seed
from danlu.data.dataset import Dataset
from danlu.data.descriptors import DataRequirements, Origin, TokenizerFile
from danlu.data.kind import Preprocessor
from danlu.data.specs import CorpusInputs, TextInputs
from danlu.data.splits import TrainSplit
from danlu.data.text.chat_template import CHATML, TURN, TURN_END, asks_for_date
from danlu.data.text.losses_of_text import (
    TextLosses,
    count_losses,
    log_control_tokens,
    log_cut_texts,
    log_unknown_tokens,
)
from danlu.data.text.special_tokens import count_held
from danlu.data.text.tokenize import RaggedTokens, TokenizeConfig, tokenize, tokenize_alone
from danlu.errors import DataError, Problem, RecipeError
from danlu.recipe.sections.data import Data

if TYPE_CHECKING:
    from danlu.data.loader import PreparedDataset, Tensors

VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken")
LOOKED_AT = 10_000  # rows in which tokens of control are looked for
BEGINNING = "a"  # a text that shows what a tokenizer puts before texts
AS_IT_STANDS = ("PreTrainedTokenizerFast", "TokenizersBackend")  # classes that read a tokenizer.json and add nothing
PAD, START, END, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"


def train_tokenizer(
    texts: Iterable[str], vocabulary: int, add_special_tokens: bool, add_turn_tokens: bool = False
) -> TokenizerFile:
    """Train a byte-level BPE, which can encode any text.

    BPE by Sennrich et al. 2016, https://arxiv.org/abs/1508.07909; bytes as in GPT-2.

    Args:
        texts: the training split's.
        vocabulary: maximum number of tokens, at least 300 (256 bytes and the special ones).
        add_special_tokens: put a start and an end token around every text, as classifiers expect.
        add_turn_tokens: add ChatML's tokens and template, for conversations.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, START, END, UNKNOWN, *((TURN, TURN_END) if add_turn_tokens else ())],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    ids = {token: tokenizer.token_to_id(token) for token in (PAD, START, END)}
    if add_special_tokens:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{START} $A {END}", special_tokens=[(START, ids[START]), (END, ids[END])]
        )
    return TokenizerFile(
        json_text=tokenizer.to_str(),
        pad=ids[PAD],
        end=ids[END],
        vocabulary=tokenizer.get_vocab_size(),
        chat_template=CHATML if add_turn_tokens else None,
        special={"pad_token": PAD, "bos_token": START, "eos_token": END, "unk_token": UNKNOWN},
    )


def load_tokenizer(folder: Path, own_code: bool = False) -> TokenizerFile:
    """Load the tokenizer of a pretrained model's folder.

    Uses no network, and runs code from the folder only with `own_code`.

    Raises:
        DataError: the folder holds no tokenizer that can be kept as JSON.
    """
    # Without these files transformers builds a tokenizer of the model's kind with an empty vocabulary.
    if not own_code and not any(any(folder.glob(name)) for name in VOCABULARIES):
        raise DataError(f"{folder}: no readable tokenizer: it has none of {', '.join(VOCABULARIES)}", code="DL242")
    try:
        reader = _reader_of(folder)
        tokenizer: Any = reader.from_pretrained(folder, local_files_only=True, trust_remote_code=own_code)
        text = tokenizer.backend_tokenizer.to_str()
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{folder}: no readable tokenizer: {str(error).splitlines()[0]}", code="DL242") from error
    end = next((i for i in (tokenizer.eos_token_id, tokenizer.sep_token_id) if i is not None), None)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    if end is None or pad is None:
        raise DataError(f"{folder}: the tokenizer has neither an end-of-text nor a padding token", code="DL242")
    text_ids, ids = (tokenizer(BEGINNING, add_special_tokens=adds)["input_ids"] for adds in (True, False))
    begins = text_ids[: text_ids.index(ids[0])] if ids and ids[0] in text_ids else []
    own = tokenizer.chat_template
    templates = {name: str(text) for name, text in own.items()} if isinstance(own, dict) else {}
    template = templates.get("default") if templates else own
    special = {name: token for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    return TokenizerFile(
        json_text=text,
        pad=pad,
        end=end,
        vocabulary=len(tokenizer),
        chat_template=template,
        templates=templates,
        special=special,
        stops=_stops(folder),
        begins=tuple(begins),
    )


def _reader_of(folder: Path) -> Any:
    """Return the class that reads a folder's tokenizer.

    AutoTokenizer reads that of a folder with Qwen2's network by Qwen2's rules even where the folder says that its
    tokenizer.json is meant as it stands.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        said = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))["tokenizer_class"]
    except (OSError, ValueError, KeyError, TypeError):
        return AutoTokenizer
    plain = said in AS_IT_STANDS and (folder / "tokenizer.json").is_file()
    return PreTrainedTokenizerFast if plain else AutoTokenizer


def _stops(folder: Path) -> tuple[int, ...]:
    """Return the tokens that end a generated text, where the folder names them."""
    try:
        said = json.loads((folder / "generation_config.json").read_text(encoding="utf-8")).get("eos_token_id")
    except (OSError, ValueError, AttributeError):
        return ()
    return tuple(said if isinstance(said, list) else [said] if isinstance(said, int) else [])


class TokenizingPreprocessor(Preprocessor):
    """Tokenize a column of text, cut to the model's maximum length.

    Attributes:
        default_length: tokens, where neither the recipe nor the model says.
        adds_special_tokens: whether a tokenizer trained here puts start and end around every text.
        adds_turn_tokens: whether a tokenizer trained here has tokens and a template for conversations.
    """

    default_length: ClassVar[int]
    adds_special_tokens: ClassVar[bool]
    adds_turn_tokens: ClassVar[bool] = False
    column: str
    longest: int
    tokenizer: TokenizerFile

    @classmethod
    def fit(cls, train: TrainSplit, dataset: Dataset, section: Data, hints: DataRequirements, seed: Seed) -> Self:
        """Train a tokenizer on the training split, unless the model brings one."""
        longest, tokenizer = cls.longest_text(section, hints), hints.tokenizer
        if tokenizer is None:
            tokenizer = train_tokenizer(
                cls.texts(train, dataset), section.vocabulary, cls.adds_special_tokens, cls.adds_turn_tokens
            )
        tokenizer = cls.reading(tokenizer, section)
        if not tokenizer.parses_special:
            few = cls.written_texts(TrainSplit(train.rows[:LOOKED_AT], train.table), dataset)
            log_control_tokens(*count_held(tokenizer, few), len(few), dataset.origin)
        return cls(column=dataset.content, longest=longest, tokenizer=tokenizer)

    @classmethod
    def longest_text(cls, section: Data, hints: DataRequirements) -> int:
        """Return how many tokens of a text are read.

        Raises:
            RecipeError: the model takes fewer than the recipe asks for.
        """
        if section.sequence_length and hints.longest and section.sequence_length > hints.longest:
            message = f"the model takes at most {hints.longest} tokens, got {section.sequence_length}"
            raise RecipeError(Problem("", "data.sequence_length", message, code="DL120"))
        return section.sequence_length or min(cls.default_length, hints.longest or cls.default_length)

    @staticmethod
    def reading(tokenizer: TokenizerFile, section: Data) -> TokenizerFile:
        """Return the tokenizer that reads tokens of control inside texts as the recipe says."""
        return tokenizer.model_copy(update={"parses_special": section.special_tokens == "tokens"})

    @property
    def asks_for_date(self) -> bool:
        return asks_for_date(self.tokenizer)

    def on_date(self, date: str) -> Self:
        """Return the preprocessor with a fixed date, where the tokenizer's chat template asks for one."""
        if not self.asks_for_date:
            return self
        return self.model_copy(update={"tokenizer": self.tokenizer.model_copy(update={"date": date})})

    @classmethod
    def texts(cls, train: TrainSplit, dataset: Dataset) -> list[str]:
        """Return the texts that a tokenizer is trained on."""
        return [str(text) for text in train.columns(dataset.content)[dataset.content].fill_null("").to_list()]

    @classmethod
    def written_texts(cls, train: TrainSplit, dataset: Dataset) -> list[str]:
        """Return the texts in which the tokenizer's tokens of control are words."""
        return cls.texts(train, dataset)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that `transform` reads."""
        return (self.column,)

    @abstractmethod
    def whole_tokens(self, frame: pl.DataFrame, origin: str) -> list[RaggedTokens]:
        """Return the marked tokens of each text that a row becomes, none cut off."""

    def measure_losses(self, frame: pl.DataFrame, origin: str) -> TextLosses:
        """Count what of rows the model does not read."""
        return count_losses(self.tokenizer, self.whole_tokens(frame, origin), self.cut_at)

    @property
    def cut_at(self) -> int | None:
        """The tokens of a text that are read at most; None for all."""
        return self.longest


class TextPreprocessor(TokenizingPreprocessor):
    """Tokenize texts one by one, cut to the model's maximum length."""

    default_length = 256
    adds_special_tokens = True
    kind: Literal["text"] = "text"

    @property
    def inputs(self) -> TextInputs:
        return TextInputs(vocabulary=self.tokenizer.vocabulary, longest=self.longest, pad=self.tokenizer.pad)

    def transform(self, frame: pl.DataFrame, place: Origin) -> "PreparedDataset":
        """Convert texts to model inputs, in order; a missing text is empty."""
        from danlu.data.loader import PreparedDataset
        from danlu.data.text.sequences import PaddedTokens

        tokens = tokenize_alone(self.tokenizer, frame[self.column], self.longest)
        log_cut_texts(self.tokenizer, frame[self.column], tokens, self.longest, place)
        log_unknown_tokens(self.tokenizer, tokens.ids, place)
        return PreparedDataset((PaddedTokens(tokens, self.tokenizer.pad),))

    def whole_tokens(self, frame: pl.DataFrame, origin: str) -> list[RaggedTokens]:
        return [tokenize_alone(self.tokenizer, frame[self.column], None)]

    def describe(self, inputs: "Tensors") -> list[dict[str, str]]:
        """Decode tokens one by one, separated by spaces, so that deletions and swaps are visible."""
        tokenizer = self.tokenizer.open()
        found: list[dict[str, str]] = []
        for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True):
            pieces = (tokenizer.decode([int(token)], skip_special_tokens=False).strip() for token in ids[mask.bool()])
            found.append({"tokens": " ".join(piece for piece in pieces if piece)})
        return found


class BlockPreprocessor(TokenizingPreprocessor):
    """Cut texts into the fixed-length blocks of a language model.

    Attributes:
        packed: whether blocks for training hold several texts; attention still stays within each.
    """

    packed: bool = True

    @classmethod
    def fit(cls, train: TrainSplit, dataset: Dataset, section: Data, hints: DataRequirements, seed: Seed) -> Self:
        return super().fit(train, dataset, section, hints, seed).model_copy(update={"packed": section.packing})

    @abstractmethod
    def successions(self, frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return each target token, the one before it, and its row, [targets] each."""

    @abstractmethod
    def transform_each(self, frame: pl.DataFrame) -> "tuple[PreparedDataset, np.ndarray]":
        """Return every row in blocks of its own, and each block's row, [blocks]."""

    @property
    def inputs(self) -> CorpusInputs:
        return CorpusInputs(
            vocabulary=self.tokenizer.vocabulary, longest=self.longest, end=self.tokenizer.end, packed=self.packed
        )


class CorpusPreprocessor(BlockPreprocessor):
    """Cut documents, each with an end token, into blocks of one length."""

    default_length = 256
    adds_special_tokens = False
    adds_turn_tokens = True  # a model of a corpus may be fine-tuned on conversations
    kind: Literal["corpus"] = "corpus"

    @property
    def cut_at(self) -> None:
        """None: a document goes on in the next block."""
        return

    def whole_tokens(self, frame: pl.DataFrame, origin: str) -> list[RaggedTokens]:
        return [self.tokens(frame)]

    def tokens(self, frame: pl.DataFrame) -> RaggedTokens:
        """Return each document's tokens, with its end and all of its lead but the first."""
        end, before = self.tokenizer.end, self.tokenizer.lead[1:]
        words = not self.tokenizer.parses_special
        rule = TokenizeConfig(longest=None, special=False, end=end, blank=end, before=before, words=words)
        return tokenize(self.tokenizer, frame[self.column], rule)

    def successions(self, frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return each token, the one before it, and its row, [tokens] each.

        The first token of a document follows the one with which the tokenizer begins a text, else an end token.
        """
        tokens = self.tokens(frame)
        now = np.asarray(tokens.ids, dtype=np.int64)
        owners = np.repeat(np.arange(len(tokens)), np.diff(tokens.offsets))
        before = np.roll(now, 1)
        before[tokens.offsets[:-1]] = self.tokenizer.lead[0]
        return now, before, owners

    def transform(self, frame: pl.DataFrame, place: Origin) -> "PreparedDataset":
        """Return blocks for training with targets; each token is a target exactly once.

        Packed, documents are concatenated and only the last block has padding; else no block holds parts of two. The
        first token of a document follows the one with which the tokenizer begins a text, else an end token.
        """
        tokens = self.tokens(frame)
        log_unknown_tokens(self.tokenizer, tokens.ids, place)
        if not self.packed:
            return self.transform_each(frame)[0]
        starts = np.arange(0, len(tokens.ids), self.longest)
        return self._blocks(tokens, starts, np.minimum(len(tokens.ids) - starts, self.longest), packed=True)

    def transform_each(self, frame: pl.DataFrame) -> "tuple[PreparedDataset, np.ndarray]":
        """Return every document in blocks of its own, and each block's document, [blocks]."""
        tokens = self.tokens(frame)
        sizes = np.diff(tokens.offsets)
        counts = -(-sizes // self.longest)
        owners = np.repeat(np.arange(len(sizes)), counts)
        within = (np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)) * self.longest
        lengths = np.minimum(sizes[owners] - within, self.longest)
        return self._blocks(tokens, tokens.offsets[owners] + within, lengths, packed=False), owners

    def _blocks(self, tokens: RaggedTokens, starts: np.ndarray, lengths: np.ndarray, packed: bool) -> "PreparedDataset":
        from danlu.data.loader import PreparedDataset
        from danlu.data.text.sequences import TokenBlocks

        lead, end = self.tokenizer.lead[0], self.tokenizer.end
        return PreparedDataset((TokenBlocks(tokens, starts, lengths, self.longest, lead, end, packed),))
