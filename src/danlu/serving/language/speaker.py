"""One served bundle that writes texts: requests in, sequences to its engine, replies as they grow."""

import asyncio
from collections.abc import Callable
from typing import Any

from danlu.models.predictor import Predictor
from danlu.serving.language.counters import TextCounters
from danlu.serving.language.decoder import open_decoder
from danlu.serving.language.model import Asked, LanguageModel, TextEngine
from danlu.serving.language.replies import ChatForm, Choice, CompletionForm, Form, Reply, Writer
from danlu.serving.language.requests import (
    ChatRequest,
    CompletionRequest,
    Texts,
    Wish,
    prompts_of,
    wish_of_chat,
    wish_of_completion,
)
from danlu.serving.language.scheduler import Scheduler
from danlu.serving.language.sequences import Generating, Step
from danlu.serving.language.tools import CallReader
from danlu.serving.limits import Limits
from danlu.serving.refusals import Refusal

Ended = Callable[[bytes | None, Refusal | None], None]


class Speaker:
    """Answer requests with one language model.

    Args:
        model: makes sequences of requests.
        engine: writes them.
        limits: of a text.
        fingerprint: of the bundle, in answers.
    """

    def __init__(self, model: LanguageModel, engine: TextEngine, limits: Limits, fingerprint: str) -> None:
        self._model, self._engine, self._limits, self._fingerprint = model, engine, limits, fingerprint
        self._chat, self._completion = ChatForm(model.reader), CompletionForm(model.reader)

    @classmethod
    def open(
        cls,
        name: str,
        predictor: Predictor,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        counters: TextCounters,
        fingerprint: str,
        text_engine: str,
    ) -> "Speaker":
        """Return a speaker of a bundle.

        Args:
            text_engine: what writes: `danlu` for its own continuous batching, or `vllm`.

        Raises:
            ArtifactError: its model cannot generate.
        """
        model = LanguageModel(name, predictor)
        if text_engine == "vllm":
            from danlu.serving.language.vllm_engine import VllmEngine

            return cls(model, VllmEngine.open(predictor, loop, limits, counters), limits, fingerprint)
        decoder = open_decoder(model.network, predictor.device, model.tokenizer.pad, limits.prefix_bytes)
        return cls(model, Scheduler(decoder, loop, limits, counters), limits, fingerprint)

    @property
    def chats(self) -> bool:
        """Whether it answers conversations."""
        return self._model.chats

    def answer(
        self, request: Texts, name: str, client: str, deadline: float, writer: Writer, ended: Ended
    ) -> list[Generating]:
        """Begin to answer a request, and return its sequences.

        Args:
            request: of chat or completions.
            name: of the request.
            client: whose it is.
            deadline: the monotonic time after which nobody waits.
            writer: of the answer.
            ended: as `Reply` takes it.

        Raises:
            Refused: a value is out of range, or the model cannot do what is asked.
        """
        if isinstance(request, ChatRequest):
            wish, asked, form = wish_of_chat(request), [self._model.read_chat(request)], self._chat
            return self._begin(request, wish, asked, form, (name, client, deadline), writer, ended)
        assert isinstance(request, CompletionRequest), "of these two"
        prompts = [self._model.read_prompt(prompt) for prompt in prompts_of(request)]
        wish = wish_of_completion(request)
        return self._begin(request, wish, prompts, self._completion, (name, client, deadline), writer, ended)

    def cancel(self, sequences: list[Generating]) -> None:
        """Forget the sequences of a request whose client has left."""
        self._engine.cancel(sequences)

    def stop(self) -> None:
        """End all that is being written, since the server stops."""
        self._engine.stop()

    def _begin(
        self,
        request: Texts,
        wish: Wish,
        prompts: list[Asked],
        form: Form,
        told: tuple[str, str, float],
        writer: Writer,
        ended: Ended,
    ) -> list[Generating]:
        name, client, deadline = told
        tokens = sum(len(asked.ids) for asked in prompts)
        reply = Reply(writer, form, name, request.model, self._fingerprint, wish, tokens, ended)
        for place, asked in enumerate(prompts):
            for copy in range(wish.choices):
                steps = _Steps(reply)
                sequence = self._model.sequence(
                    asked, wish, place, copy, client, deadline, steps, self._limits.text_tokens
                )
                index = place * wish.choices + copy
                reader = None if asked.calls is None else CallReader(asked.calls, f"{name}_{index}")
                steps.choice = Choice(index, sequence, reader)
                reply.choices.append(steps.choice)
        sequences = [choice.generating for choice in reply.choices]
        refusal = self._engine.submit(sequences)
        if refusal is not None:
            reply.step(reply.choices[0], Step(refusal=refusal))
        return sequences


class _Steps:
    """Hand the steps of a sequence to its choice."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.choice: Any = None

    def __call__(self, step: Step) -> None:
        self._reply.step(self.choice, step)
