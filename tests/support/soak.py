"""Clients that ask a server without a pause while it is reloaded, succeeded and killed, and check every answer.

An answer is right where its version's own probabilities are met to `TOLERANCE`, each row in its place. A request is
lost where its connection ends without an answer, or nothing comes in time, and no worker was killed just then.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCE = 1e-5
ROWS = (1, 2, 5)  # of a request
KILL_S = 1.0  # after a worker was killed, a connection that ends is its
PATIENCE_S = 60.0
LOAD = "/v2/repository/models/tumour/load"


@dataclass
class Counted:
    """What became of the requests.

    Attributes:
        right, wrong: requests that were answered.
        refused: those with an honest error, by status.
        cut: connections that ended without an answer as a worker was killed.
        lost: those that ended otherwise, with what was seen.
        done: what was done to the server.
        wrong_answers: a few of them.
    """

    right: int = 0
    wrong: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    cut: int = 0
    lost: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    wrong_answers: list[str] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return self.right + self.wrong + sum(self.refused.values()) + self.cut + len(self.lost)

    @property
    def is_sound(self) -> bool:
        return not (self.wrong or self.lost)


class Link:
    """A connection that is kept, for one request at a time."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self.asked = 0  # on this connection

    def ask(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Send a request, and return the status and the body of its answer.

        Raises:
            OSError: the connection ended before the answer did, or nothing came in time.
        """
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=PATIENCE_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.asked = 0
        self.asked += 1
        try:
            self._socket.sendall(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b"
                                 % (path.encode(), len(body), body))  # fmt: skip
            data = b""
            while (end := data.find(b"\r\n\r\n")) < 0:
                data += self._part(data)
            head = data[:end].lower()
            length = int(head.partition(b"content-length: ")[2].split(b"\r", 1)[0])
            while len(data) < end + 4 + length:
                data += self._part(data)
        except OSError:
            self.close()
            raise
        if b"connection: close" in head:
            self.close()
        return int(head.split(b" ", 2)[1]), data[end + 4 :]

    def _part(self, before: bytes) -> bytes:
        assert self._socket is not None
        found = self._socket.recv(65_536)
        if not found:
            raise ConnectionError(f"the connection ended after {len(before)} bytes of an answer")
        return found

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Soak:
    """Ask, and do things to the server meanwhile.

    Args:
        store: a folder of versions 1 and 2 of `tumour`.
        rows: to ask for.
        own: by version, the probabilities of the rows, [rows, labels].
        labels: of the probabilities.
        seed: of what is asked when.
    """

    def __init__(
        self,
        store: Path,
        rows: Sequence[Mapping[str, Any]],
        own: Mapping[str, np.ndarray],
        labels: Sequence[str],
        seed: int = 0,
    ) -> None:
        self._store, self._rows, self._own, self._labels, self._seed = store, rows, own, labels, seed
        self.counted = Counted()
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._killed_at = -KILL_S
        self._event = "before any event"
        self._server: subprocess.Popen[str] | None = None
        self._address = ("127.0.0.1", 0)

    def run(self, requests: int, clients: int, reloads: int, successors: int, kills: int) -> Counted:
        """Do so many of each, spread over so many requests, and return what was counted."""
        events = ["reload"] * reloads + ["successor"] * successors + ["kill"] * kills
        random.Random(self._seed).shuffle(events)
        self._server = self._start()
        threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]
        try:
            for thread in threads:
                thread.start()
            for number, event in enumerate(events):
                self._wait_for(requests * (number + 1) // (len(events) + 1))
                began, self._event = time.monotonic(), f"within {event} {number}"
                getattr(self, f"_{event}")()
                self._event = f"after {event} {number}, which took {time.monotonic() - began:.1f} s"
                self.counted.done[event] += 1
            self._wait_for(requests)
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()
            self._end(self._server)
        return self.counted

    def memory_mb(self) -> float:
        """Return the memory of all processes of the server, what they share counted once."""
        assert self._server is not None
        total = 0.0
        for pid in (self._server.pid, *self._workers()):
            with suppress(OSError):
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
        return total

    def _start(self) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "danlu", "serve", str(self._store), "--engine", "numpy", "--workers", "2",
                   "--port", str(self._address[1]), "--json"]  # fmt: skip
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert server.stdout is not None
        ready = json.loads(server.stdout.readline())
        self._address = ("127.0.0.1", int(ready["url"].rpartition(":")[2]))
        threading.Thread(target=server.stdout.read, daemon=True).start()  # its events fill no pipe
        return server

    def _end(self, server: "subprocess.Popen[str]") -> None:
        server.send_signal(signal.SIGTERM)
        code = server.wait(PATIENCE_S)
        assert code == 0, f"a server ended with {code} after SIGTERM"

    def _workers(self) -> list[int]:
        assert self._server is not None
        told = Path(f"/proc/{self._server.pid}/task/{self._server.pid}/children").read_text(encoding="ascii")
        return [int(pid) for pid in told.split()]

    # -- what is done to the server

    def _reload(self) -> None:
        version = str(1 + self.counted.done["reload"] % 2)
        asked = json.dumps({"parameters": {"default": version}}).encode()
        until = time.monotonic() + PATIENCE_S
        while (found := Link(self._address).ask(LOAD, asked))[0] == 503 and time.monotonic() < until:
            time.sleep(0.5)  # workers of earlier loads are still draining, as the answer says
        assert found[0] == 200, found

    def _successor(self) -> None:
        before, self._server = self._server, self._start()
        assert before is not None
        self._end(before)

    def _kill(self) -> None:
        victim = random.Random(self.counted.done["kill"]).choice(self._workers())
        self._killed_at = time.monotonic()
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        time.sleep(KILL_S)
        self._killed_at = time.monotonic() - KILL_S / 2  # a moment more for what has ended but was not yet read

    # -- the clients

    def _wait_for(self, goal: int) -> None:
        at, seen = time.monotonic(), self.counted.requests
        while self.counted.requests < goal:
            time.sleep(0.02)
            if self.counted.requests > seen:
                at, seen = time.monotonic(), self.counted.requests
            assert time.monotonic() - at < PATIENCE_S, "no answers"

    def _ask(self, number: int) -> None:
        draw, link = random.Random(self._seed * 1000 + number), Link(self._address)
        while not self._stopped.is_set():
            places = draw.sample(range(len(self._rows)), draw.choice(ROWS))
            body = json.dumps({"rows": [self._rows[place] for place in places]}).encode()
            try:
                status, text = link.ask("/predict/tumour", body)
            except OSError as error:
                self._ended(f"{type(error).__name__}: {error}, at request {link.asked} of its connection")
                continue
            self._answered(places, status, text)
        link.close()

    def _ended(self, told: str) -> None:
        with self._lock:
            if time.monotonic() - self._killed_at < KILL_S:
                self.counted.cut += 1
            else:
                self.counted.lost.append(f"{told}, {self._event}")

    def _answered(self, places: list[int], status: int, text: bytes) -> None:
        told = json.loads(text)
        if status != 200:
            with self._lock:
                self.counted.refused[status] += 1
            return
        own = self._own[told["version"]][places]
        answers = [[row["probabilities"][label] for label in self._labels] for row in told["answers"]]
        is_right = len(answers) == len(places) and np.allclose(answers, own, rtol=0, atol=TOLERANCE)
        with self._lock:
            self.counted.right += is_right
            self.counted.wrong += not is_right
            if not is_right and len(self.counted.wrong_answers) < 10:
                self.counted.wrong_answers.append(f"rows {places}: {answers}, and the bundle says {own.tolist()}")


def own_answers(store: Path, rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return each version's own probabilities of rows, [rows, labels], and the labels."""
    import polars as pl

    import danlu

    found, labels = {}, list[str]()
    for folder in sorted((store / "tumour").iterdir()):
        if folder.is_dir():
            told = danlu.load(folder).predict(pl.DataFrame(rows))
            named = [name for name in told.columns if name.startswith("probability_")]
            labels = [name.removeprefix("probability_") for name in named]
            found[folder.name] = told.select(named).to_numpy()
    return found, labels
