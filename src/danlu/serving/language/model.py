"""A language model that is served: how requests become sequences, and what writes them.

In: an opened bundle. Out: sequences for a `TextEngine`. Knows neither HTTP nor OpenAI's answers.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from danlu.core.seeds import Seed
from danlu.data.sources.chat_beside import template_values
from danlu.data.sources.chat_rows import ChatRow
from danlu.data.sources.conversations import read_conversation
from danlu.errors import ArgumentError, DataError
from danlu.models.generated_text import GeneratedText
from danlu.models.generation import blank_before, encode_prompt, tokenizer_and_network
from danlu.models.predictor import Predictor
from danlu.models.sampling import Sampling
from danlu.serving.language.requests import ChatRequest, Wish
from danlu.serving.language.sequences import Generating, Step
from danlu.serving.language.tools import CallForm, form_of, require_choice
from danlu.serving.refusals import Refusal, Refused

ARGUMENTS = "arguments"


class TextEngine(Protocol):
    """Write texts."""

    def submit(self, sequences: Sequence[Generating]) -> Refusal | None:
        """Take the sequences of a request, or say why not."""

    def cancel(self, sequences: Sequence[Generating]) -> None:
        """Forget sequences for which nobody waits."""

    def stop(self) -> None:
        """End all sequences by telling them that the server stops; none is taken any more."""


@dataclass(frozen=True)
class Asked:
    """Hold a prompt as the model reads it.

    Attributes:
        ids: of its tokens.
        blank: white space of the template with which the answer is generated.
        calls: how the answer calls tools; None where none are shown.
    """

    ids: list[int]
    blank: str = ""
    calls: type[CallForm] | None = None


class LanguageModel:
    """Make sequences of what is asked of one bundle.

    Args:
        name: that errors call it by.
        predictor: the opened bundle.
    """

    def __init__(self, name: str, predictor: Predictor) -> None:
        tokenizer, network = tokenizer_and_network(predictor)
        self.name = name
        self.tokenizer = tokenizer.model_copy(update={"date": None})  # a template that asks is told today's
        self.network = network
        self.reader = self.tokenizer.open()
        self.positions: int | None = getattr(network.config, "max_position_embeddings", None)

    @property
    def chats(self) -> bool:
        """Whether it has a chat template."""
        return self.tokenizer.chat_template is not None

    def read_chat(self, request: ChatRequest) -> Asked:
        """Return a conversation as the model reads it.

        Raises:
            Refused: it cannot be written by the model's template, or names tools that the template has not.
        """
        if not self.chats:
            raise Refused(
                f"{self.name} has no chat template; ask /v1/completions, or train it on chats",
                field="messages",
                code="unsupported_parameter",
            )
        calls = form_of(self.tokenizer, self.name) if request.tools and require_choice(request.tool_choice) else None
        beside = {
            **({"tools": request.tools} if calls is not None else {}),
            **({"chat_template_kwargs": request.chat_template_kwargs} if request.chat_template_kwargs else {}),
        }
        place = "messages"
        try:
            messages = read_conversation([_with_objects(message) for message in request.messages], place)
            row = ChatRow(messages, template_values(beside, place))
            ids = encode_prompt(self.tokenizer, row, 1)
        except (DataError, ArgumentError) as error:
            raise Refused(str(error), field=place, code=error.code) from None
        return Asked(ids, blank_before(self.tokenizer, row), calls)

    def read_prompt(self, prompt: str | Sequence[int]) -> Asked:
        """Return a text, or the ids of one, as the model reads it.

        Raises:
            Refused: an id is none of the model's.
        """
        if isinstance(prompt, str):
            return Asked(encode_prompt(self.tokenizer, prompt, 1))
        if not all(0 <= token < self.tokenizer.vocabulary for token in prompt):
            raise Refused(f"prompt: {self.name} has tokens 0 to {self.tokenizer.vocabulary - 1}", field="prompt")
        return Asked(list(prompt))

    def sequence(
        self,
        asked: Asked,
        wish: Wish,
        place: int,
        copy: int,
        client: str,
        deadline: float,
        told: Callable[[Step], None],
        most_tokens: int,
    ) -> Generating:
        """Return a sequence that writes one text.

        Args:
            asked: the prompt.
            wish: how it is written.
            place: the prompt's number in its request.
            copy: the text's number of that prompt.
            client: whose it is.
            deadline: the monotonic time after which nobody waits.
            told: is called with each step.
            most_tokens: that any text may have.

        Raises:
            Refused: the prompt fills the model's context.
        """
        room = most_tokens
        if self.positions is not None:
            room = min(room, self.positions - len(asked.ids))
        if room < 1:
            raise Refused(
                f"the prompt has {len(asked.ids):,} tokens, and {self.name} takes {self.positions:,} including the "
                "generated ones; shorten it",
                field="messages" if asked.blank or asked.calls else None,
                code="context_length_exceeded",
            )
        most = room if wish.max_tokens is None else min(room, wish.max_tokens)
        text = GeneratedText(
            self.reader, self.tokenizer, most, wish.stop, asked.blank, shows_special=asked.calls is not None
        )
        seed = _any_seed() if wish.seed is None else Seed(wish.seed)
        return Generating(
            asked.ids,
            text,
            Sampling(**wish.sampling),
            seed.derive("write", place, copy),
            wish.top_logprobs,
            client,
            deadline,
            told,
        )


def _any_seed() -> Seed:
    return Seed(int.from_bytes(os.urandom(7), "big"))


def _with_objects(message: Any) -> Any:
    """Return a message whose calls have objects as arguments, as templates expect."""
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    if not isinstance(calls, list):
        return message
    return {**message, "tool_calls": [_with_object(call) for call in calls]}


def _with_object(call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get(ARGUMENTS), str):
        return call
    try:
        held = msgspec.json.decode(function[ARGUMENTS])
    except msgspec.DecodeError:
        return call
    return {**call, "function": {**function, ARGUMENTS: held}}
