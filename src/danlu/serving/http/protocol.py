"""HTTP/1.1 for a server whose predict routes leave ASGI: uvicorn's httptools protocol with a short way for them.

All that makes uvicorn's protocol sound (keep-alive, pipelining, flow control, draining) is inherited; a request whose
path a `Handler` knows becomes an `Exchange` instead of an ASGI task. Limits of size and time hold for every request,
whichever way it takes. Knows nothing of models.
"""

import asyncio
from time import monotonic
from typing import Any, Protocol, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from danlu.serving.limits import Limits
from danlu.serving.refusals import Refusal, overloaded

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LINGER_S = 1.0  # a client that still sends what was refused is listened to, else it would not read the reason
JSON = b"content-type: application/json\r\n"
TOO_LARGE_HEAD = Refusal(431, "the request's line and headers are too long")
TOO_SLOW = Refusal(408, "the request did not arrive in time")
NOT_HTTP = Refusal(400, "this is no HTTP/1.1 request")

Headers = list[tuple[bytes, bytes]]


class Handler(Protocol):
    """Answer the requests of some routes."""

    limits: Limits
    draining: bool

    def route(self, method: bytes, target: bytes) -> Any | None:
        """Return what `begin` is to know of a request; None where ASGI answers it.

        Args:
            target: the path, and the query after it.
        """

    def limits_of(self, target: bytes) -> Limits:
        """Return the limits of a request, by its target."""

    def begin(self, exchange: "Exchange") -> Refusal | None:
        """Look at a request's headers, before its body is read."""

    def answer(self, exchange: "Exchange") -> None:
        """Answer a whole request, now or later.

        By one call of `reply` or `refuse`, or by `open`, `send` and `finish`.
        """

    def left(self, exchange: "Exchange") -> None:
        """Forget a request that was handed to `answer` and whose client has left."""

    def is_pressed(self, exchange: "Exchange") -> bool:
        """Return whether more waits than can be answered for clients that may have left."""

    def refusal_body(self, target: bytes, refusal: Refusal) -> bytes:
        """Return the JSON that tells a refusal, in the form of the path's protocol."""


class _NoEvent:
    def set(self) -> None:
        """Tell nobody: an exchange waits for nothing."""


class Exchange:
    """Hold one request of a short route and write its answer once.

    The names without a docstring are those that uvicorn's protocol asks of a cycle.

    Attributes:
        route: as `Handler.route` gave it.
        headers: names in lower case, with their values.
        named: the same by their names.
        body: whole when `Handler.answer` is called.
        client: the address of the client.
        began: the monotonic time when the request's first byte had come.
        data: of the handler.
    """

    message_event = _NoEvent()

    __slots__ = (
        "_chunked",
        "_protocol",
        "_started",
        "_target",
        "_waits_for_100",
        "began",
        "body",
        "data",
        "disconnected",
        "handed",
        "headers",
        "keep_alive",
        "more_body",
        "named",
        "response_complete",
        "response_started",
        "route",
    )

    def __init__(self, protocol: "HotProtocol", route: Any, headers: Headers, keep_alive: bool, waits: bool) -> None:
        self._protocol, self.route, self.headers, self.keep_alive = protocol, route, headers, keep_alive
        self._target = protocol.url
        self._waits_for_100, self._started = waits, False
        self._chunked = protocol.parser.get_http_version() == "1.1"
        self.named = dict(headers)
        self.body: bytes | bytearray = b""
        self.began = protocol.began
        self.data: Any = None
        self.more_body, self.handed = True, False
        self.response_started = self.response_complete = self.disconnected = False

    @property
    def client(self) -> str:
        """The client's address."""
        return self._protocol.client[0] if self._protocol.client else "local"

    def take(self, part: bytes) -> None:
        """Take a part of the body; mostly there is but one, which is not copied."""
        if not self.body:
            self.body = part
        elif isinstance(self.body, bytearray):
            self.body += part
        else:
            self.body = bytearray(self.body) + part

    def start(self) -> None:
        """Begin, once the answers to all earlier requests of the connection are written."""
        self._started = True
        if self.more_body and self._waits_for_100:
            self._waits_for_100 = False
            self._protocol.transport.write(CONTINUE)
        if not self.more_body:
            self.hand_over()

    def complete(self) -> None:
        """Take note that the whole body is there."""
        self.more_body = False
        if self._started:
            self.hand_over()

    def hand_over(self) -> None:
        """Let the handler answer, unless the request was refused before."""
        if not (self.handed or self.response_complete):
            self.handed = True
            self._protocol.handler.answer(self)

    def refuse(self, refusal: Refusal, headers: bytes = b"") -> None:
        """Answer with a refusal."""
        body = self._protocol.handler.refusal_body(self._target, refusal)
        self.reply(refusal.status, JSON + retry_line(refusal) + headers, body)

    def reply(self, status: int, headers: bytes, body: bytes) -> None:
        """Write the answer.

        Args:
            status: of HTTP.
            headers: lines that end with CRLF each, without the length.
            body: the whole of it.
        """
        if self.disconnected or self.response_complete:
            return
        self.response_started = self.response_complete = True
        self._forget()
        self._protocol.write_answer(self, status, headers, body)

    def open(self, headers: bytes) -> None:
        """Begin an answer whose length is not known, with status 200.

        Args:
            headers: lines that end with CRLF each.
        """
        if self.disconnected or self.response_started:
            return
        self.response_started = True
        if not self._chunked:  # its end is that of the connection
            self.keep_alive = False
        length = b"transfer-encoding: chunked\r\n\r\n" if self._chunked else b"\r\n"
        self._protocol.open_answer(self, headers + length)

    def send(self, part: bytes) -> None:
        """Write a part of an answer that was opened."""
        if not (self.disconnected or self.response_complete):
            self._protocol.transport.write(b"%x\r\n%b\r\n" % (len(part), part) if self._chunked else part)

    def finish(self) -> None:
        """End an answer that was opened."""
        if self.disconnected or self.response_complete:
            return
        self.response_complete = True
        self._forget()
        self._protocol.end_answer(self, b"0\r\n\r\n" if self._chunked else b"")

    def _forget(self) -> None:
        """Let go what the request held: the connection keeps its latest exchange."""
        self.body = b""
        self.data = None


