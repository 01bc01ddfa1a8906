"""The log of what was asked and answered: a line of JSON a request, enough to answer it again bit by bit.

In: the rows and answers of requests, as they were computed. Out: lines appended to a file, and lines read back. A line
says with which others a request was computed, since rounding may depend on that.
"""

import base64
import os
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from danlu.core.console import ERROR, emit
from danlu.core.threads import usable_cores
from danlu.errors import DataError
from danlu.serving.answering import Answer, Rows, Served

MOST_WAITING = 100_000  # lines; what comes beyond, while the disk does not take them, is counted and lost


class LogLine(msgspec.Struct, omit_defaults=True):
    """Hold a line.

    Attributes:
        id: of the request.
        time: when it was answered, as 2026-01-31T10:20:30.123456+00:00.
        model: its name and version, as `wine/3`.
        digest: of the bundle.
        engine: what computed the network.
        threads: that computed it.
        batch: the batch's name, its rows, and where this request's rows began.
        request: `{"rows": [...]}`, as they were read; of a language model the body.
        answer: the rows' answers, a list; of a language model the answer in one piece, a stream's as well.
        route: of a language model, as /v1/chat/completions; left out for rows.
    """

    id: str
    time: str
    model: str
    digest: str
    engine: str
    threads: int
    batch: tuple[str, int, int]
    request: msgspec.Raw
    answer: msgspec.Raw
    route: str = ""


class Waiting(NamedTuple):
    """Hold what a line will say of rows, until it is written."""

    request_id: str
    time: float
    model: str
    served: Served
    batch: tuple[str, int, int]
    rows: Rows
    answers: Sequence[Answer]


class WaitingText(NamedTuple):
    """Hold what a line will say of texts, until it is written."""

    request_id: str
    time: float
    model: str
    served: Served
    route: str
    request: bytes
    answer: bytes


class RequestLog:
    """Append to a log; `write` only remembers, `flush` writes, in whatever thread.

    Several processes may append to one file: each flush is one write of whole lines.

    Args:
        path: of the file; it is opened anew at each flush, so it may be moved away.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: deque[Waiting | WaitingText] = deque()
        self.lost = 0

    def write(
        self,
        request_id: str,
        time: float,
        model: str,
        served: Served,
        batch: tuple[str, int, int],
        rows: Rows,
        answers: Sequence[Answer],
    ) -> None:
        """Remember a request that was answered.

        Args:
            request_id: of the request.
            time: seconds since 1970.
            model: name and version, as `wine/3`.
            served: what answered it.
            batch: the batch's name, its rows, and where this request's rows began.
            rows, answers: as `Served.answer` took and gave them.
        """
        self._remember(Waiting(request_id, time, model, served, batch, rows, answers))

    def write_text(
        self, request_id: str, time: float, model: str, served: Served, route: str, request: bytes, answer: bytes
    ) -> None:
        """Remember a request of a language model that was answered.

        Args:
            request_id, time, model, served: as `write` takes them.
            route: that it came by.
            request, answer: JSON.
        """
        self._remember(WaitingText(request_id, time, model, served, route, request, answer))

    def _remember(self, told: Waiting | WaitingText) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self.lost += 1
            return
        self._waiting.append(told)

    def flush(self) -> None:
        """Write what waits; a disk that is full loses lines, never an answer."""
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not taken:
            return
        content = b"".join(self._line(each) + b"\n" for each in taken)
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                written = os.write(file, content)
            finally:
                os.close(file)
        except OSError as error:
            written = 0
            emit(f"{self._path}: {len(taken)} lines of the log were lost: {error.strerror}", ERROR)
        if written < len(content):
            self.lost += content[written:].count(b"\n")

    def _line(self, told: Waiting | WaitingText) -> bytes:
        if isinstance(told, WaitingText):
            # Which texts ran beside it changed at each token, so its batch is its own.
            batch, route, request, answer = (told.request_id, 1, 0), told.route, told.request, told.answer
        else:
            request = msgspec.json.encode({"rows": rows_as_json(told.served, told.rows)})
            batch, route, answer = told.batch, "", msgspec.json.encode(told.answers)
        line = LogLine(
            id=told.request_id,
            time=datetime.fromtimestamp(told.time, UTC).isoformat(timespec="microseconds"),
            model=told.model,
            digest=told.served.digest,
            engine=told.served.engine,
            threads=threads_of(told.served.engine),
            batch=batch,
            request=msgspec.Raw(request),
            answer=msgspec.Raw(answer),
            route=route,
        )
        return msgspec.json.encode(line)


def threads_of(engine: str) -> int:
    """Return how many threads an engine computes with in this process."""
    if engine == "torch":
        import torch

        return torch.get_num_threads()
    if engine == "numpy":
        from threadpoolctl import threadpool_info

        return max((pool["num_threads"] for pool in threadpool_info()), default=1)
    return usable_cores()


def rows_as_json(served: Served, rows: Rows) -> list[Any]:
    """Return the rows of a request as JSON can hold them, files as base64."""
    return [_plain(row) for row in served.raw_rows(rows)]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return {name: _plain(cell) for name, cell in value.items()} if isinstance(value, dict) else value


def read_log(path: Path) -> Iterator[LogLine]:
    """Read a log, line by line, without a last line that was cut off.

    Raises:
        DataError: the file cannot be read, or a line is none of a log.
    """
    decoder = msgspec.json.Decoder(LogLine)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield decoder.decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    raise DataError(f"{path}:{number}: is no line of a server's log: {error}", code="DL202") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", code="DL201") from error
