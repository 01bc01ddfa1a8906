"""What is answered while a request's texts are written: pieces of a stream, or one answer once all are whole.

In: the steps of sequences, in the event loop. Out: bytes to a `Writer`. Chat and completions differ in their forms.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from time import time
from typing import Protocol

import msgspec
from tokenizers import Tokenizer

from danlu.models.generated_text import INCOMPLETE_CHARACTER
from danlu.serving.language.requests import Wish
from danlu.serving.language.responses import (
    DONE,
    Answer,
    ChatChoice,
    ChatChunkChoice,
    ChatLogprobs,
    CompletionLogprobs,
    FinishReason,
    LikelyToken,
    Message,
    PromptDetails,
    TextChoice,
    TokenLogprob,
    ToolCall,
    Usage,
    error_event,
    event,
)
from danlu.serving.language.sequences import Generating, Step, TokenScore
from danlu.serving.language.tools import CallReader
from danlu.serving.refusals import Refusal


class Writer(Protocol):
    """Write the answer of one request."""

    def whole(self, body: bytes) -> None:
        """Write an answer in one piece."""

    def refuse(self, refusal: Refusal) -> None:
        """Refuse the request, of which nothing was answered yet."""

    def piece(self, data: bytes) -> None:
        """Write a piece of a stream, which begins with the first."""

    def end(self) -> None:
        """End the stream."""


class Choice:
    """Hold one text of a request as it is told.

    Attributes:
        index: among the request's.
        generating: its sequence.
        reader: of calls of tools; None where no tools are shown.
        content: what was said so far.
        calls: of tools, once it has ended.
        scores: of its tokens, where they were asked for.
        is_done: whether it has ended.
    """

    def __init__(self, index: int, generating: Generating, reader: CallReader | None) -> None:
        self.index, self.generating, self.reader = index, generating, reader
        self.content = ""
        self.calls: list[ToolCall] = []
        self.scores: list[TokenScore] = []
        self.is_done = False

    @property
    def finish_reason(self) -> FinishReason:
        """Why it ended."""
        if self.calls:
            return "tool_calls"
        return "length" if self.generating.text.ended == "length" else "stop"

    def take(self, step: Step) -> str:
        """Take a step, and return the content that it adds."""
        shown = step.piece if self.reader is None else self.reader.take(step.piece)
        if step.score is not None and step.ended != "end":
            self.scores.append(step.score)  # the token that ends a text is no part of it
        if step.ended is not None:
            self.is_done = True
            if self.reader is not None:
                rest, self.calls = self.reader.finish()
                shown += rest
        self.content += shown
        return shown


class Form(ABC):
    """Put texts into the form of a route.

    Attributes:
        object, piece_object: what answers and pieces call themselves.
        id_prefix: of answers' ids.
    """

    object: str
    piece_object: str
    id_prefix: str

    def __init__(self, reader: Tokenizer) -> None:
        self._reader = reader

    @abstractmethod
    def opening(self, choice: Choice) -> msgspec.Struct | None:
        """Return what a stream tells of a choice before its text."""

    @abstractmethod
    def piece(self, choice: Choice, shown: str, scores: Sequence[TokenScore]) -> msgspec.Struct:
        """Return a piece of a choice; the last one says why it ended."""

    @abstractmethod
    def whole(self, choice: Choice) -> msgspec.Struct:
        """Return a choice that has ended."""

    def _text(self, token: int) -> str:
        text: str = self._reader.decode([token], skip_special_tokens=False)
        return text


class ChatForm(Form):
    """Put texts into the form of `/v1/chat/completions`."""

    object, piece_object, id_prefix = "chat.completion", "chat.completion.chunk", "chatcmpl-"

    def opening(self, choice: Choice) -> ChatChunkChoice:
        return ChatChunkChoice(choice.index, Message(role="assistant", content=""))

    def piece(self, choice: Choice, shown: str, scores: Sequence[TokenScore]) -> ChatChunkChoice:
        delta = Message()
        if shown:
            delta.content = shown
        for place, call in enumerate(choice.calls):
            call.index = place
        if choice.calls:
            delta.tool_calls = choice.calls
        logprobs = self._logprobs(scores) if scores else None
        return ChatChunkChoice(choice.index, delta, logprobs, choice.finish_reason if choice.is_done else None)

    def whole(self, choice: Choice) -> ChatChoice:
        message = Message("assistant", choice.content)
        if choice.calls:
            message.tool_calls, message.content = choice.calls, choice.content or None
        asked = choice.generating.top_logprobs is not None
        return ChatChoice(choice.index, message, self._logprobs(choice.scores) if asked else None, choice.finish_reason)

    def _logprobs(self, scores: Sequence[TokenScore]) -> ChatLogprobs:
        return ChatLogprobs(
            [
                TokenLogprob(
                    *self._likely(score.token, score.logprob),
                    [LikelyToken(*self._likely(token, logprob)) for token, logprob in score.top],
                )
                for score in scores
            ]
        )

    def _likely(self, token: int, logprob: float) -> tuple[str, float, list[int] | None]:
        text = self._text(token)
        return text, logprob, None if INCOMPLETE_CHARACTER in text else list(text.encode())


class CompletionForm(Form):
    """Put texts into the form of `/v1/completions`."""

    object = piece_object = "text_completion"
    id_prefix = "cmpl-"

    def opening(self, choice: Choice) -> None:
        return None

    def piece(self, choice: Choice, shown: str, scores: Sequence[TokenScore]) -> TextChoice:
        offset = len(choice.content) - len(shown)
        logprobs = self._logprobs(choice, scores, offset) if scores else None
        return TextChoice(choice.index, shown, logprobs, choice.finish_reason if choice.is_done else None)

    def whole(self, choice: Choice) -> TextChoice:
        asked = choice.generating.top_logprobs is not None
        logprobs = self._logprobs(choice, choice.scores, 0) if asked else None
        return TextChoice(choice.index, choice.content, logprobs, choice.finish_reason)

    def _logprobs(self, choice: Choice, scores: Sequence[TokenScore], offset: int) -> CompletionLogprobs:
        tokens = [self._text(score.token) for score in scores]
        offsets = []
        for token in tokens:
            offsets.append(offset)
            offset += len(token)
        top = [{self._text(token): logprob for token, logprob in score.top} for score in scores]
        told = top if choice.generating.top_logprobs else None
        return CompletionLogprobs(tokens, [score.logprob for score in scores], told, offsets)


class Reply:
    """Answer one request.

    Args:
        writer: of the answer.
        form: of the route.
        name: of the request, for ids.
        model: as the client named it.
        fingerprint: of the bundle.
        wish: what was asked for.
        prompt_tokens: of all prompts, each counted once.
        ended: called once nothing more is written, with the answer as it was told in one piece; None where the request
            was refused or its stream cut.

    Attributes:
        choices: to be set before the first step.
    """

    def __init__(
        self,
        writer: Writer,
        form: Form,
        name: str,
        model: str,
        fingerprint: str,
        wish: Wish,
        prompt_tokens: int,
        ended: Callable[[bytes | None, Refusal | None], None],
    ) -> None:
        self._writer, self._form, self._wish, self._ended = writer, form, wish, ended
        self._told = (form.id_prefix + name, int(time()), model, fingerprint)
        self._prompt_tokens = prompt_tokens
        self.choices: list[Choice] = []
        self._begun = self._is_over = False

    def step(self, choice: Choice, step: Step) -> None:
        """Take a step of a choice, and tell what it adds."""
        if self._is_over:
            return
        if step.refusal is not None:
            self._cut(step.refusal)
            return
        before = len(choice.scores)
        shown = choice.take(step)
        if self._wish.streams and (shown or choice.is_done or len(choice.scores) > before):
            self._open()
            self._writer.piece(self._piece(self._form.piece(choice, shown, choice.scores[before:])))
        if choice.is_done and all(each.is_done for each in self.choices):
            self._finish()

    def _open(self) -> None:
        if self._begun:
            return
        self._begun = True
        for choice in self.choices:
            opening = self._form.opening(choice)
            if opening is not None:
                self._writer.piece(self._piece(opening))

    def _piece(self, choice: msgspec.Struct) -> bytes:
        usage = None if self._wish.tells_usage else msgspec.UNSET
        return event(self._answer(self._form.piece_object, [choice], usage))

    def _answer(self, name: str, choices: list[msgspec.Struct], usage: Usage | msgspec.UnsetType | None) -> Answer:
        request, created, model, fingerprint = self._told
        return Answer(request, name, created, model, fingerprint, choices, usage)

    def _finish(self) -> None:
        self._is_over = True
        whole = msgspec.json.encode(
            self._answer(self._form.object, [self._form.whole(choice) for choice in self.choices], self._usage())
        )
        if not self._wish.streams:
            self._writer.whole(whole)
        else:
            if self._wish.tells_usage:
                self._writer.piece(event(self._answer(self._form.piece_object, [], self._usage())))
            self._writer.piece(DONE)
            self._writer.end()
        self._ended(whole, None)

    def _cut(self, refusal: Refusal) -> None:
        """End before the end: by an error, in a stream as an event."""
        self._is_over = True
        for choice in self.choices:
            choice.generating.cancelled = True
        if self._begun:
            self._writer.piece(error_event(refusal))
            self._writer.end()
        else:
            self._writer.refuse(refusal)
        self._ended(None, refusal)

    def _usage(self) -> Usage:
        written = sum(len(choice.generating.text.tokens) for choice in self.choices)
        known = max((choice.generating.known for choice in self.choices), default=0)
        return Usage(
            self._prompt_tokens, written, self._prompt_tokens + written, PromptDetails(min(known, self._prompt_tokens))
        )
