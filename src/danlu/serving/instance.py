"""One version of a model in a worker: its batcher, its metrics, and the constant parts of its answers."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from danlu.serving.answering import Answer, Rows, Served
from danlu.serving.batching import Batcher
from danlu.serving.drift import Drift
from danlu.serving.language.counters import place_counters
from danlu.serving.limits import Limits
from danlu.serving.metrics import Counter, Layout, Row
from danlu.serving.refusals import Refusal, Refused

ROUTES = ("predict", "v2", "grpc", "v1")
STATUSES = (200, 400, 401, 404, 408, 413, 415, 422, 429, 500, 503)
STAGES = ("decode", "queue", "compute", "request")


class Question:
    """Hold rows to be answered, and what makes a request's answer of theirs.

    Attributes:
        rows: as the bundle reads them.
        finish: the rows' answers -> what the client gets; called where the batch was computed.
        explains: whether `finish` computes explanations, which take long: the answers wait for it elsewhere.
        answers: of the rows, once they are computed.
    """

    __slots__ = ("answers", "explains", "finish", "rows")

    def __init__(self, rows: Rows, finish: Callable[[list[Answer]], Any], explains: bool = False) -> None:
        self.rows, self.finish, self.explains = rows, finish, explains
        self.answers: list[Answer] = []


class Instance:
    """Answer the requests of one version of a model.

    Attributes:
        name, version: of the model.
        served: the opened bundle.
        batcher: computes rows together.
        drift: compares what is asked and answered with the training.
        head: header lines that name the digest.
        opening: the constant beginning of a plain answer's JSON.
    """

    def __init__(
        self, name: str, version: str, served: Served, loop: asyncio.AbstractEventLoop, limits: Limits, row: Row
    ) -> None:
        self.name, self.version, self.served = name, version, served
        self.drift = Drift(served)
        self.head = b"x-danlu-digest: " + served.digest.encode() + b"\r\n"
        told = {"model": name, "version": version, "digest": served.digest}
        self.opening = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()[:-1]
        self._reads_texts = any(column.type == "text" for column in served.columns)
        labels = (name, version)
        self.statuses = {
            route: {status: row.counter("danlu_requests", (*labels, route, str(status))) for status in STATUSES}
            for route in ROUTES
        }
        self._rows, self._errors = row.counter("danlu_rows", labels), row.counter("danlu_row_errors", labels)
        self.left = row.counter("danlu_clients_left", labels)
        self.shadowed = row.counter("danlu_shadowed", labels)
        self.differing = row.counter("danlu_shadow_differences", labels)
        self._depth = row.counter("danlu_queued_rows", labels)
        self._sizes = row.histogram("danlu_batch_rows", labels)
        self.stages = {stage: row.histogram("danlu_stage_seconds", (*labels, stage)) for stage in STAGES}
        self.batcher = Batcher(loop, self.run, limits, self)

    def run(self, questions: Sequence[Question]) -> list[Any]:
        """Answer a batch, and write each request's answer."""
        answers = self.served.answer([question.rows for question in questions])
        for question, found in zip(questions, answers, strict=True):
            question.answers = found
        return [None if question.explains else finished(question) for question in questions]

    def bucket_of(self, size: int, rows: int) -> int:
        """Return the bucket of rows whose body has a size.

        Texts of about one length are padded little.
        """
        return (size // max(1, rows)).bit_length() if self._reads_texts else 0

    def answered(self, route: str, question: Question, seconds: float) -> None:
        """Count a request that was answered."""
        self.statuses[route][200].add()
        self.stages["request"].observe(seconds)
        self.drift.observe(question.rows, question.answers)
        errors = sum("error" in answer for answer in question.answers)
        if errors:
            self._errors.add(errors)

    def count(self, route: str, status: int) -> None:
        """Count an answered request."""
        counters: dict[int, Counter] = self.statuses[route]
        counters[status if status in counters else 500].add()

    def batch(self, rows: int, queued_s: Sequence[float], computed_s: float) -> None:
        """Take the times of a batch; see `batching.Watcher`."""
        self._rows.add(rows)
        self._sizes.observe(rows)
        self.stages["compute"].observe(computed_s)
        for waited in queued_s:
            self.stages["queue"].observe(waited)

    def depth(self, rows: int) -> None:
        """Take the number of rows that wait."""
        self._depth.set(rows)


def finished(question: Question) -> Any:
    """Return what a client gets for its rows' answers, which may be a refusal."""
    try:
        return question.finish(question.answers)
    except Refused as refused:  # the protocol has no place for what went wrong
        return Refusal.of(refused)


def place_metrics(layout: Layout, name: str, version: str) -> None:
    """Give the numbers of a version their places, before workers are forked.

    Raises:
        ValueError: no room is left.
    """
    labels = (name, version)
    for route in ROUTES:
        for status in STATUSES:
            layout.place("danlu_requests", (*labels, route, str(status)))
    for counted in ("rows", "row_errors", "clients_left", "shadowed", "shadow_differences", "queued_rows"):
        layout.place(f"danlu_{counted}", labels)
    layout.place("danlu_batch_rows", labels)
    for stage in STAGES:
        layout.place("danlu_stage_seconds", (*labels, stage))
    place_counters(layout, name, version)
