"""`danlu serve` in a process of its own, and requests to it over real sockets."""

import http.client
import json
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from tests.support.forks import Process
from tests.support.warm import LIGHT

PATIENCE_S = 60.0


@dataclass
class Answered:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A running `danlu serve`."""

    process: Process
    errors: Path
    told: IO[str]
    events: list[dict[str, Any]] = field(default_factory=list)

    def next_event(self) -> dict[str, Any]:
        line = self.told.readline()
        assert line, f"no event: {self.errors.read_text()}"
        self.events.append(json.loads(line))
        return self.events[-1]

    @property
    def address(self) -> tuple[str, int]:
        url = urlsplit(self.events[0]["url"])
        assert url.hostname and url.port
        return url.hostname, url.port

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=PATIENCE_S)

    def ask(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Answered:
        """One request on a connection of its own; a body that is no bytes is sent as JSON."""
        link = http.client.HTTPConnection(*self.address, timeout=PATIENCE_S)
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            link.request(method, path, data, headers or {})
            found = link.getresponse()
            return Answered(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())
        finally:
            link.close()

    def get(self, path: str) -> Answered:
        return self.ask("GET", path)

    def post(self, path: str, body: object = None, headers: dict[str, str] | None = None) -> Answered:
        return self.ask("POST", path, body, headers)

    def send(self, data: bytes) -> bytes:
        """Send bytes as they are, and return all that comes until the server closes the connection."""
        with self.connect() as link:
            link.sendall(data)
            return read_all(link)

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        return [int(pid) for pid in children.split()]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


def read_all(link: socket.socket) -> bytes:
    found = b""
    while True:
        try:
            data = link.recv(65_536)
        except ConnectionResetError:
            return found
        if not data:
            return found
        found += data


@contextmanager
def serving(*arguments: str | Path) -> Iterator[Server]:
    """Run `danlu serve` on a free port until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        errors = Path(folder, "errors")
        with errors.open("w") as sink:
            told, said = os.pipe()
            words = ("serve", *map(str, arguments), "--json")
            process = LIGHT.start("tests.support.warm:be_danlu", *words, stdout=said, stderr=sink.fileno())
            os.close(said)
        server = Server(process, errors, os.fdopen(told))
        try:
            assert server.next_event()["event"] == "ready"
            yield server
        finally:
            process.kill()
            process.wait()
            server.told.close()
