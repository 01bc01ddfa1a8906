"""The predict routes: a request's bytes in, its answer's bytes out, by way of the batcher of the version it names.

`POST /predict/N` with the user's own columns, `POST /v2/models/N[/versions/V]/infer` of the Open Inference Protocol.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic, time
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from danlu.core.console import emit_traceback
from danlu.serving import plain
from danlu.serving.answering import Answer
from danlu.serving.batching import INTERNAL, Job
from danlu.serving.http.envelope import TOO_LONG, RequestIds, enter, id_line, inflated, patience
from danlu.serving.http.protocol import JSON, Exchange, path_of
from danlu.serving.instance import Instance, Question, finished
from danlu.serving.keys import Gate, Key
from danlu.serving.limits import Limits
from danlu.serving.outputs import EXPLANATION
from danlu.serving.refusals import Refusal, Refused, overloaded
from danlu.serving.request_log import RequestLog
from danlu.serving.store import Model
from danlu.serving.tracing import Traces
from danlu.serving.v2 import requests, responses

JOBS = b"/jobs"  # takes files
LARGE_BODY = 65_536  # bytes; what is larger is decoded in a thread
ON_THE_WAY = 0.1  # of a deadline: a request waits to be read, and its answer is written and read, unseen from here
MOST_EXPLAINING = 8  # explanations that wait; each may take a second
JSON_LENGTH = b"inference-header-content-length"
BINARY = b"content-type: application/octet-stream\r\n"


@dataclass(frozen=True)
class Route:
    """Say what a path asks for.

    Attributes:
        kind: predict, v2 or grpc.
        model: that is asked.
        instances: its versions.
        version: that the path names; None where the policy decides.
        decode: a request and its body -> rows, and what makes an answer of theirs.
    """

    kind: str
    model: Model
    instances: dict[str, Instance]
    version: str | None
    decode: "Callable[[Asked, bytes], Question]"


class Asked:
    """Hold what is known of a request while it waits.

    Attributes:
        instance: that answers it.
        route: that it came by.
        request_id: the client's, or a new one.
        headers: by their names.
        decoded: when its body began to be decoded and was, in monotonic seconds.
        job: once its rows wait.
    """

    __slots__ = ("decoded", "headers", "instance", "job", "request_id", "route")

    def __init__(self, instance: Instance, route: Route, request_id: str, headers: dict[bytes, bytes]) -> None:
        self.instance, self.route, self.request_id, self.headers = instance, route, request_id, headers
        self.decoded = (0.0, 0.0)
        self.job: Job | None = None


class Hot:
    """Answer the predict routes; see `protocol.Handler`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        gate: Gate,
        log: RequestLog | None = None,
        traces: Traces | None = None,
        ids: RequestIds | None = None,
    ) -> None:
        self._loop, self.limits, self._gate, self._log, self._traces = loop, limits, gate, log, traces
        self._job_limits = limits.for_job()
        self.draining = False
        self._routes: dict[bytes, Route] = {}
        self._ids = RequestIds() if ids is None else ids
        self._explainer, self._explaining = ThreadPoolExecutor(1, thread_name_prefix="danlu-explain"), 0

    def add(self, model: Model, instances: dict[str, Instance]) -> None:
        """Answer the routes of a model."""
        root, plain_root = b"/v2/models/" + model.name.encode(), b"/predict/" + model.name.encode()
        names = (*model.versions, *model.policy.aliases)
        named = {b"/versions/" + name.encode(): model.resolve(name) for name in names}
        for path, version in {b"": None, **named}.items():
            self._routes[plain_root + path] = Route("predict", model, instances, version, _plain)
            self._routes[root + path + b"/infer"] = Route("v2", model, instances, version, _v2)

    def route(self, method: bytes, target: bytes) -> Route | None:
        """Return what a request asks for; None for all but the predict routes."""
        if method != b"POST":
            return None
        found = self._routes.get(target)
        return found or self._routes.get(unquote_to_bytes(path_of(target)))

    def limits_of(self, target: bytes) -> Limits:
        """Return the limits of a request; a job's file may be larger than others."""
        return self._job_limits if path_of(target) == JOBS else self.limits

    def begin(self, exchange: Exchange) -> Refusal | None:
        """Look at a request's headers: its key, its length, its deadline."""
        entered = enter(exchange, self._gate, self.limits)
        if not isinstance(entered, Refusal):
            exchange.data = entered
            return None
        if entered.status != TOO_LONG:
            self._first(exchange.route).count(exchange.route.kind, entered.status)
        return entered

    def answer(self, exchange: Exchange) -> None:
        """Decode a request, and hand its rows to the version that answers it."""
        headers = exchange.named
        route: Route = exchange.route
        owner: Key | None = exchange.data
        client = exchange.client if owner is None else owner.name
        request_id = self._ids.of(headers)
        version = route.version or route.model.version_for(request_id)
        instance = route.instances[version]
        exchange.data = asked = Asked(instance, route, request_id, headers)
        wait_s = patience(headers, self.limits.answer_s)
        if isinstance(wait_s, Refusal):
            self._refuse(exchange, asked, wait_s)
            return
        deadline = exchange.began + (1 - ON_THE_WAY) * wait_s
        late = instance.batcher.too_late(deadline)
        if late is not None:
            self._refuse(exchange, asked, late)
            return
        if len(exchange.body) > LARGE_BODY or b"content-encoding" in headers:
            decoding = self._loop.run_in_executor(None, self._decode, asked, exchange.body)
            decoding.add_done_callback(lambda done: self._submit(exchange, asked, done.result(), client, deadline))
        else:
            self._submit(exchange, asked, self._decode(asked, exchange.body), client, deadline)

    def left(self, exchange: Exchange) -> None:
        """Forget a request whose client has left."""
        asked = exchange.data
        if isinstance(asked, Asked):
            asked.instance.left.add()
            if asked.job is not None:
                asked.instance.batcher.cancel(asked.job)
                asked.job = None

    def refusal_body(self, target: bytes, refusal: Refusal) -> bytes:
        """Return the JSON that tells a refusal."""
        return refusal.body()

    def is_pressed(self, exchange: Exchange) -> bool:
        """Return whether more rows wait than the next batch holds."""
        asked = exchange.data
        return isinstance(asked, Asked) and asked.instance.batcher.waiting_rows > self.limits.batch_rows

    def _first(self, route: Route) -> Instance:
        return route.instances[route.version or route.model.default]

    def _decode(self, asked: Asked, body: bytes | bytearray) -> Question | Refusal:
        """Make rows of a body."""
        began = monotonic()
        try:
            question = asked.route.decode(asked, inflated(asked.headers, body, self.limits.body_bytes))
        except Refused as refused:
            return Refusal.of(refused)
        ended = monotonic()
        asked.decoded = began, ended
        asked.instance.stages["decode"].observe(ended - began)
        if question.rows.count > self.limits.rows:
            return Refusal(413, f"more than {self.limits.rows:,} rows; send fewer at a time")
        return question

    def _submit(
        self, exchange: Exchange, asked: Asked, question: Question | Refusal, client: str, deadline: float
    ) -> None:
        if exchange.disconnected:
            return
        if isinstance(question, Refusal):
            self._refuse(exchange, asked, question)
            return
        job = Job(
            question,
            question.rows.count,
            len(exchange.body),
            client,
            deadline,
            lambda result: self._computed(exchange, asked, question, result),
            asked.instance.bucket_of(len(exchange.body), question.rows.count),
        )
        asked.job = job
        refusal = asked.instance.batcher.submit(job)
        if refusal is not None:
            self._refuse(exchange, asked, refusal)

    def _computed(self, exchange: Exchange, asked: Asked, question: Question, result: Any) -> None:
        """Write an answer, or have it explained first."""
        if not question.explains or isinstance(result, Refusal):
            self._done(exchange, asked, question, result)
            return
        if self._explaining >= MOST_EXPLAINING:
            self._refuse(exchange, asked, overloaded("too many explanations are being computed", MOST_EXPLAINING))
            return
        self._explaining += 1

        def explained(done: "asyncio.Future[Any]") -> None:
            self._explaining -= 1
            error = done.exception()
            if error is not None:
                emit_traceback(error)
            self._done(exchange, asked, question, INTERNAL if error is not None else done.result())

        self._loop.run_in_executor(self._explainer, finished, question).add_done_callback(explained)

    def _done(self, exchange: Exchange, asked: Asked, question: Question, result: Any) -> None:
        """Write an answer, and take note of it."""
        if exchange.disconnected:
            return
        if isinstance(result, Refusal):
            self._refuse(exchange, asked, result)
            return
        headers, body = result
        instance, asked_body = asked.instance, exchange.body
        exchange.reply(200, headers + instance.head + id_line(asked.request_id), body)
        instance.answered(asked.route.kind, question, monotonic() - exchange.began)
        if self._traces is not None:
            self._trace(self._traces, exchange, asked, 200)
        if self._log is not None:
            self._write_log(self._log, asked, question)
        if asked.route.model.policy.shadow is not None:
            self._shadow(asked, question, asked_body)
        asked.job = None  # it leads back here: requests end without the garbage collector

    def _trace(self, traces: Traces, exchange: Exchange, asked: Asked, status: int) -> None:
        """Make the spans of a request that is answered or refused."""
        now, job, instance = monotonic(), asked.job, asked.instance
        attributes: dict[str, str | int] = {
            "danlu.model": instance.name,
            "danlu.version": instance.version,
            "danlu.digest": instance.served.digest,
            "danlu.request_id": asked.request_id,
        }
        stages = [("request", exchange.began, now)]
        decoding, decoded = asked.decoded
        if decoded:
            stages += [("receive", exchange.began, decoding), ("decode", decoding, decoded)]
        if job is not None:
            attributes["danlu.rows"] = job.rows
            computing, computed = job.computed
            if computed:
                attributes["danlu.batch_rows"] = job.place[1]
                queue = ("queue", job.queued_at, computing)
                stages += [queue, ("compute", computing, computed), ("write", computed, now)]
        name = f"{asked.route.kind} {instance.name}"
        traces.record(name, asked.headers, stages, status, attributes)

    def _write_log(self, log: RequestLog, asked: Asked, question: Question) -> None:
        assert asked.job is not None, "it was computed"
        number, rows, start = asked.job.place
        model = f"{asked.instance.name}/{asked.instance.version}"
        batch = (f"{self._ids.prefix}-{model}-{number}", rows, start)
        log.write(asked.request_id, time(), model, asked.instance.served, batch, question.rows, question.answers)

    def _refuse(self, exchange: Exchange, asked: Asked, refusal: Refusal) -> None:
        exchange.refuse(refusal, asked.instance.head + id_line(asked.request_id))
        asked.instance.count(asked.route.kind, refusal.status)
        if self._traces is not None:
            self._trace(self._traces, exchange, asked, refusal.status)
        asked.job = None

    def _shadow(self, asked: Asked, answered: Question, body: bytes | bytearray) -> None:
        """Ask the shadow the same, now that nobody waits for it, and compare."""
        shadow = asked.route.instances[str(asked.route.model.policy.shadow)]
        if shadow is asked.instance or shadow.batcher.waiting_rows > self.limits.batch_rows:
            return
        question = self._decode(Asked(shadow, asked.route, asked.request_id, asked.headers), body)
        if isinstance(question, Refusal):
            return
        question.explains, question.finish = False, _decided
        counted, said = asked.instance, _decided(answered.answers)

        def done(result: Any) -> None:
            counted.shadowed.add()
            if result != said:
                counted.differing.add()

        deadline = monotonic() + self.limits.answer_s
        shadow.batcher.submit(Job(question, question.rows.count, len(body), "shadow", deadline, done))


