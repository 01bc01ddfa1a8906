"""A server in a process of its own, for programs: start it, ask where it listens, stop it.

Workers are forks, and what this process has begun (threads of polars, of torch) would be missing in them; so a
program's server is the command `danlu serve`, begun anew.
"""

import json
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from danlu.errors import ArgumentError, ArtifactError, DanluError, DataError, MissingExtra

STOP_S = 60.0
KEPT_EVENTS = 1000
KINDS: Mapping[str, type[DanluError]] = {
    kind.kind: kind for kind in (ArgumentError, ArtifactError, DataError, MissingExtra)
}


class Server:
    """Hold a running server; leaving its `with` block stops it.

    Args:
        arguments: of `danlu serve`.
        program: what runs danlu's commands.

    Attributes:
        url: where it listens.
        grpc: where it speaks gRPC, as 127.0.0.1:8001; None for nowhere.
        models: name, version, digest and engine of what it serves.
        events: what it has told, the newest last: `ready`, `reloaded`, `draining`, `stopped`.
    """

    def __init__(self, arguments: Sequence[str], program: Sequence[str] = (sys.executable, "-m", "danlu")) -> None:
        command = [*program, "serve", *arguments, "--json"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
        assert self._process.stdout is not None, "it is a pipe"
        self._told = self._process.stdout
        first = self._told.readline()
        if '"event"' not in first:
            raise self._failure(first + self._told.read())
        ready: dict[str, Any] = json.loads(first)
        self.url, self.models = str(ready["url"]), list(ready["models"])
        self.grpc: str | None = ready["grpc"]
        self.events: deque[dict[str, Any]] = deque([ready], maxlen=KEPT_EVENTS)
        self._reader = threading.Thread(target=self._read, name="danlu-serve-events", daemon=True)
        self._reader.start()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url}, {'running' if self.is_running else 'stopped'})"

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process that looks after the workers."""
        return self._process.pid

    def stop(self, timeout_s: float = STOP_S) -> int:
        """Stop once all that has come is answered, and return the exit code."""
        if self.is_running:
            self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._reader.join(timeout_s)
        self._told.close()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _read(self) -> None:
        for line in self._told:
            self.events.append(json.loads(line))

    def _failure(self, text: str) -> DanluError:
        """Return the error that the command ended with."""
        self._process.wait()
        self._told.close()
        try:
            told = json.loads(text)["error"]
        except (ValueError, KeyError, TypeError):
            return ArtifactError(f"danlu serve ended with exit code {self._process.returncode}", code="DL310")
        return KINDS.get(told["kind"], ArtifactError)(told["message"], code=told["code"])
