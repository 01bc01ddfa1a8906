"""A worker: one process that answers requests until it is told to stop.

In: models that were loaded before the fork, a listening socket, a channel to the supervisor. It answers the golden
samples first, then says that it is ready, and drains when it is told to: no request that has begun is lost.
"""

import asyncio
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

import uvicorn
from uvicorn.config import Config
from uvicorn.server import ServerState

from danlu.artifacts.jobs import JobStore
from danlu.core.console import ERROR, emit
from danlu.core.threads import usable_cores
from danlu.errors import DanluError
from danlu.serving.control import Channel, Message
from danlu.serving.grpc.server import Address, GrpcServer
from danlu.serving.http.app import Site, build_app
from danlu.serving.http.envelope import RequestIds
from danlu.serving.http.front import Front
from danlu.serving.http.hot import Hot
from danlu.serving.http.jobs import JobRoutes
from danlu.serving.http.language import LanguageRoutes
from danlu.serving.http.protocol import HotProtocol
from danlu.serving.instance import Instance
from danlu.serving.jobs.job import CallbackList
from danlu.serving.keys import Gate, Key
from danlu.serving.limits import Limits
from danlu.serving.loaded import Models
from danlu.serving.metrics import Counter, Table
from danlu.serving.request_log import RequestLog
from danlu.serving.tracing import Traces

SWEEP_S = 0.5
POLL_S = 0.02
TURNS = 10
SWITCH_S = 0.0005  # Python's 5 ms between threads would be added to answers while a batch is computed
YOUNG = 20_000  # objects between two collections: requests leave no cycles, and those in flight are looked at in vain
BACKLOG = 2048
CUT_S = 2.0  # before connections are cut, texts that are still being written are ended by an error
SPARE_FILES = 200  # open beside the connections


@dataclass(frozen=True)
class Options:
    """Hold how a server runs.

    Attributes:
        limits: of requests.
        keys: that are let in; none for everybody.
        certificate, private_key: files for TLS.
        log: a file that gets a line for each answered request.
        traces: a collector's URL, which gets spans of each request; None for none.
        workers: processes at a time.
        grpc: where gRPC is spoken; None for nowhere.
        jobs: the store of files to be predicted later; None for none.
        callbacks: where ends of jobs may be told.
        own_code: whether code that bundles name may run.
        trusted: public keys, one of which has to have signed each bundle; none for any bundle.
        text_engine: what writes the texts of language models, `danlu` or `vllm`.
    """

    limits: Limits = field(default_factory=Limits)
    keys: tuple[Key, ...] = ()
    certificate: Path | None = None
    private_key: Path | None = None
    log: Path | None = None
    traces: str | None = None
    workers: int = 1
    grpc: Address | None = None
    jobs: str | None = None
    callbacks: tuple[str, ...] = ()
    own_code: bool = False
    trusted: tuple[str, ...] = ()
    text_engine: str = "danlu"


