"""The supervisor: it loads models, forks workers that share them, replaces those that die, and swaps them on a reload.

A reload is a new generation of workers. It is loaded, forked and asked its golden samples while the old one answers;
once all of it is ready the old one takes no more connections, answers what it has, and ends. What fails before that
leaves the old generation as it is. Every slot keeps its listening socket, so no connection is lost in between.
"""

import gc
import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from danlu.artifacts.signatures import require_signature
from danlu.core.console import ERROR, emit, emit_traceback
from danlu.errors import ArgumentError, ArtifactError, DanluError
from danlu.serving.control import Channel, Message, channel_pair
from danlu.serving.forks import be_fork
from danlu.serving.grpc.server import Address
from danlu.serving.instance import place_metrics
from danlu.serving.jobs.keeper import RunnerKeeper
from danlu.serving.keys import Gate
from danlu.serving.loaded import LoadedModel, LoadedVersion, Models
from danlu.serving.metrics import Table
from danlu.serving.server import Options, serve_worker
from danlu.serving.store import NAME, Model, Policy, model_with, parse_policy, read_model
from danlu.serving.trial import Trial, Tried, earlier_trial

STARTED_S = 120.0  # for a generation to be ready
UNREADY_DEATHS = 5  # workers that end before they are ready, one after the other, end the server
GRACE_S = 5.0  # beyond the time to drain, before a worker is killed
Announce = Callable[[Message], None]


@dataclass
class Worker:
    """Hold what the supervisor knows of one process.

    Attributes:
        pid: of it.
        slot: whose listening socket it has.
        generation: whose models it has.
        channel: to it.
        row: of the table of metrics.
        ready: whether it takes requests.
        leaving: whether it was told to stop.
    """

    pid: int
    slot: int
    generation: int
    channel: Channel
    row: int
    ready: bool = False
    leaving: bool = False


@dataclass
class Change:
    """Hold a change of what is served that is under way.

    Attributes:
        asker: the worker whose client asked, and the number of its question.
        name: of the model.
        before: the model as it was; None where it is new.
        models: all models before it.
        generation: the new one.
        until: when it is given up.
        closing: workers of the old generation, by id, that may still take connections, once the new one is ready.
    """

    asker: tuple[Worker, int]
    name: str
    before: Model | None
    models: Models
    generation: int
    until: float
    closing: set[int] = field(default_factory=set)


@dataclass
class Attempt:
    """Hold a change whose bundles are being tried.

    Attributes:
        asker: as of a change.
        model: as it is to be.
        before: as it was; None where it is new.
        tried: what is known of its versions.
        trials: those that run.
    """

    asker: tuple[Worker, int]
    model: Model
    before: Model | None
    tried: dict[str, Tried] = field(default_factory=dict)
    trials: dict[str, Trial] = field(default_factory=dict)


