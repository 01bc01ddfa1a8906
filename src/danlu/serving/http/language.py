"""`/v1/chat/completions`, `/v1/completions` and `/v1/embeddings`: a request's bytes in, an answer or a stream out.

The model is named in the body: NAME, whose version the policy chooses, or NAME/VERSION. Imports no torch unless a
bundle writes texts or gives vectors.
"""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from danlu.core.console import emit_traceback
from danlu.core.text import suggestion
from danlu.data.text.preprocessor import TextPreprocessor
from danlu.models.text.options import Transformer
from danlu.serving.answering import Served
from danlu.serving.batching import INTERNAL, Batcher, Job
from danlu.serving.http.envelope import RequestIds, enter, id_line, inflated, patience
from danlu.serving.http.protocol import JSON, Exchange, path_of
from danlu.serving.instance import Instance
from danlu.serving.keys import Gate, Key
from danlu.serving.language.counters import TextCounters
from danlu.serving.language.requests import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Texts,
    decode,
)
from danlu.serving.language.responses import (
    Embedding,
    Embeddings,
    EmbeddingUsage,
    ModelCard,
    ModelList,
    error_body,
)
from danlu.serving.limits import Limits
from danlu.serving.metrics import Row
from danlu.serving.refusals import Refusal, Refused
from danlu.serving.request_log import RequestLog
from danlu.serving.store import Model

if TYPE_CHECKING:
    from danlu.serving.language.embedder import Vectors
    from danlu.serving.language.sequences import Generating
    from danlu.serving.language.speaker import Speaker

LARGE_BODY = 65_536  # bytes; what is larger is decoded in a thread
MOST_TEXTS = 2048  # of a request for vectors, as OpenAI's
STREAM = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"


@dataclass(frozen=True)
class LanguageRoute:
    """Say what a path asks for.

    Attributes:
        path: of it.
        form: of its requests.
    """

    path: str
    form: type[Texts] | type[EmbeddingRequest]


ROUTES = {
    route.path.encode(): route
    for route in (
        LanguageRoute("/v1/chat/completions", ChatRequest),
        LanguageRoute("/v1/completions", CompletionRequest),
        LanguageRoute("/v1/embeddings", EmbeddingRequest),
    )
}


@dataclass(frozen=True)
class Voice:
    """Hold a version of a model, and what answers /v1 with it.

    Attributes:
        instance: its metrics.
        speaker: writes texts; None where the model does not.
        vectors: computes embeddings; None where the model gives none.
    """

    instance: Instance
    speaker: "Speaker | None"
    vectors: Batcher | None


class Waiting:
    """Hold a request while it is answered.

    Attributes:
        request_id: the client's, or a new one.
        voice: that answers it, once it is known.
        sequences: of texts that are being written.
        job: of texts that wait for their vectors.
    """

    __slots__ = ("job", "request_id", "sequences", "voice")

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.voice: Voice | None = None
        self.sequences: list[Generating] = []
        self.job: Job | None = None


