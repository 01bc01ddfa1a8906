"""Shapes and types of a prepared sample: enough to build the model, without any data.

A preprocessor gives one, and a model builder takes one.
"""

from typing import Literal, TypeVar

from pydantic import PositiveInt

from danlu.core.component import Frozen
from danlu.errors import ArgumentError

Wanted = TypeVar("Wanted", bound="InputSpec")


class InputSpec(Frozen):
    """Describe a prepared sample."""

    @property
    def tokens_per_sample(self) -> int:
        """The most tokens per sample with logits in a language model, else 1."""
        return 1


class TabularInputs(InputSpec):
    """Describe `numeric: [batch, numeric] float32` and `categories: [batch, len(cardinalities)] int64`.

    edges: bin edges of each numeric feature, ascending, two or more, with about the same number of training rows in
    each bin. Only for models that ask for bins.
    """

    numeric: int
    cardinalities: tuple[PositiveInt, ...]
    edges: tuple[tuple[float, ...], ...] = ()


class ImageInputs(InputSpec):
    """Describe `image: [batch, channels, size, size] uint8`; the model itself normalises it.

    mean and std have one number per channel, for values in [0, 1].
    """

    channels: Literal[1, 3]
    size: PositiveInt
    mean: tuple[float, ...]
    std: tuple[float, ...]


class TokenInputs(InputSpec):
    """Describe tokens: ids are below `vocabulary`, at most `longest` in a row."""

    vocabulary: PositiveInt
    longest: PositiveInt

    @property
    def special_tokens(self) -> dict[str, int]:
        """The ids that a new network has to know, by transformers' names."""
        return {}


class EncoderInputs(TokenInputs):
    """Describe whole texts, padded with `pad`."""

    pad: int

    @property
    def special_tokens(self) -> dict[str, int]:
        return {"pad_token_id": self.pad}


class LanguageInputs(TokenInputs):
    """Describe texts whose next token is predicted; `end` ends each."""

    end: int

    @property
    def special_tokens(self) -> dict[str, int]:
        return {"eos_token_id": self.end}


class TextInputs(EncoderInputs):
    """Describe `input_ids` and `attention_mask: [batch, length] int64`."""


class TaggingInputs(EncoderInputs):
    """Describe text inputs with a target tag at the first token of each word."""


class CorpusInputs(LanguageInputs):
    """Describe `input_ids: [batch, length] int64`; the target is the same text one token later.

    In training, where `packed`, also `position_ids: [batch, length] int64`, which restart with every document.
    """

    packed: bool

    @property
    def tokens_per_sample(self) -> int:
        return self.longest


class PreferenceInputs(LanguageInputs):
    """Describe `input_ids` and `answers: [batch, 2, length] int64`: a prompt with either answer.

    The preferred answer comes first. `answers` hold the next token where it belongs to the answer, and -100 elsewhere.
    """

    pad: int

    @property
    def tokens_per_sample(self) -> int:
        return 2 * self.longest


def require_inputs(inputs: InputSpec, wanted: type[Wanted], model: str) -> Wanted:
    """Narrow a specification to the form that a model takes.

    Raises:
        ArgumentError: it is of another form.
    """
    if not isinstance(inputs, wanted):
        raise ArgumentError(
            f"{model} takes {wanted.__name__}, got {type(inputs).__name__}; choose a model of its kind", code="DL114"
        )
    return inputs