class HotProtocol(HttpToolsProtocol):
    """Speak HTTP/1.1: the handler's routes at once, all others by ASGI."""

    def __init__(
        self,
        handler: Handler,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.handler, self.limits = handler, handler.limits
        self.url = b""
        self.began = 0.0  # of the request that is being read
        self.idle_since = self.write_paused_since = 0.0
        self.head_bytes, self.body_bytes, self.in_head = 0, 0, True
        self.reading = self.deaf = False  # in the middle of a request; nothing more is read from this client
        self.defaults: Headers = []  # header lines that all answers have, and their text
        self.default_lines = b""
        self.busy = self.advancing = False  # a request is being answered; the next ones are being begun

    # -- of the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.idle_since = monotonic()
        if len(self.connections) > self.limits.connections:
            self.refuse_connection(overloaded("too many connections are open", 1.0))

    def connection_lost(self, exc: Exception | None) -> None:
        waiting = [self.cycle, *(cycle for cycle, _ in self.pipeline)]
        for cycle in waiting:
            if isinstance(cycle, Exchange) and not cycle.disconnected:
                cycle.disconnected = True
                if cycle.handed and not cycle.response_complete:
                    self.handler.left(cycle)
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Keep the connection for the answers to what was asked.

        That nothing more comes says no more than that.

        A client that has left looks the same until something is written to it. Where more waits than a batch holds it
        is taken for one. TLS knows no half of a connection.
        """
        cycle = self.cycle
        if cycle is None or cycle.response_complete or cycle.more_body or self.scheme == "https":
            return None
        if isinstance(cycle, Exchange) and self.handler.is_pressed(cycle):
            return None
        cycle.keep_alive = False
        return True

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            return
        super().data_received(data)
        if self.in_head and not self.deaf:
            self.head_bytes += len(data)
            if self.head_bytes > self.limits.head_bytes:
                self.refuse_connection(TOO_LARGE_HEAD)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.write_paused_since = monotonic()
        self.flow.pause_reading()  # who does not take answers gets no more questions

    def resume_writing(self) -> None:
        super().resume_writing()
        self.advance()
        if not (self.pipeline or self.flow.write_paused):
            self.flow.resume_reading()

    # -- of the parser

    def on_message_begin(self) -> None:
        # What ASGI is told of a request is made only for those that take that way.
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self.limits = self.handler.limits
        self.in_head, self.body_bytes = True, 0
        self.reading, self.began = True, monotonic()

    def on_headers_complete(self) -> None:
        self.in_head, self.head_bytes = False, 0
        if self.deaf:
            return
        self.limits = self.handler.limits_of(self.url)
        route = self.handler.route(self.parser.get_method(), self.url)
        if route is None or self.parser.should_upgrade():
            self._begin_asgi()
            if self.handler.draining:
                self.cycle.keep_alive = False
            return
        keep_alive = self.parser.should_keep_alive() and not self.handler.draining
        exchange = Exchange(self, route, self.headers, keep_alive, self.expect_100_continue)
        earlier, self.cycle = self.cycle, cast(Any, exchange)
        refusal = self.handler.begin(exchange)
        if refusal is not None:
            exchange.keep_alive = False  # its body is not read
        if refusal is not None:
            exchange.data = refusal
        if (earlier is None or earlier.response_complete) and not self.flow.write_paused:
            self._start_asgi_task(exchange, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cast(Any, exchange), self.app))

    def _begin_asgi(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.headers.extend(headers)
        self.url, self.expect_100_continue = url, expects
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self.deaf:
            return
        self.body_bytes += len(body)
        if self.body_bytes > self.limits.body_bytes:
            self.refuse_body()
        elif not isinstance(self.cycle, Exchange):
            super().on_body(body)
        elif not self.cycle.response_complete:
            self.cycle.take(body)

    def on_message_complete(self) -> None:
        self.reading, self.in_head = False, True
        if self.deaf:
            return
        if isinstance(self.cycle, Exchange):
            self.cycle.complete()
        else:
            super().on_message_complete()

    # -- of uvicorn's protocol

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self.busy = True
        if not isinstance(cycle, Exchange):
            super()._start_asgi_task(cycle, app)
        elif isinstance(cycle.data, Refusal):
            cycle.refuse(cycle.data)
        else:
            cycle.start()

    def on_response_complete(self) -> None:
        """Go on with the next request of the connection.

        Idle connections are closed by `sweep`, not by a timer each.
        """
        self.server_state.total_requests += 1
        self.busy = False
        if self.transport.is_closing() or self.deaf:
            return
        self.idle_since = monotonic()
        if not self.flow.write_paused:
            self.flow.resume_reading()
        self.advance()

    def advance(self) -> None:
        """Begin the requests that came before earlier ones were answered, one after the other."""
        if self.advancing:  # within the loop below: what is answered at once does not nest
            return
        self.advancing = True
        while self.pipeline and not (self.busy or self.flow.write_paused or self.deaf):
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        self.advancing = False

    def shutdown(self) -> None:
        """Close the connection, unless a request is on its way: its answer will close it."""
        if self.deaf or not self.reading:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, after the answers to what was."""
        self.refuse_connection(NOT_HTTP)

    # -- answers

    def write_answer(self, exchange: Exchange, status: int, headers: bytes, body: bytes) -> None:
        """Write an answer in one piece."""
        head = self._head(exchange, status, headers)
        self.transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
        self._answered(exchange)

    def open_answer(self, exchange: Exchange, headers: bytes) -> None:
        """Begin an answer whose parts follow; its headers end with an empty line."""
        self.transport.write(self._head(exchange, 200, headers))

    def end_answer(self, exchange: Exchange, last: bytes) -> None:
        """Write the last bytes of an answer that was opened."""
        self.transport.write(last)
        self._answered(exchange)

    def _head(self, exchange: Exchange, status: int, headers: bytes) -> bytes:
        """Return an answer's first lines."""
        if self.handler.draining:
            exchange.keep_alive = False
        defaults = self.server_state.default_headers
        if defaults is not self.defaults:  # uvicorn makes them anew each second
            self.defaults, self.default_lines = defaults, b"".join(b"%b: %b\r\n" % header for header in defaults)
        closes = b"" if exchange.keep_alive else b"connection: close\r\n"
        return STATUS_LINE[status] + self.default_lines + closes + headers

    def _answered(self, exchange: Exchange) -> None:
        """Go on after an answer, or close the connection."""
        if self.handler.draining:
            exchange.keep_alive = False
        if not exchange.keep_alive:
            self.close_soon(wait=exchange.more_body)
        self.on_response_complete()

    def refuse_body(self) -> None:
        """Refuse a body that is larger than allowed, and read no more of it."""
        said = f"the body is larger than {self.limits.body_bytes:,} bytes; send fewer rows at a time"
        self.refuse_connection(Refusal(413, said))

    def refuse_connection(self, refusal: Refusal) -> None:
        """Refuse the request that is being read, and close the connection.

        Where an earlier one is being answered, the connection ends with that answer.
        """
        if self.deaf or self.transport.is_closing():
            return
        cycle = self.cycle
        self.deaf = True
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            cycle.keep_alive = False  # an earlier request is being answered: the connection ends with that
            self.pipeline.clear()
            return
        begun = cycle is not None and not cycle.response_complete and cycle.response_started
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True  # an ASGI application that reads the body is told that nobody waits
            cycle.message_event.set()
        if not begun:
            body = self.handler.refusal_body(self.url, refusal)
            head = STATUS_LINE[refusal.status] + JSON + b"connection: close\r\n" + retry_line(refusal)
            self.transport.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        self.close_soon(wait=True)

    def close_soon(self, wait: bool) -> None:
        """Close the connection after what was written.

        Args:
            wait: the client may still be sending, and would lose the answer if nobody listened.
        """
        self.deaf = True
        if not wait:
            self.transport.close()
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(LINGER_S, self.transport.close)

    # -- time

    def sweep(self, now: float) -> None:
        """End a connection that took too long.

        To send, to take its answer, or between two requests.
        """
        limits, cycle = self.limits, self.cycle
        if self.flow.write_paused:
            if now - self.write_paused_since > limits.write_s:
                self.transport.abort()
        elif self.reading and not self.deaf and not self.flow.read_paused:
            if now - self.began > limits.read_s:
                self.refuse_connection(TOO_SLOW)
        elif (cycle is None or cycle.response_complete) and now - self.idle_since > limits.idle_s:
            self.transport.close()


def retry_line(refusal: Refusal) -> bytes:
    """Return the header that says when to try again; nothing where that would not help."""
    return b"" if refusal.retry_s is None else b"retry-after: %d\r\n" % refusal.retry_s


def path_of(target: bytes) -> bytes:
    """Return the path of a request's target, without its query."""
    if not target.startswith(b"/"):  # of a proxy: http://host/path
        target = httptools.parse_url(target).path or b"/"
    return target.partition(b"?")[0]
