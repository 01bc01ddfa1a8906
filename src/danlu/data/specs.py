"""What a prepared sample looks like to a model: enough to build the model, without any data.

A preprocessor gives one, a model builder takes one, and the bundle keeps it.
"""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from danlu.core.component import Frozen


class TabularInputs(Frozen):
    """`numeric: [batch, numeric] float32` and `categories: [batch, len(cardinalities)] int64`.

    edges: of each numeric feature, rising, where bins of about as many training rows begin and end; two or more. Only
    for models that ask for bins.
    """

    kind: Literal["tabular"] = "tabular"
    numeric: int
    cardinalities: tuple[PositiveInt, ...]
    edges: tuple[tuple[float, ...], ...] = ()


class ImageInputs(Frozen):
    """`image: [batch, channels, size, size] uint8`; the model itself takes off `mean` and divides by `std`.

    mean and std are a number a channel, for values in [0, 1].
    """

    kind: Literal["image"] = "image"
    channels: Literal[1, 3]
    size: PositiveInt
    mean: tuple[float, ...]
    std: tuple[float, ...]


class TextInputs(Frozen):
    """`input_ids` and `attention_mask: [batch, length] int64`, ids below `vocabulary`, length up to `longest`."""

    kind: Literal["text"] = "text"
    vocabulary: PositiveInt
    longest: PositiveInt
    pad: int


class WordInputs(Frozen):
    """As TextInputs; the answer is a tag at the first token of each word."""

    kind: Literal["words"] = "words"
    vocabulary: PositiveInt
    longest: PositiveInt
    pad: int


class CorpusInputs(Frozen):
    """`input_ids: [batch, length] int64`; the answer is the same text one token later.

    In training, where `packed`, also `position_ids: [batch, length] int64`, which begin anew with every document.
    """

    kind: Literal["corpus"] = "corpus"
    vocabulary: PositiveInt
    longest: PositiveInt
    end: int
    packed: bool


class PreferenceInputs(Frozen):
    """`input_ids` and `answers: [batch, 2, length] int64`: a prompt with the preferred answer, and with the other.

    `answers` hold the token that follows where it is the answer's, and -100 elsewhere.
    """

    kind: Literal["preference"] = "preference"
    vocabulary: PositiveInt
    longest: PositiveInt
    end: int
    pad: int


def tokens_a_sample(inputs: "InputSpec") -> int:
    """Tokens that a sample has a language model compute logits of, at most; else 1."""
    if inputs.kind == "corpus":
        return inputs.longest
    return 2 * inputs.longest if inputs.kind == "preference" else 1


InputSpec = Annotated[
    TabularInputs | ImageInputs | TextInputs | WordInputs | CorpusInputs | PreferenceInputs, Field(discriminator="kind")
]
