"""What preparation is told beside the rows: where they came from, and what a pretrained model expects of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from danlu.core.component import Frozen

if TYPE_CHECKING:
    from tokenizers import Tokenizer


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
    """A tokenizer as tokenizers' JSON, and the ids of the tokens with a meaning of their own."""

    json_text: str
    pad: int
    end: int
    vocabulary: int

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
    """

    image: ImageFormat | None = None
    tokenizer: TokenizerFile | None = None
    longest: int | None = None