class LanguageRoutes:
    """Answer the routes of OpenAI's API; see `protocol.Handler`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        gate: Gate,
        log: RequestLog | None,
        ids: RequestIds,
        text_engine: str,
    ) -> None:
        self._loop, self.limits, self._gate, self._log, self._ids = loop, limits, gate, log, ids
        self.draining, self._text_engine = False, text_engine
        self._voices: dict[str, tuple[Model, dict[str, Voice]]] = {}
        self._began = int(time())

    def add(self, model: Model, instances: Mapping[str, Instance], row: Row) -> None:
        """Answer requests that name a model."""
        voices = {version: self._voice(instance, row) for version, instance in instances.items()}
        self._voices[model.name] = model, voices

    def _voice(self, instance: Instance, row: Row) -> Voice:
        predictor = instance.served.predictor
        speaker, vectors = None, None
        if speaks(instance.served):
            from danlu.serving.language.speaker import Speaker

            counters = TextCounters(row, instance.name, instance.version)
            fingerprint = instance.served.digest[:12]
            speaker = Speaker.open(
                instance.name, predictor, self._loop, self.limits, counters, fingerprint, self._text_engine
            )
        if gives_embeddings(instance.served):
            from danlu.serving.language.embedder import Embedder

            vectors = Batcher(self._loop, Embedder(predictor).run, self.limits, instance)
        return Voice(instance, speaker, vectors)

    # -- of the protocol

    def route(self, method: bytes, target: bytes) -> LanguageRoute | None:
        """Return what a request asks for; None for all other routes."""
        return ROUTES.get(path_of(target)) if method == b"POST" else None

    def begin(self, exchange: Exchange) -> Refusal | None:
        """Look at a request's headers."""
        entered = enter(exchange, self._gate, self.limits)
        if isinstance(entered, Refusal):
            return entered
        exchange.data = entered
        return None

    def answer(self, exchange: Exchange) -> None:
        """Decode a request, and hand it to the version of a model that answers it."""
        owner: Key | None = exchange.data
        client = exchange.client if owner is None else owner.name
        exchange.data = waiting = Waiting(self._ids.of(exchange.named))
        if len(exchange.body) > LARGE_BODY or b"content-encoding" in exchange.named:
            decoding = self._loop.run_in_executor(None, self._decode, exchange)
            decoding.add_done_callback(lambda done: self._begin(exchange, waiting, done.result(), client))
        else:
            self._begin(exchange, waiting, self._decode(exchange), client)

    def left(self, exchange: Exchange) -> None:
        """Forget a request whose client has left: its sequences make room for others."""
        waiting = exchange.data
        if not isinstance(waiting, Waiting) or waiting.voice is None:
            return
        voice = waiting.voice
        voice.instance.left.add()
        if voice.speaker is not None:
            voice.speaker.cancel(waiting.sequences)
        if voice.vectors is not None and waiting.job is not None:
            voice.vectors.cancel(waiting.job)

    def is_pressed(self, exchange: Exchange) -> bool:
        """Return True: whoever closes its half of a connection waits for no text."""
        return True

    def refusal_body(self, target: bytes, refusal: Refusal) -> bytes:
        """Return the JSON that tells a refusal, as OpenAI's clients read it."""
        return error_body(refusal)

    def stop_texts(self) -> None:
        """End all texts by an error, before their connections are cut."""
        for _, voices in self._voices.values():
            for voice in voices.values():
                if voice.speaker is not None:
                    voice.speaker.stop()

    # -- of a request

    def _decode(self, exchange: Exchange) -> Texts | EmbeddingRequest | Refusal:
        try:
            body = inflated(exchange.named, exchange.body, self.limits.body_bytes)
            form: type[Texts] | type[EmbeddingRequest] = exchange.route.form
            return decode(body, form)
        except Refused as refused:
            return Refusal.of(refused)
        except Exception as error:
            emit_traceback(error)
            return INTERNAL

    def _begin(
        self, exchange: Exchange, waiting: Waiting, request: Texts | EmbeddingRequest | Refusal, client: str
    ) -> None:
        if exchange.disconnected:
            return
        most_s = self.limits.answer_s if exchange.route.form is EmbeddingRequest else self.limits.generate_s
        wait_s = patience(exchange.named, most_s)
        try:
            for refusal in (request, wait_s):
                if isinstance(refusal, Refusal):
                    self._refuse(exchange, waiting, refusal)
                    return
            assert not isinstance(request, Refusal) and not isinstance(wait_s, Refusal), "refused above"
            waiting.voice = self._find(request.model, waiting.request_id)
            deadline = exchange.began + wait_s
            if isinstance(request, EmbeddingRequest):
                self._embed(exchange, waiting, waiting.voice, request, client, deadline)
            else:
                self._speak(exchange, waiting, waiting.voice, request, client, deadline)
        except Refused as refused:
            self._refuse(exchange, waiting, Refusal.of(refused))
        except Exception as error:  # a client is told, whatever happens
            emit_traceback(error)
            self._refuse(exchange, waiting, INTERNAL)

    def _find(self, named: str, request_id: str) -> Voice:
        """Return the version of a model that answers.

        Raises:
            Refused: there is none of that name.
        """
        name, _, version = named.partition("/")
        held = self._voices.get(name)
        if held is None:
            near = suggestion(named, list(self._voices))
            raise Refused(f"no model {named!r} is served here{near}", field="model", status=404, code="model_not_found")
        model, voices = held
        chosen = model.resolve(version) if version else model.version_for(request_id)
        if chosen is None:
            raise Refused(
                f"model {name!r} has no version {version!r} here", field="model", status=404, code="model_not_found"
            )
        return voices[chosen]

    def _speak(
        self, exchange: Exchange, waiting: Waiting, voice: Voice, request: Texts, client: str, deadline: float
    ) -> None:
        speaker, route = voice.speaker, exchange.route.path
        if speaker is None:
            raise Refused(
                f"{request.model} is no language model, so {route} cannot ask it; /predict/{voice.instance.name} can",
                field="model",
                code="unsupported_model",
            )
        asked = b"" if self._log is None else inflated(exchange.named, exchange.body, self.limits.body_bytes)
        began = exchange.began

        def ended(answer: bytes | None, refusal: Refusal | None) -> None:
            voice.instance.count("v1", 200 if refusal is None else refusal.status)
            voice.instance.stages["request"].observe(monotonic() - began)
            if answer is not None and self._log is not None:
                instance = voice.instance
                model = f"{instance.name}/{instance.version}"
                self._log.write_text(waiting.request_id, time(), model, instance.served, route, asked, answer)

        writer = _ExchangeWriter(exchange, voice.instance.head + id_line(waiting.request_id))
        waiting.sequences = speaker.answer(request, waiting.request_id, client, deadline, writer, ended)

    def _embed(
        self,
        exchange: Exchange,
        waiting: Waiting,
        voice: Voice,
        request: EmbeddingRequest,
        client: str,
        deadline: float,
    ) -> None:
        if voice.vectors is None:
            raise Refused(
                f"{request.model} gives no embeddings; sentence encoders do: models of texts trained with "
                "model.pooling: mean or cls",
                field="model",
                code="unsupported_model",
            )
        texts = [request.input] if isinstance(request.input, str) else request.input
        if not texts or len(texts) > MOST_TEXTS or not all(texts):
            raise Refused(f"input: give 1 to {MOST_TEXTS:,} texts, none of them empty", field="input")
        if request.encoding_format not in (None, "float", "base64"):
            raise Refused("encoding_format: float or base64", field="encoding_format")

        def done(result: "Vectors | Refusal") -> None:
            if isinstance(result, Refusal):
                self._refuse(exchange, waiting, result)
                return
            body = _embeddings(request, result)
            exchange.reply(200, JSON + voice.instance.head + id_line(waiting.request_id), body)
            voice.instance.count("v1", 200)
            voice.instance.stages["request"].observe(monotonic() - exchange.began)

        size = len(exchange.body)
        job = Job(texts, len(texts), size, client, deadline, done, (size // len(texts)).bit_length())
        waiting.job = job
        refusal = voice.vectors.submit(job)
        if refusal is not None:
            self._refuse(exchange, waiting, refusal)

    def _refuse(self, exchange: Exchange, waiting: Waiting, refusal: Refusal) -> None:
        if waiting.voice is not None:
            waiting.voice.instance.count("v1", refusal.status)
        exchange.refuse(refusal, id_line(waiting.request_id))

    # -- what is served

    def listed(self) -> ModelList:
        """Return the models that write texts or give vectors, versions of stores by name too."""
        names: list[str] = []
        for name, (model, voices) in self._voices.items():
            if any(voice.speaker or voice.vectors for voice in voices.values()):
                names += [name, *(f"{name}/{version}" for version in voices if model.root is not None)]
        return ModelList([ModelCard(name, self._began) for name in names])

    def card(self, named: str) -> ModelCard | None:
        """Return what is told of one model; None where it is not served."""
        return next((card for card in self.listed().data if card.id == named), None)

    def chats(self, name: str, version: str) -> bool:
        """Return whether a version of a model answers conversations."""
        speaker = self._voices[name][1][version].speaker
        return speaker is not None and speaker.chats


class _ExchangeWriter:
    """Write an answer to an exchange; see `replies.Writer`."""

    def __init__(self, exchange: Exchange, head: bytes) -> None:
        self._exchange, self._head = exchange, head

    def whole(self, body: bytes) -> None:
        """Write an answer in one piece."""
        self._exchange.reply(200, JSON + self._head, body)

    def refuse(self, refusal: Refusal) -> None:
        """Refuse the request."""
        self._exchange.refuse(refusal, self._head)

    def piece(self, data: bytes) -> None:
        """Write a piece of a stream."""
        self._exchange.open(STREAM + self._head)
        self._exchange.send(data)

    def end(self) -> None:
        """End the stream."""
        self._exchange.finish()


def speaks(served: Served) -> bool:
    """Return whether a bundle writes texts."""
    return served.predictor.kind.generates_text and isinstance(served.predictor.options, Transformer)


def gives_embeddings(served: Served) -> bool:
    """Return whether a bundle is a sentence encoder, told by its options alone."""
    predictor = served.predictor
    options: Any = predictor.options
    is_text = isinstance(predictor.preprocessor, TextPreprocessor) and isinstance(options, Transformer)
    return is_text and options.resolve_pooling() is not None


def _embeddings(request: EmbeddingRequest, found: "Vectors") -> bytes:
    values = found.values.astype(np.float32)
    if request.encoding_format == "base64":
        told: list[Any] = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in values]
    else:
        told = values.tolist()
    data = [Embedding(index, value) for index, value in enumerate(told)]
    return msgspec.json.encode(Embeddings(request.model, data, EmbeddingUsage(found.tokens, found.tokens)))
