"""Shapes and types of a prepared sample: enough to build the model, without any data.

A preprocessor gives one, a model builder takes one, and the bundle keeps it.
"""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from danlu.core.component import Frozen


class TabularInputs(Frozen):
    """Describe `numeric: [batch, numeric] float32` and `categories: [batch, len(cardinalities)] int64`.

    edges: bin edges of each numeric feature, ascending, two or more, with about the same number of training rows in
    each bin. Only for models that ask for bins.
    """

    kind: Literal["tabular"] = "tabular"
    numeric: int
    cardinalities: tuple[PositiveInt, ...]
    edges: tuple[tuple[float, ...], ...] = ()


class ImageInputs(Frozen):
    """Describe `image: [batch, channels, size, size] uint8`; the model itself normalises it.

    mean and std have one number per channel, for values in [0, 1].
    """

    kind: Literal["image"] = "image"
    channels: Literal[1, 3]
    size: PositiveInt
    mean: tuple[float, ...]
    std: tuple[float, ...]


class TextInputs(Frozen):
    """Describe `input_ids` and `attention_mask: [batch, length] int64`.

    Ids are below `vocabulary`, length is up to `longest`.
    """

    kind: Literal["text"] = "text"
    vocabulary: PositiveInt
    longest: PositiveInt
    pad: int


class TaggingInputs(Frozen):
    """Describe text inputs with a target tag at the first token of each word."""

    kind: Literal["words"] = "words"
    vocabulary: PositiveInt
    longest: PositiveInt
    pad: int


class CorpusInputs(Frozen):
    """Describe `input_ids: [batch, length] int64`; the target is the same text one token later.

    In training, where `packed`, also `position_ids: [batch, length] int64`, which restart with every document.
    """

    kind: Literal["corpus"] = "corpus"
    vocabulary: PositiveInt
    longest: PositiveInt
    end: int
    packed: bool


class PreferenceInputs(Frozen):
    """Describe `input_ids` and `answers: [batch, 2, length] int64`: a prompt with either answer.

    The preferred answer comes first. `answers` hold the next token where it belongs to the answer, and -100 elsewhere.
    """

    kind: Literal["preference"] = "preference"
    vocabulary: PositiveInt
    longest: PositiveInt
    end: int
    pad: int


def tokens_per_sample(inputs: "InputSpec") -> int:
    """Return the most tokens per sample with logits in a language model, else 1."""
    if inputs.kind == "corpus":
        return inputs.longest
    return 2 * inputs.longest if inputs.kind == "preference" else 1


InputSpec = Annotated[
    TabularInputs | ImageInputs | TextInputs | TaggingInputs | CorpusInputs | PreferenceInputs,
    Field(discriminator="kind"),
]