class Supervisor:
    """Run a server.

    Args:
        models: what is to be served.
        options: how the workers run.
        engine: `auto`, or the one engine that may answer.
        own_code: whether code that bundles name may run.
        announce: is told of `ready`, `reloaded`, `draining`, `stopped`.
    """

    def __init__(
        self, models: Mapping[str, Model], options: Options, engine: str, own_code: bool, announce: Announce
    ) -> None:
        self._wanted, self._options, self._engine, self._own_code = models, options, engine, own_code
        self._announce = announce
        self._table = Table()
        self._gate = Gate(options.keys, time.monotonic)
        self._selector = selectors.DefaultSelector()
        self._workers: dict[int, Worker] = {}
        self._sockets: list[socket.socket] = []
        self._grpc_port: socket.socket | None = None  # never listens; keeps the port while workers come and go
        self._models: Models = {}
        self._generation = 0
        self._asked: deque[tuple[Worker, Message]] = deque()
        self._attempt: Attempt | None = None
        self._change: Change | None = None
        self._before: dict[str, Policy] = {}  # each model's policy before its last change
        self._unready_deaths = 0
        self._stop_by = 0.0
        self._signals: set[int] = set()
        self._jobs = None if options.jobs is None else RunnerKeeper(options.jobs, self._be_alone)

    def run(self, host: str, port: int, grpc_port: int | None = None) -> int:
        """Serve until a signal, and return the exit code.

        Args:
            host: the address to listen at.
            port: of HTTP; 0 for a free one.
            grpc_port: of gRPC, 0 for a free one; None for no gRPC.

        Raises:
            ArgumentError: the address cannot be listened at, or an engine cannot answer a bundle.
            ArtifactError: a bundle is damaged, or workers end as soon as they begin.
            MissingExtra: a model needs packages that are not installed.
        """
        self._sockets = bind(host, port, self._options.workers)
        if grpc_port is not None:
            (self._grpc_port,) = bind(host, grpc_port, 1, "--grpc-port")
            address = Address(_host_and_port(self._grpc_port), self._options.certificate, self._options.private_key)
            self._options = replace(self._options, grpc=address)
        self._models = {name: self._load(model, self._try_all(model)) for name, model in self._wanted.items()}
        for name in ("danlu_workers_lost", "danlu_reloads", "danlu_connections"):
            self._table.layout.place(name, ())
        with self._signals_watched():
            self._start_generation()
            self._wait_ready()
            self._announce({"event": "ready", **self._address(), "pid": os.getpid(), "models": self._described()})
            while not (self._stopping and not self._workers and not (self._jobs and self._jobs.is_running)):
                if self._jobs is not None:
                    self._jobs.look()
                self._turn()
        self._announce({"event": "stopped"})
        return 0

    # -- what is served

    def _try_all(self, model: Model) -> dict[str, Tried]:
        """Try a model's versions one after the other, and wait."""
        self._require_signatures(model)
        return {
            version: earlier_trial(folder, self._engine) or self._trial(folder).result()
            for version, folder in model.versions.items()
        }

    def _require_signatures(self, model: Model) -> None:
        """Refuse bundles that no trusted key has signed, before anything else of them is read."""
        for folder in model.versions.values():
            require_signature(folder, self._options.trusted)

    def _trial(self, folder: Path) -> Trial:
        return Trial(folder, self._engine, self._own_code, self._forget)

    def _forget(self) -> None:
        """Close in a fork what is the supervisor's alone."""
        for listener in self._sockets:
            listener.close()
        for worker in self._workers.values():
            worker.channel.close()

    def _be_alone(self) -> None:
        """Close in the process of the jobs what is the supervisor's, its selector included."""
        self._forget()
        self._selector.close()

    def _load(self, model: Model, tried_versions: Mapping[str, Tried]) -> LoadedModel:
        """Load a model's versions without asking them anything.

        What is loaded already is taken as it is where its bundle is the same.
        """
        versions: dict[str, LoadedVersion] = {}
        held = self._models.get(model.name)
        for version, folder in model.versions.items():
            tried = tried_versions[version]
            known = held.versions.get(version) if held else None
            if known is not None and (known.folder, known.digest, known.engine) == (
                folder,
                tried.digest,
                tried.engine,
            ):
                versions[version] = known
                continue
            place_metrics(self._table.layout, model.name, version)
            loaded = LoadedVersion(
                model.name,
                version,
                folder,
                tried.engine,
                self._own_code,
                tried.digest,
                tried.survives_fork,
                self._options.trusted,
            )
            loaded.load()
            versions[version] = loaded
        return LoadedModel(model, versions)

    def _described(self) -> list[Message]:
        return [version.describe() for model in self._models.values() for version in model.versions.values()]

    def _address(self) -> Message:
        scheme, grpc = "https" if self._options.certificate else "http", self._options.grpc
        return {"url": f"{scheme}://{_host_and_port(self._sockets[0])}", "grpc": None if grpc is None else grpc.text}

    # -- workers

    def _start_generation(self) -> None:
        self._generation += 1
        gc.unfreeze()  # what earlier generations held may go
        gc.collect()
        gc.freeze()  # what is loaded is shared by all workers, as long as no collection writes to it
        for slot in range(self._options.workers):
            self._fork(slot, self._models, self._generation)

    def _fork(self, slot: int, models: Models, generation: int) -> None:
        ours, theirs = channel_pair()
        row = self._table.take_row()
        pid = os.fork()
        if pid == 0:
            be_fork("a worker", lambda: self._answer_requests(slot, models, ours, theirs, row))
        theirs.close()
        ours.link.setblocking(False)
        worker = Worker(pid, slot, generation, ours, row)
        self._workers[pid] = worker
        self._selector.register(ours.link, selectors.EVENT_READ, worker)

    def _answer_requests(self, slot: int, models: Models, ours: Channel, theirs: Channel, row: int) -> int:
        """In the fork: answer requests until told to stop, and return the exit code."""
        ours.close()
        self._selector.close()
        for other in self._workers.values():
            other.channel.close()
        for number, listener in enumerate(self._sockets):
            if number != slot:
                listener.close()
        return serve_worker(models, self._sockets[slot], theirs, self._table, row, self._gate, self._options)

    def _wait_ready(self) -> None:
        """Wait until the first generation is ready.

        Raises:
            ArtifactError: a worker ended instead.
        """
        until = time.monotonic() + STARTED_S
        while not self._stopping and not all(worker.ready for worker in self._workers.values()):
            self._turn()
            if time.monotonic() > until:
                self._kill_all()
                raise ArtifactError(f"serve: the workers were not ready after {STARTED_S:g} s", code="DL310")

    def _turn(self) -> None:
        """Wait for what happens next, and deal with it."""
        for key, _ in self._selector.select(timeout=1.0):
            if isinstance(key.data, Worker):
                self._read(key.data)
            elif isinstance(key.data, Trial):
                self._take_result(key.data)
            else:
                self._signals.update(key.data.recv(4096))
        if signal.SIGCHLD in self._signals:
            self._reap()
        if self._signals & {signal.SIGTERM, signal.SIGINT} and not self._stopping:
            self._begin_stop()
        elif signal.SIGINT in self._signals:
            self._kill_all()
        self._signals.clear()
        if self._stopping and time.monotonic() > self._stop_by:
            self._kill_all()
        if self._change is None and self._attempt is None and self._asked and not self._stopping:
            self._begin_change(*self._asked.popleft())
        if self._change is not None and not self._change.closing and time.monotonic() > self._change.until:
            self._give_up(f"the new workers were not ready after {STARTED_S:g} s")

    @property
    def _stopping(self) -> bool:
        return self._stop_by > 0

    def _begin_stop(self) -> None:
        self._announce({"event": "draining"})
        self._stop_by = time.monotonic() + self._options.limits.drain_s + GRACE_S
        for listener in self._sockets:
            listener.close()
        if self._jobs is not None:
            self._jobs.end()
        for worker in self._workers.values():
            self._tell_to_leave(worker, self._options.limits.drain_idle_s)

    def _tell_to_leave(self, worker: Worker, idle_s: float) -> None:
        worker.leaving = True
        if not worker.ready:  # it has not begun to listen to its channel
            self._signal(worker, signal.SIGKILL)
        elif not worker.channel.send({"drain": idle_s}):
            self._signal(worker, signal.SIGTERM)

    def _signal(self, worker: Worker, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(worker.pid, number)

    def _kill_all(self) -> None:
        if self._jobs is not None:
            self._jobs.end(signal.SIGKILL)
        for worker in self._workers.values():
            worker.leaving = True
            self._signal(worker, signal.SIGKILL)

    def _reap(self) -> None:
        """Take leave of workers that have ended, and replace those that nobody told to."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            worker = self._workers.pop(pid, None)
            if worker is None:
                if self._jobs is not None:
                    self._jobs.has_ended(pid)
                continue
            self._read(worker)
            with suppress(KeyError):
                self._selector.unregister(worker.channel.link)
            worker.channel.close()
            self._table.give_back(worker.row)
            self._closed(worker)
            if not worker.leaving:
                self._replace(worker, status)

    def _replace(self, worker: Worker, status: int) -> None:
        if self._change is not None and not worker.ready and worker.generation == self._change.generation:
            self._give_up("a new worker ended before it was ready")
            return
        if not worker.ready:
            self._unready_deaths += 1
            if self._unready_deaths == UNREADY_DEATHS:
                self._kill_all()
                raise ArtifactError(f"serve: {UNREADY_DEATHS} workers ended before they were ready", code="DL310")
        self._table.row(0).counter("danlu_workers_lost").add()
        emit(f"danlu serve: worker {worker.pid} ended ({_ended(status)}); another takes its place", ERROR)
        change = self._change  # until it is done, an older worker's successor answers with the older models
        is_older = change is not None and worker.generation < change.generation
        self._fork(worker.slot, change.models if change is not None and is_older else self._models, worker.generation)

    # -- changes

    def _read(self, worker: Worker) -> None:
        messages = worker.channel.receive()
        if messages is None:
            with suppress(KeyError):
                self._selector.unregister(worker.channel.link)
            return
        for message in messages:
            if message.get("event") == "ready":
                worker.ready, self._unready_deaths = True, 0
                self._take_over()
            elif message.get("event") == "closed":
                self._closed(worker)
            elif message.get("event") == "failed":
                self._failed(worker, message)
            else:
                self._asked.append((worker, message))

    def _failed(self, worker: Worker, message: Message) -> None:
        if self._change is not None and worker.generation == self._change.generation:
            self._give_up(message["error"], message["code"])
        elif any(other.ready for other in self._workers.values()):
            emit(f"danlu serve: {message['error']}", ERROR)  # it ends, and is replaced as others are
        else:
            self._kill_all()
            raise ArtifactError(message["error"], code=message["code"])

    def _begin_change(self, worker: Worker, message: Message) -> None:
        """Begin what a client asked for; bundles are tried in forks meanwhile."""
        asker, name = (worker, int(message["id"])), str(message["name"])
        if self._table.free_rows < 2 * self._options.workers:  # as many may have to be replaced
            busy = {"error": "workers of earlier loads are still draining; try again", "code": "", "status": 503}
            self._answer(asker, busy)
            return
        held = self._models.get(name)
        before = held.model if held else None
        with self._refusing(asker):
            if message["do"] == "unload":
                self._start_change(asker, name, before, self._without(name))
                return
            attempt = Attempt(asker, self._changed_model(name, before, message["parameters"]), before)
            self._require_signatures(attempt.model)
            for version, folder in attempt.model.versions.items():
                kept = earlier_trial(folder, self._engine)
                if kept is not None:
                    attempt.tried[version] = kept
                    continue
                attempt.trials[version] = trial = self._trial(folder)
                self._selector.register(trial.pipe, selectors.EVENT_READ, trial)
            self._attempt = attempt
            self._go_on()

    def _take_result(self, trial: Trial) -> None:
        """Take over what a trial found."""
        self._selector.unregister(trial.pipe)
        attempt = self._attempt
        version = next((name for name, each in attempt.trials.items() if each is trial), None) if attempt else None
        if attempt is None or version is None:  # another version was refused before
            with suppress(DanluError):
                trial.result()
            return
        del attempt.trials[version]
        with self._refusing(attempt.asker):
            attempt.tried[version] = trial.result()
            self._go_on()

    def _go_on(self) -> None:
        """Load a model and start its workers, once all its versions are tried."""
        attempt = self._attempt
        if attempt is None or attempt.trials:
            return
        self._attempt = None
        models = {**self._models, attempt.model.name: self._load(attempt.model, attempt.tried)}
        self._start_change(attempt.asker, attempt.model.name, attempt.before, models)

    def _start_change(self, asker: tuple[Worker, int], name: str, before: Model | None, models: Models) -> None:
        until = time.monotonic() + STARTED_S
        kept, self._models = self._models, models
        self._change = Change(asker, name, before, kept, self._generation + 1, until)
        self._start_generation()

    @contextmanager
    def _refusing(self, asker: tuple[Worker, int]) -> Iterator[None]:
        """Answer a client whose change fails within the block, and go on."""
        try:
            yield
        except DanluError as error:
            self._attempt = None
            self._answer(asker, _refusal(error))
        except Exception as error:  # a folder that vanished, no memory for a fork
            emit_traceback(error)
            self._attempt = None
            if self._change is not None:
                self._give_up("the server failed at this; its log says why", "DL900")
            else:
                failed = {"error": "the server failed at this; its log says why", "code": "DL900", "status": 500}
                self._answer(asker, failed)

    def _without(self, name: str) -> Models:
        """Return all models but one."""
        if name not in self._models:
            raise ArgumentError(f"no model {name!r} is served here", code="DL301")
        if len(self._models) == 1:
            raise ArgumentError(f"{name!r} is the only model; stop the server instead", code="DL402")
        return {other: model for other, model in self._models.items() if other != name}

    def _changed_model(self, name: str, held: Model | None, parameters: Any) -> Model:
        """Return a model as its folder and a request's parameters say."""
        if not isinstance(parameters, dict):
            raise ArgumentError('parameters: give an object, as {"default": "2"}', code="DL402")
        if held is None and not NAME.fullmatch(name):  # it may be `..`
            raise ArgumentError(f"no model {name!r} is in the folder that is served", code="DL301")
        if held is None:
            roots = {model.model.root.parent for model in self._models.values() if model.model.root}
            found = [root / name for root in roots if (root / name).is_dir()]
            if not found:
                raise ArgumentError(f"no model {name!r} is in the folder that is served", code="DL301")
            return read_model(found[0])
        if held.root is None:
            if parameters:
                raise ArgumentError("a single bundle has one version; serve a folder of NAME/VERSION/", code="DL402")
            return held
        if parameters.get("rollback") is True:
            if name not in self._before:
                raise ArgumentError(f"{name!r} has no earlier state to go back to", code="DL402")
            return model_with(held.root, self._before[name])
        if not parameters:
            return read_model(held.root)
        return model_with(held.root, parse_policy({**held.policy.model_dump(), **parameters}, "parameters"))

    def _take_over(self) -> None:
        """Tell the old generation to leave, once the whole new one is ready."""
        change = self._change
        if change is None or change.closing:
            return
        if not all(worker.ready for worker in self._workers.values() if worker.generation == change.generation):
            return
        for worker in list(self._workers.values()):
            if worker.generation < change.generation and not worker.leaving:
                change.closing.add(worker.pid)
                self._tell_to_leave(worker, self._options.limits.idle_s)
        self._finish_change()

    def _closed(self, worker: Worker) -> None:
        if self._change is not None and worker.pid in self._change.closing:
            self._change.closing.remove(worker.pid)
            self._finish_change()

    def _finish_change(self) -> None:
        """Answer the client, once no worker of the old generation takes connections."""
        change = self._change
        if change is None or change.closing:
            return
        self._change = None
        self._table.row(0).counter("danlu_reloads").add()
        if change.before is not None:
            self._before[change.name] = change.before.policy
        described = self._described()
        self._answer(change.asker, {"done": {"models": described}})
        self._announce({"event": "reloaded", "models": described})

    def _give_up(self, reason: str, code: str = "DL310") -> None:
        """Keep the old generation, and say why."""
        change = self._change
        assert change is not None, "there is a change"
        self._change, self._models = None, change.models
        for worker in self._workers.values():
            if worker.generation == change.generation:
                worker.leaving = True
                self._signal(worker, signal.SIGKILL)
        self._answer(change.asker, {"error": reason, "code": code, "status": 400})

    def _answer(self, asker: tuple[Worker, int], message: Message) -> None:
        worker, number = asker
        worker.channel.send({**message, "id": number})

    def _signals_watched(self) -> "SignalsWatched":
        return SignalsWatched(self._selector)


class SignalsWatched:
    """Turn signals into bytes that a selector sees, within the block."""

    NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._here, self._there = socket.socketpair()
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> None:
        for link in (self._here, self._there):
            link.setblocking(False)
        self._selector.register(self._here, selectors.EVENT_READ, self._here)
        signal.set_wakeup_fd(self._there.fileno(), warn_on_full_buffer=False)
        self._earlier = {number: signal.signal(number, lambda *_: None) for number in self.NUMBERS}

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        self._selector.close()
        self._here.close()
        self._there.close()


def _host_and_port(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"{f'[{host}]' if ':' in host else host}:{port}"


def bind(host: str, port: int, slots: int, option: str = "--port") -> list[socket.socket]:
    """Return a bound socket a slot, all of one address.

    Nothing can connect before a worker listens.

    Args:
        option: that names the port, for the error.

    Raises:
        ArgumentError: the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return list(_bound(family, kind, protocol, address, slots))
    except OSError as error:
        said = error.strerror or error
        raise ArgumentError(f"--host {host} {option} {port}: cannot listen there: {said}", code="DL402") from error


def _bound(
    family: socket.AddressFamily, kind: socket.SocketKind, protocol: int, address: Any, slots: int
) -> Iterator[socket.socket]:
    for _ in range(slots):
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.setblocking(False)
        address = listener.getsockname()  # of port 0, the one that was given
        yield listener


def _ended(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit code {os.waitstatus_to_exitcode(status)}"


def _refusal(error: DanluError) -> Message:
    status = 404 if error.code == "DL301" else 400
    return {"error": str(error), "code": error.code, "status": status}
