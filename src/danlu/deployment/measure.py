"""Serve a bundle with nothing but the packages that its image would have, ask it, and measure what that takes.

In: a bundle, an engine, packages. Out: memory, processor time and seconds, of the server's processes on this machine.
A server that starts and answers here shows that the packages suffice: all other modules are kept from being imported.
"""

import http.client
import json
import os
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl

from danlu.core.cpu import this_processor
from danlu.deployment.packages import Package, modules_of_others
from danlu.deployment.subject import Subject
from danlu.errors import ArgumentError, ArtifactError
from danlu.models.golden import PREDICTION, golden_inputs
from danlu.serving.process import Server

PROGRAM = "danlu.deployment.barred"
MEASURE_S, MEASURED_AT_LEAST, MEASURE_MOST_S = 2.0, 200, 20.0
BULK_ROWS, BULK_BYTES = 256, 16 * 2**20  # of the largest request
SAMPLE_S = 0.02
PATIENCE_S = 120.0
ROUTES = ("/", "/metrics", "/openapi.json", "/drift", "/v2/health/live", "/v2/health/startup", "/v2/health/ready")
MEBIBYTE = 2**20
HEADERS = {"content-type": "application/json", "x-deadline-ms": str(int(PATIENCE_S * 1000))}


@dataclass(frozen=True)
class Measured:
    """Hold what serving a bundle took.

    Attributes:
        memory_bytes: the largest sum of the processes' proportional set sizes (PSS).
        cpu_ms: processor time of a request of one row.
        ready_s: seconds until the server was ready.
        requests: of one row that were measured.
        bulk_rows: rows of the largest request.
        golden_rows: golden samples that were answered over HTTP as they were recorded.
        processor: on which all of it was measured.
    """

    memory_bytes: int
    cpu_ms: float
    ready_s: float
    requests: int
    bulk_rows: int
    golden_rows: int
    processor: str

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self)

    def described(self) -> str:
        """Return how it was measured, in a sentence."""
        return (
            f"{self.memory_bytes / MEBIBYTE:.0f} MiB at most (PSS of all processes, every {SAMPLE_S * 1000:.0f} ms) "
            f"and {self.cpu_ms:.2f} ms of processor time a request over {self.requests} requests of one row and one of "
            f"{self.bulk_rows}; ready after {self.ready_s:.1f} s; {self.golden_rows} golden rows answered over HTTP as "
            f"recorded; on {self.processor}"
        )


def measure(subject: Subject, packages: Sequence[Package], trusted: Sequence[Path]) -> Measured:
    """Serve a bundle and measure it.

    Args:
        subject: the bundle and its engine.
        packages: whose modules may be imported, beside danlu's and Python's own.
        trusted: public keys, one of which has to have signed the bundle.

    Raises:
        ArgumentError: this system does not tell what processes take.
        ArtifactError: the server does not start, or does not answer as recorded.
    """
    if not Path("/proc/self/smaps_rollup").exists():
        raise ArgumentError("danlu deploy measures a bundle on Linux alone; run it there", code="DL402")
    barred = json.dumps(modules_of_others(packages))
    arguments = [f"{subject.name}={subject.folder}", "--engine", subject.engine]
    arguments += [word for key in trusted for word in ("--trusted", str(key))]
    began = time.monotonic()
    with Server(arguments, program=(sys.executable, "-m", PROGRAM, barred)) as server:
        ready_s = time.monotonic() - began
        with MemoryWatch(server.pid) as memory:
            asked = Client(server.url, f"/predict/{subject.name}")
            golden = ask_golden(subject, asked)
            for route in ROUTES:
                asked.look(route)
            requests, cpu_ms, bulk = 0, 0.0, 0
            if golden:
                rows = _rows(subject)
                requests, cpu_ms = _busy(asked, rows[:1], server.pid)
                bulk = _ask_bulk(asked, rows)
    return Measured(memory.peak_bytes, cpu_ms, ready_s, requests, bulk, golden, this_processor().name)


