"""The protocol alone, with a handler that is no model, so that limits can be short."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from danlu.serving.http.protocol import JSON, Exchange, HotProtocol
from danlu.serving.limits import Limits
from danlu.serving.refusals import Refusal

ASK = b"POST /hot HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi"


class Handler:
    """Answers the length of a body, at once or when it is told to."""

    def __init__(self, limits: Limits, answer: Callable[[Exchange], None] | None = None) -> None:
        self.limits, self.draining = limits, False
        self.given_up: list[Exchange] = []
        self.pressed = False
        self._answer = answer

    def route(self, method: bytes, target: bytes) -> bool | None:
        return True if target == b"/hot" else None

    def limits_of(self, target: bytes) -> Limits:
        return self.limits

    def begin(self, exchange: Exchange) -> Refusal | None:
        return None

    def answer(self, exchange: Exchange) -> None:
        if self._answer is not None:
            self._answer(exchange)
        else:
            exchange.reply(200, JSON, b"%d" % len(exchange.body))

    def left(self, exchange: Exchange) -> None:
        self.given_up.append(exchange)

    def is_pressed(self, exchange: Exchange) -> bool:
        return self.pressed

    def refusal_body(self, target: bytes, refusal: Refusal) -> bytes:
        return refusal.body()


class Site:
    """A listening server, and what it knows of its connections."""

    def __init__(self, port: int, state: ServerState) -> None:
        self.port, self.state = port, state

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    def sweep(self, later_s: float) -> None:
        now = asyncio.get_running_loop().time()
        for connection in list(self.state.connections):
            assert isinstance(connection, HotProtocol)
            connection.sweep(now + later_s)

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not met():
                await asyncio.sleep(0.001)


async def page(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[Site]:
    config = uvicorn.Config(page, lifespan="off", ws="none", log_config=None)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: HotProtocol(handler, config, state, {}, loop), "127.0.0.1", 0)
    try:
        yield Site(server.sockets[0].getsockname()[1], state)
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()


def test_who_sends_too_slowly_is_told_and_sent_away() -> None:
    async def main() -> None:
        async with listening(Handler(Limits(read_s=5))) as site:
            reader, writer = await site.connect()
            writer.write(ASK[:-1])
            await site.until(lambda: any(each.reading for each in site.state.connections))  # type: ignore[union-attr]
            site.sweep(4)
            site.sweep(6)
            assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
            writer.close()

    asyncio.run(main())


def test_idle_connections_are_closed_and_those_that_wait_for_an_answer_are_not() -> None:
    waiting: list[Exchange] = []

    async def main() -> None:
        async with listening(Handler(Limits(idle_s=5), waiting.append)) as site:
            (idle, one), (asks, two) = await site.connect(), await site.connect()
            two.write(ASK)
            await site.until(lambda: len(waiting) == 1 and len(site.state.connections) == 2)
            site.sweep(60)
            assert await idle.read() == b""
            waiting[0].reply(200, JSON, b"late")
            assert (await asks.readuntil(b"late")).startswith(b"HTTP/1.1 200 ")
            one.close()
            two.close()

    asyncio.run(main())


def test_who_does_not_take_answers_is_asked_no_more_and_sent_away() -> None:
    async def main() -> None:
        handler = Handler(Limits(write_s=5), lambda exchange: exchange.reply(200, JSON, b"x" * 2**20))
        async with listening(handler) as site:
            _, writer = await site.connect()
            writer.write(ASK * 200)
            (connection,) = site.state.connections
            assert isinstance(connection, HotProtocol)
            await site.until(lambda: connection.flow.write_paused)
            assert connection.flow.read_paused
            assert connection.transport.get_write_buffer_size() < 50 * 2**20
            site.sweep(4)
            assert connection in site.state.connections
            site.sweep(6)
            await site.until(lambda: not site.state.connections)
            writer.close()

    asyncio.run(main())


def test_a_client_that_leaves_is_reported_once_while_it_is_waited_for() -> None:
    waiting: list[Exchange] = []

    async def main() -> None:
        handler = Handler(Limits(), waiting.append)
        async with listening(handler) as site:
            _, writer = await site.connect()
            writer.write(ASK)
            await site.until(lambda: len(waiting) == 1)
            reset = struct.pack("ii", 1, 0)  # linger for no time
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            writer.close()
            await site.until(lambda: not site.state.connections)
            assert handler.given_up == waiting
            waiting[0].reply(200, JSON, b"to nobody")

    asyncio.run(main())


def test_a_client_that_closes_its_sending_half_gets_all_that_it_asked_for() -> None:
    waiting: list[Exchange] = []

    async def main() -> None:
        handler = Handler(Limits(), waiting.append)
        async with listening(handler) as site:
            reader, writer = await site.connect()
            writer.write(ASK + ASK)
            writer.write_eof()
            for number in (1, 2):
                await site.until(lambda number=number: len(waiting) == number)  # type: ignore[misc]
                await asyncio.sleep(0.01)
                waiting[-1].reply(200, JSON, b"no. %d" % number)
            found = await reader.read()
            assert found.count(b"HTTP/1.1 200 ") == 2 and found.endswith(b"no. 2")
            assert found.count(b"connection: close") == 1
            await site.until(lambda: not site.state.connections)
            assert not handler.given_up
            writer.close()

    asyncio.run(main())


def test_a_half_closed_client_counts_as_left_while_too_much_waits() -> None:
    waiting: list[Exchange] = []

    async def main() -> None:
        handler = Handler(Limits(), waiting.append)
        handler.pressed = True
        async with listening(handler) as site:
            reader, writer = await site.connect()
            writer.write(ASK)
            await site.until(lambda: len(waiting) == 1)
            writer.write_eof()
            assert await reader.read() == b""
            assert handler.given_up == waiting
            writer.close()

    asyncio.run(main())


def test_an_open_connection_keeps_nothing_of_an_answered_request() -> None:
    async def main() -> None:
        async with listening(Handler(Limits())) as site:
            reader, writer = await site.connect()
            writer.write(ASK)
            await reader.readuntil(b"\r\n\r\n2")
            (connection,) = site.state.connections
            kept: Any = connection.cycle  # type: ignore[union-attr]
            assert isinstance(kept, Exchange) and kept.body == b"" and kept.data is None
            writer.close()

    asyncio.run(main())


def test_while_draining_every_answer_closes_its_connection() -> None:
    async def main() -> None:
        handler = Handler(Limits())
        async with listening(handler) as site:
            pages, one = await site.connect()
            hot, two = await site.connect()
            two.write(ASK)
            assert b"connection: close" not in await hot.readuntil(b"\r\n\r\n2")
            handler.draining = True
            one.write(b"GET /page HTTP/1.1\r\nhost: x\r\n\r\n")
            two.write(ASK)
            for reader in (pages, hot):
                assert b"connection: close\r\n" in await reader.read()
            one.close()
            two.close()

    asyncio.run(main())


@pytest.mark.parametrize("rest", [b"\0garbage\r\n\r\n", b"POST /hot HTTP/1.1\r\ncontent-length: x\r\n\r\n"])
def test_garbage_behind_a_request_does_not_cost_its_answer(rest: bytes) -> None:
    waiting: list[Exchange] = []

    async def main() -> None:
        async with listening(Handler(Limits(), waiting.append)) as site:
            reader, writer = await site.connect()
            writer.write(ASK + rest)
            await site.until(lambda: len(waiting) == 1)
            waiting[0].reply(200, JSON, b"fine")
            found = await reader.read()
            assert found.startswith(b"HTTP/1.1 200 ") and found.endswith(b"fine") and found.count(b"HTTP/1.1") == 1
            writer.close()

    asyncio.run(main())


def test_thousands_of_requests_in_one_piece_are_answered_one_after_the_other() -> None:
    first: list[Exchange] = []

    def answer(exchange: Exchange) -> None:
        if first:
            exchange.reply(400, JSON, b"no")
        else:
            first.append(exchange)

    async def main() -> None:
        async with listening(Handler(Limits(), answer)) as site:
            reader, writer = await site.connect()
            writer.write(ASK * 1000)
            await site.until(lambda: len(first) == 1)
            await asyncio.sleep(0.05)
            first[0].reply(200, JSON, b"ok")
            for _ in range(1000):
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400"))
                await reader.readexactly(2)
            writer.close()

    asyncio.run(main())


def test_more_connections_than_allowed_are_told_to_come_again() -> None:
    async def main() -> None:
        async with listening(Handler(Limits(connections=1))) as site:
            first, one = await site.connect()
            await site.until(lambda: len(site.state.connections) == 1)
            second, two = await site.connect()
            found = await second.read()
            assert found.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1" in found
            one.write(ASK)
            assert (await first.readuntil(b"\r\n\r\n2")).startswith(b"HTTP/1.1 200 ")
            one.close()
            two.close()

    asyncio.run(main())


def test_a_request_whose_head_is_on_its_way_is_answered_while_draining() -> None:
    async def main() -> None:
        handler = Handler(Limits())
        async with listening(handler) as site:
            (begun, one), (idle, two) = await site.connect(), await site.connect()
            one.write(ASK[:20])
            await site.until(lambda: any(each.reading for each in site.state.connections))  # type: ignore[union-attr]
            handler.draining = True
            for connection in list(site.state.connections):
                connection.shutdown()
            assert await idle.read() == b""
            one.write(ASK[20:])
            assert (await begun.read()).startswith(b"HTTP/1.1 200 ")
            one.close()
            two.close()

    asyncio.run(main())
