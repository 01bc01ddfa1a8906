"""Where rows came from, and what a pretrained model expects of them: what travels beside the data."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from danlu.core.component import Frozen
from danlu.data.disk import Table

if TYPE_CHECKING:
    from tokenizers import Tokenizer


Layout = Literal["table", "images", "words", "corpus", "chat", "preference"]


@dataclass(frozen=True)
class Source:
    """A frame and where it came from.

    Attributes:
        frame: one sample a row.
        origin: how errors name it: the path, or builtin:NAME.
        folder: what relative paths inside the data are relative to.
        layout: what the files themselves say of the kind of data.
        target: the target column that the layout implies, if any.
    """

    frame: Table
    origin: str
    folder: Path
    layout: Layout = "table"
    target: str | None = None


@dataclass(frozen=True)
class Place:
    """How errors name the data, and what relative image paths are relative to."""

    origin: str
    folder: Path


class ImageFormat(Frozen):
    """What pretrained weights expect: pixels a side, and mean and deviation a channel in [0, 1]."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class TokenizerFile(Frozen):
    """A tokenizer as tokenizers' JSON, and the tokens with a meaning of their own.

    Attributes:
        pad, end: ids.
        chat_template: Jinja, how conversations are written; never executed but in a sandbox.
        special: tokens by what they are called in templates, as eos_token.
        stops: ids at which a text that is being generated is over, besides `end`.
    """

    json_text: str
    pad: int
    end: int
    vocabulary: int
    chat_template: str | None = None
    special: dict[str, str] = Field(default_factory=dict)
    stops: tuple[int, ...] = ()

    def open(self) -> "Tokenizer":
        from tokenizers import Tokenizer

        return Tokenizer.from_str(self.json_text)


@dataclass(frozen=True)
class Hints:
    """What the chosen model wants of the data; None where it leaves the choice.

    Attributes:
        image: the format of pretrained image weights.
        tokenizer: the tokenizer that pretrained text weights were trained with.
        longest: the most tokens the model can take.
        bins: into how many, of about as many training rows each, the model cuts the range of a number.
    """

    image: ImageFormat | None = None
    tokenizer: TokenizerFile | None = None
    longest: int | None = None
    bins: int | None = None