def serve_worker(
    models: Models, listener: socket.socket, channel: Channel, table: Table, row: int, gate: Gate, options: Options
) -> int:
    """Answer requests until told to stop, and return the exit code.

    Args:
        models: loaded, but not yet asked anything.
        listener: a bound socket.
        channel: to the supervisor.
        table: of metrics.
        row: of the table, for this worker.
        gate: of all workers.
        options: how to run.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal it goes to all; the supervisor tells us
    try:
        served = {
            name: {version: held.open() for version, held in model.versions.items()} for name, model in models.items()
        }
    except DanluError as error:
        channel.send({"event": "failed", "error": str(error), "code": error.code})
        return 1
    _set_threads(options.workers)
    _allow_connections(options.limits.connections)
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        log = None if options.log is None else RequestLog(options.log)
        traces = None if options.traces is None else Traces.to(options.traces)
        ids = RequestIds()
        hot = Hot(loop, options.limits, gate, log, traces, ids)
        language = LanguageRoutes(loop, options.limits, gate, log, ids, options.text_engine)
        own = table.row(row)
        instances = {
            name: {
                version: Instance(name, version, opened, loop, options.limits, own)
                for version, opened in versions.items()
            }
            for name, versions in served.items()
        }
        for name, model in models.items():
            hot.add(model.model, instances[name])
            language.add(model.model, instances[name], own)
        supervisor = SupervisorLink(channel, loop)
        policies = {name: model.model for name, model in models.items()}
        front = Front(hot, language)
        site = Site(policies, instances, front, gate, table, supervisor.ask)
        if options.jobs is not None:
            store, callbacks = JobStore.open(options.jobs), CallbackList(options.callbacks)
            routes = JobRoutes(store, callbacks, options.limits, options.own_code, site.choose, lambda: front.draining)
            site = replace(site, jobs=routes)
        grpc = None if options.grpc is None else GrpcServer(options.grpc, site, options.limits)
        config, connections = _config(build_app(site), front, options), own.counter("danlu_connections")
        server = WorkerServer(config, front, supervisor, log, connections, grpc)
        server.traces = traces
        supervisor.on_drain = server.drain
        loop.add_signal_handler(signal.SIGTERM, server.drain, options.limits.drain_idle_s)
        await server.serve(sockets=[listener])

    import uvloop

    uvloop.run(run())
    return 0


def _set_threads(workers: int) -> None:
    """Share the cores among the workers, where torch computes."""
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(max(1, usable_cores() // workers))


def _allow_connections(count: int) -> None:
    """Raise how many files may be open, as far as the system lets us."""
    wanted = count + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _config(app: Any, front: Front, options: Options) -> Config:
    def protocol(
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> HotProtocol:
        return HotProtocol(front, config, server_state, app_state, _loop)

    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    certificate, private_key = options.certificate, options.private_key
    return Config(
        app,
        http=protocol,  # type: ignore[arg-type]  # called as a class would be
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=int(options.limits.drain_s),
        ssl_certfile=certificate,
        ssl_keyfile=private_key,
    )


class SupervisorLink:
    """Speak with the supervisor from the event loop."""

    def __init__(self, channel: Channel, loop: asyncio.AbstractEventLoop) -> None:
        self._channel, self._loop = channel, loop
        self._asked: dict[int, asyncio.Future[Message]] = {}
        self._number = 0
        self.on_drain: Any = None
        channel.link.setblocking(False)
        loop.add_reader(channel.link.fileno(), self._read)

    def tell(self, message: Message) -> None:
        """Send a message that needs no answer."""
        self._channel.send(message)

    async def ask(self, message: Message) -> Message:
        """Send a question, and wait for its answer."""
        self._number += 1
        future: asyncio.Future[Message] = self._loop.create_future()
        self._asked[self._number] = future
        self._channel.send({**message, "id": self._number})
        return await future

    def _read(self) -> None:
        messages = self._channel.receive()
        if messages is None:  # the supervisor is gone: nobody else would stop this worker
            self._loop.remove_reader(self._channel.link.fileno())
            gone: Message = {"error": "the server is stopping", "code": "", "status": 503}
            for future in self._asked.values():
                if not future.done():
                    future.set_result(gone)
            self.on_drain(0.0)
            return
        for message in messages:
            if "drain" in message:
                self.on_drain(message["drain"])
            elif not (asked := self._asked.pop(message["id"])).done():  # done: its client has left
                asked.set_result(message)


class WorkerServer(uvicorn.Server):
    """Run uvicorn's server; sweep slow clients, and lose no request at the end."""

    def __init__(
        self,
        config: Config,
        front: Front,
        supervisor: SupervisorLink,
        log: RequestLog | None,
        connections: Counter,
        grpc: GrpcServer | None,
    ) -> None:
        super().__init__(config)
        self._grpc = grpc
        self._front, self._supervisor, self._log, self._connections = front, supervisor, log, connections
        self._patience_s = 0.0
        self.traces: Traces | None = None
        self._given: socket.socket | None = None  # what the event loop listens to, and another hold of it
        self._listener: socket.socket | None = None

    def drain(self, idle_s: float) -> None:
        """Stop soon.

        Args:
            idle_s: seconds in which clients that keep a connection may send one more request on it.
        """
        self._front.draining = True
        limits = self._front.limits
        asyncio.get_running_loop().call_later(max(0.0, limits.drain_s - CUT_S), self._front.language.stop_texts)
        for connection in self.server_state.connections:
            cycle = getattr(connection, "cycle", None)
            if cycle is not None and not cycle.response_complete:
                cycle.keep_alive = False  # its client's next connection is another worker's
        self._patience_s = idle_s
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the worker: uvicorn would not end with 0."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        assert sockets is not None, "the supervisor has bound one"
        self._given, self._listener = sockets[0], sockets[0].dup()
        await super().startup(sockets)
        if self._grpc is not None:
            await self._grpc.start()
        self._supervisor.tell({"event": "ready"})

    async def main_loop(self) -> None:
        """Look after connections until told to stop."""
        async with _every(SWEEP_S, self._sweep):
            await self.on_tick(0)
            while not self.should_exit:
                await asyncio.sleep(POLL_S)

    async def _sweep(self) -> None:
        await self.on_tick(0)  # the header `date`
        now = monotonic()
        self._connections.set(len(self.server_state.connections))
        for connection in list(self.server_state.connections):
            if isinstance(connection, HotProtocol):
                connection.sweep(now)
        if self._log is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._log.flush)

    async def _accept_last(self) -> None:
        """Take the connections that wait to be accepted, and listen no longer.

        The system resets those that wait when the last holder of a listening socket closes it.
        """
        for _ in range(TURNS):  # the event loop closes its own hold in one of its next turns
            if self._given is None or self._given.fileno() < 0:
                break
            await asyncio.sleep(0)
        if self._listener is None:
            return
        found = []
        with suppress(BlockingIOError):
            while True:
                found.append(self._listener.accept()[0])
        self._listener.close()
        loop, config = asyncio.get_running_loop(), self.config
        for link in found:
            link.setblocking(False)
            with suppress(OSError):  # it is gone already
                await loop.connect_accepted_socket(self._protocol, link, ssl=config.ssl)

    def _protocol(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        made: asyncio.Protocol = make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        return made

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, answer what has come, and end."""
        for server in self.servers:
            server.close()
        await self._accept_last()
        stopping = None if self._grpc is None else asyncio.ensure_future(self._grpc.stop())
        self._supervisor.tell({"event": "closed"})
        until = monotonic() + self._patience_s
        async with _every(SWEEP_S, self._sweep):
            while self.server_state.connections and monotonic() < until:
                await asyncio.sleep(POLL_S)
            await super().shutdown(sockets)
            if stopping is not None:
                await stopping
        if self._log is not None:
            self._log.flush()
        if self.traces is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.traces.close)
        self._connections.set(0)


@asynccontextmanager
async def _every(seconds: float, do: Any) -> AsyncIterator[None]:
    """Call a function now and then within the block."""

    async def repeat() -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await do()
            except Exception as error:
                emit(f"danlu serve: {type(error).__name__}: {error}", ERROR)

    task = asyncio.get_running_loop().create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