def _decided(answers: list[Answer]) -> list[dict[str, Any]]:
    """Return what answers decide, without how sure they are."""
    return [{name: cell for name, cell in row.items() if name.startswith("prediction")} for row in answers]


def _plain(asked: Asked, body: bytes) -> Question:
    """Read a plain request: rows of the user's own columns."""
    served = asked.instance.served
    content_type = asked.headers.get(b"content-type")
    rows = plain.decode(served, body, None if content_type is None else content_type.decode("latin-1"))
    opening = asked.instance.opening + b',"request_id":' + msgspec.json.encode(asked.request_id) + b',"answers":'

    def finish(answers: list[Answer]) -> tuple[bytes, bytes]:
        return JSON, opening + msgspec.json.encode(plain.finish(served, rows, answers)) + b"}"

    return Question(rows, finish, rows.explain)


def _v2(asked: Asked, body: bytes) -> Question:
    """Read a request of the Open Inference Protocol."""
    instance, served = asked.instance, asked.instance.served
    length = asked.headers.get(JSON_LENGTH)
    if length is not None and not length.isdigit():
        raise Refused("Inference-Header-Content-Length: give the number of bytes of the JSON")
    request = requests.decode(served, body, None if length is None else int(length))
    responses.require_outputs(served, request)

    def finish(answers: list[Answer]) -> tuple[bytes, bytes]:
        text, size = responses.encode(served, request, answers, instance.name, instance.version)
        return (JSON if size is None else BINARY + JSON_LENGTH + b": %d\r\n" % size), text

    explains = any(output.name == EXPLANATION for output in request.outputs or ())
    return Question(request.rows, finish, explains)