class Client:
    """Ask one route over one connection."""

    def __init__(self, url: str, route: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE_S)
        self._route = route

    def look(self, route: str) -> None:
        """Ask for what another route shows.

        Raises:
            ArtifactError: the server fails at it.
        """
        self._connection.request("GET", route)
        response = self._connection.getresponse()
        response.read()
        if response.status >= http.client.INTERNAL_SERVER_ERROR:
            raise ArtifactError(f"the server failed at {route}: {response.status}", code="DL319")

    def answers(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the answers to rows.

        Raises:
            ArtifactError: the server refuses them.
        """
        self._connection.request("POST", self._route, json.dumps({"rows": rows}), HEADERS)
        response = self._connection.getresponse()
        text = response.read()
        if response.status != http.client.OK:
            raise ArtifactError(f"the server refused its golden rows: {response.status} {text[:200]!r}", code="DL319")
        return list(json.loads(text)["answers"])


def ask_golden(subject: Subject, client: Client) -> int:
    """Ask a server about the golden rows; return their number, 0 for none.

    Raises:
        ArtifactError: an answer differs from what was recorded.
    """
    rows, golden = _rows(subject), subject.bundle.golden()
    if not rows or golden is None:
        return 0
    answers = client.answers(rows)
    recorded = golden[PREDICTION].to_list() if PREDICTION in golden.columns else [None] * len(rows)
    for answer, expected in zip(answers, recorded, strict=True):
        differs = expected is not None and json.loads(json.dumps(expected, default=str)) != answer.get("prediction")
        if "error" in answer or differs:
            raise ArtifactError(
                f"the server answers a golden row with {answer}, and {expected!r} was recorded", code="DL319"
            )
    return len(answers)


def _rows(subject: Subject) -> list[dict[str, Any]]:
    """Return the golden rows as a client would write them."""
    golden = subject.bundle.golden()
    if golden is None:
        return []
    return [
        {name: _written(value) for name, value in row.items()}
        for row in golden_inputs(golden, [column["name"] for column in subject.bundle.manifest.columns]).to_dicts()
    ]


def _written(value: Any) -> Any:
    """Return a cell as JSON has it; an image as base64."""
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, pl.Series):
        return value.to_list()
    return value.isoformat() if isinstance(value, date | datetime) else value


def _busy(client: Client, rows: Sequence[dict[str, Any]], pid: int) -> tuple[int, float]:
    """Ask for one row repeatedly; return how often, and processor time in ms."""
    before, until, requests = _cpu_s(pid), time.monotonic() + MEASURE_S, 0
    latest = until - MEASURE_S + MEASURE_MOST_S
    while time.monotonic() < until or (requests < MEASURED_AT_LEAST and time.monotonic() < latest):
        client.answers(rows)
        requests += 1
    return requests, (_cpu_s(pid) - before) / requests * 1000


def _ask_bulk(client: Client, rows: Sequence[dict[str, Any]]) -> int:
    count = max(1, min(BULK_ROWS, BULK_BYTES // max(len(json.dumps(row)) for row in rows)))
    return len(client.answers([rows[at % len(rows)] for at in range(count)]))


class MemoryWatch:
    """Sample the memory of a process and its children within the block.

    Attributes:
        peak_bytes: the largest sum that was seen.
    """

    def __init__(self, pid: int) -> None:
        self.peak_bytes, self._pid, self._ended = 0, pid, threading.Event()
        self._thread = threading.Thread(target=self._watch, name="danlu-memory", daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, sum(map(_pss_bytes, _family(self._pid))))
            if self._ended.wait(SAMPLE_S):
                return


def _family(pid: int) -> list[int]:
    """Return a process and its children."""
    try:
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        children = []
    return [pid, *(each for child in children for each in _family(child))]


def _pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it ended meanwhile
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _cpu_s(pid: int) -> float:
    """Return the seconds of processor time that a process and its children have had."""
    ticks = 0
    for each in _family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
