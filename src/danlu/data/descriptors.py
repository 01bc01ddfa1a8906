"""Values that travel with the data: its origin, a tokenizer, an image format, and what a pretrained model requires."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from danlu.core.component import Frozen
from danlu.data.file_form import FileForm
from danlu.data.frames import Table
from danlu.data.questions import Question
from danlu.data.row_errors import RowErrors

if TYPE_CHECKING:
    from tokenizers import Tokenizer


Layout = Literal["table", "images", "words", "corpus", "chat", "preference"]


@dataclass(frozen=True)
class RawData:
    """Hold a frame as it was read, and its origin.

    Attributes:
        frame: one sample per row.
        origin: the name in errors: the path, or builtin:NAME.
        folder: the folder that relative paths inside the data start from.
        layout: the kind of data that the files themselves imply.
        target: the target column that the layout implies, if any.
        form: how the files were read.
        questions: what the files leave open and the recipe must answer.
        added: columns that a program added, or that no model can use, each with the key of its reason.
        split_column: the column that says which rows train, validate and test: `train`, `validation` or `test`.
        weight: of all rows, if they are a part of a mixture.
        weight_column: the column of each row's weight, once parts of different weights are put together.
    """

    frame: Table
    origin: str
    folder: Path
    layout: Layout = "table"
    target: str | None = None
    form: FileForm = field(default_factory=FileForm)
    questions: tuple[Question, ...] = ()
    added: Mapping[str, str] = field(default_factory=dict)
    split_column: str | None = None
    weight: float = 1.0
    weight_column: str | None = None


@dataclass(frozen=True)
class Origin:
    """Hold the data's name in errors, and the folder that relative image paths start from.

    Attributes:
        errors: collects the errors of single rows; None raises the first.
    """

    name: str
    folder: Path
    errors: RowErrors | None = None

    def from_row(self, start: int) -> "Origin":
        """Return the place of a part that begins at a row."""
        return self if self.errors is None else replace(self, errors=self.errors.from_row(start))


class ImageFormat(Frozen):
    """Describe the images that pretrained weights expect.

    Side in pixels, and mean and deviation per channel in [0, 1].
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class TokenizerFile(Frozen):
    """Hold a tokenizer as tokenizers' JSON, with its special tokens.

    Attributes:
        pad, end: ids.
        chat_template: Jinja, how conversations are written; never executed but in a sandbox.
        templates: all of the folder's, by name, until one is chosen.
        special: tokens by their names in templates, as eos_token.
        stops: ids that end a generated text, besides `end`.
        begins: ids that it puts before a text, as BOS; () for none, then documents and prompts follow the end token.
        blank: the end of the assistant's header, mostly white space, that a token joins with the answer's first word;
            it belongs to the answer, which is then learned and generated with it.
        ending: what a template whose marks leave out the token that ends a turn writes after an answer, up to it.
        parses_special: whether tokens of control inside what people wrote are these tokens, as in transformers, or
            words.
        date: what a template that asks for today's date is told, as 2026-01-31; None for today's.
    """

    json_text: str
    pad: int
    end: int
    vocabulary: int
    chat_template: str | None = None
    templates: dict[str, str] = Field(default_factory=dict)
    special: dict[str, str] = Field(default_factory=dict)
    stops: tuple[int, ...] = ()
    begins: tuple[int, ...] = ()
    blank: str = ""
    ending: str = ""
    parses_special: bool = True
    date: str | None = None

    @property
    def lead(self) -> tuple[int, ...]:
        """What a language model reads before a text."""
        return self.begins or (self.end,)

    def open(self) -> "Tokenizer":
        from tokenizers import Tokenizer

        return Tokenizer.from_str(self.json_text)


@dataclass(frozen=True)
class DataRequirements:
    """Hold the requirements of the chosen model; None leaves the choice open.

    Attributes:
        image: the format of pretrained image weights.
        tokenizer: the tokenizer that pretrained text weights were trained with.
        longest: the model's maximum number of tokens.
        bins: number of quantile bins into which the model cuts a numeric feature.
    """

    image: ImageFormat | None = None
    tokenizer: TokenizerFile | None = None
    longest: int | None = None
    bins: int | None = None
