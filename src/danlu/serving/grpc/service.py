"""The methods of the protocol's service: probes, metadata, and inference by way of `Hot`, as HTTP's predict routes go.

In: messages. Out: messages, or a status of gRPC with the words of a refusal. The deadline of a call is that of its
rows; keys come as metadata, as headers do over HTTP.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from starlette.exceptions import HTTPException

from danlu.core.console import ERROR, emit
from danlu.serving.answering import Answer
from danlu.serving.batching import INTERNAL
from danlu.serving.grpc import tensors
from danlu.serving.grpc.proto import Service
from danlu.serving.http.app import Site
from danlu.serving.http.hot import LARGE_BODY, Asked, Route
from danlu.serving.instance import Question
from danlu.serving.keys import key_of
from danlu.serving.refusals import Refusal
from danlu.serving.v2 import metadata

STATUSES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
UNLOCKED = ("ServerLive", "ServerReady")  # probes need no key
HEADERS = ("authorization", "traceparent", "tracestate", "x-api-key", "x-deadline-ms", "x-request-id")
Headers = list[tuple[bytes, bytes]]
Context = Any  # of grpc.aio, which has no types


class Call:
    """Hold one call of ModelInfer, with what `Hot` asks of a request.

    Attributes:
        route: the model and the version that it names.
        headers, named: those of its metadata that mean something, in order and by name.
        body: the message's bytes.
        client: the address of the client.
        began: the monotonic time when it had come.
        data: of `Hot`.
        disconnected: whether nobody waits for it.
        answered: lines of headers, and the response's bytes or a refusal.
    """

    __slots__ = ("answered", "began", "body", "client", "data", "disconnected", "headers", "named", "route")

    def __init__(self, route: Route, headers: Headers, body: bytes, client: str, began: float) -> None:
        self.route, self.body, self.client, self.began = route, body, client, began
        self.headers, self.named = headers, dict(headers)
        self.data: Any = None
        self.disconnected = False
        self.answered: asyncio.Future[tuple[bytes, bytes | Refusal]] = asyncio.get_running_loop().create_future()

    def reply(self, status: int, headers: bytes, body: bytes) -> None:
        """Answer it."""
        if not self.answered.done():
            self.answered.set_result((headers, body))

    def refuse(self, refusal: Refusal, headers: bytes = b"") -> None:
        """Refuse it."""
        if not self.answered.done():
            self.answered.set_result((headers, refusal))


class Inference:
    """Answer the methods.

    Args:
        site: what is served.
        service: its messages.
    """

    def __init__(self, site: Site, service: Service) -> None:
        self._site, self._service, self._messages = site, service, service.messages

    def handler(self) -> Any:
        """Return what a server of grpc.aio takes."""
        methods: dict[str, Callable[[Any, Context], Awaitable[Any]]] = {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "ModelInfer": self.model_infer,
        }
        found = {}
        for name, (request, _) in self._service.methods.items():
            is_infer = name == "ModelInfer"  # its bytes are read by `model_infer`, which may take a thread
            found[name] = grpc.unary_unary_rpc_method_handler(
                partial(self._guarded, name, methods[name]),
                request_deserializer=None if is_infer else self._messages[request].FromString,
                response_serializer=None if is_infer else _serialized,
            )
        return grpc.method_handlers_generic_handler(self._service.name, found)

    async def _guarded(
        self, name: str, do: Callable[[Any, Context], Awaitable[Any]], request: Any, context: Context
    ) -> Any:
        """Let a call in by its key, and tell refusals as statuses.

        Of failures it tells nothing but that they were.
        """
        try:
            gate = self._site.gate
            if not (gate.is_open or name in UNLOCKED or name == "ModelInfer"):  # `Hot` asks for its key itself
                entered = gate.enter(key_of(_headers(context)))
                if isinstance(entered, Refusal):
                    return await _abort(context, entered)
            return await do(request, context)
        except HTTPException as error:
            return await _abort(context, Refusal(error.status_code, error.detail))
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            emit(f"{name}: {type(error).__name__}: {error}", ERROR)
            return await _abort(context, INTERNAL)

    async def server_live(self, request: Any, context: Context) -> Any:
        """Say that the process runs."""
        return self._messages["ServerLiveResponse"](live=True)

    async def server_ready(self, request: Any, context: Context) -> Any:
        """Say whether requests are taken."""
        return self._messages["ServerReadyResponse"](ready=not self._site.front.draining)

    async def model_ready(self, request: Any, context: Context) -> Any:
        """Say whether a version of a model is ready."""
        self._site.find(request.name, request.version or None)
        return self._messages["ModelReadyResponse"](ready=not self._site.front.draining)

    async def server_metadata(self, request: Any, context: Context) -> Any:
        """Describe the server."""
        return self._messages["ServerMetadataResponse"](**metadata.server_metadata())

    async def model_metadata(self, request: Any, context: Context) -> Any:
        """Describe a version of a model."""
        instance = self._site.find(request.name, request.version or None)
        versions = [*self._site.models[instance.name].versions]
        told = metadata.model_metadata(instance.served, instance.name, versions)
        return tensors.fill_metadata(self._messages["ModelMetadataResponse"](), told)

    async def model_infer(self, data: bytes, context: Context) -> Any:
        """Answer rows, in the batches of all who ask."""
        began = monotonic()
        read = self._messages["ModelInferRequest"].FromString
        try:
            if len(data) > LARGE_BODY:
                message = await asyncio.get_running_loop().run_in_executor(None, read, data)
            else:
                message = read(data)
        except DecodeError:
            return await _abort(context, Refusal(400, "this is no ModelInferRequest"))
        named = message.model_version or None
        found = self._site.find(message.model_name, named)
        route = Route(
            "grpc",
            self._site.models[found.name],
            dict(self._site.instances[found.name]),
            None if named is None else found.version,
            partial(_question, message, self._messages["ModelInferResponse"]),
        )
        call: Any = Call(route, _headers(context), data, context.peer().rpartition(":")[0], began)
        hot = self._site.front.hot
        refusal = hot.begin(call)
        if refusal is not None:
            return await _abort(context, refusal)
        hot.answer(call)
        try:
            lines, result = await call.answered
        except asyncio.CancelledError:
            call.disconnected = True
            hot.left(call)
            raise
        context.set_trailing_metadata(_metadata(lines))
        return await _abort(context, result, lines) if isinstance(result, Refusal) else result


def _question(message: Any, response: Callable[[], Any], asked: Asked, body: bytes) -> Question:
    """Make rows of a message that is read already."""
    instance, served = asked.instance, asked.instance.served
    request = tensors.decode(served, message)

    def finish(answers: list[Answer]) -> tuple[bytes, bytes]:
        return b"", tensors.encode(response(), served, request, answers, (instance.name, instance.version))

    return Question(request.rows, finish, tensors.explains(request))


async def _abort(context: Context, refusal: Refusal, lines: bytes = b"") -> None:
    """End a call with a refusal."""
    retry = () if refusal.retry_s is None else (("retry-after", str(refusal.retry_s)),)
    code = ((("x-danlu-code", refusal.code),)) if refusal.code else ()
    status = STATUSES.get(refusal.status, grpc.StatusCode.INTERNAL)
    await context.abort(status, refusal.message, (*_metadata(lines), *retry, *code))


def _metadata(lines: bytes) -> tuple[tuple[str, str], ...]:
    """Return lines of headers as metadata."""
    pairs = (line.partition(": ") for line in lines.decode("latin-1").split("\r\n") if line)
    return tuple((name, value) for name, _, value in pairs)


def _headers(context: Context) -> Headers:
    """Return a call's metadata as headers, its time as that of a deadline."""
    told = {name: value for name, value in context.invocation_metadata() or () if name in HEADERS}
    left = context.time_remaining()
    if left is not None and "x-deadline-ms" not in told:
        told["x-deadline-ms"] = f"{max(left, 1e-6) * 1000:.3f}"
    return [(name.encode(), value.encode("latin-1")) for name, value in told.items()]


def _serialized(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
