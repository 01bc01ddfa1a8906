"""Batches of the requests that wait for one model: gathered within a turn of the event loop, computed together.

In: jobs, each some rows of one client with a deadline. Out: a result or a refusal to each, in the event loop. Nothing
waits for a batch to fill: what arrived in one turn of the loop is computed in the next, and what arrives while a batch
is computed in a thread makes the next one. Knows neither HTTP nor bundles.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, thread_time
from typing import Any, Protocol

from danlu.core.console import emit_traceback
from danlu.serving.limits import Limits
from danlu.serving.pace import Pace
from danlu.serving.refusals import Refusal, overloaded

# While more waits than a batch holds, batches of this time are computed in the event loop as well: a thread would get
# Python's lock too seldom beside a loop that is busy with refusing.
SATURATED_S = 0.02
INTERNAL = Refusal(500, "the server failed at this request; its log says why", code="DL900")
TOO_LATE = "it cannot be answered before its deadline; try again later, or allow more time"


class Watcher(Protocol):
    """Be told of each batch, for metrics."""

    def batch(self, rows: int, queued_s: Sequence[float], computed_s: float) -> None:
        """Take rows, the seconds each request waited, and the seconds of the batch."""

    def depth(self, rows: int) -> None:
        """Take the number of rows that wait."""


class Job:
    """Hold some rows of one client that wait for an answer.

    Attributes:
        payload: what the model's `run` takes.
        rows: how many they are.
        size: bytes that it holds while it waits.
        client: whose it is; clients take turns.
        deadline: the monotonic time after which nobody waits.
        done: called once in the event loop with the result or a `Refusal`, unless the job was cancelled.
        bucket: only jobs of one bucket are computed together.
    """

    __slots__ = (
        "bucket",
        "cancelled",
        "client",
        "computed",
        "deadline",
        "done",
        "payload",
        "place",
        "queued_at",
        "rows",
        "size",
    )

    def __init__(
        self,
        payload: Any,
        rows: int,
        size: int,
        client: str,
        deadline: float,
        done: Callable[[Any], None],
        bucket: int = 0,
    ) -> None:
        self.payload, self.rows, self.size, self.client = payload, rows, size, client
        self.deadline, self.done, self.bucket = deadline, done, bucket
        self.cancelled, self.queued_at = False, 0.0
        self.computed = (0.0, 0.0)  # when its batch began and ended, in monotonic seconds
        self.place = (0, 0, 0)  # the batch's number, its rows, and where this job's rows begin


class Batcher:
    """Compute jobs of one model together.

    Args:
        run: payloads -> a result for each; called in the event loop where a batch is quick, else in a thread.
        limits: of rows that wait, and of batches.
        watcher: is told of each batch.

    Attributes:
        pace: how long batches take.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, run: Callable[[list[Any]], list[Any]], limits: Limits, watcher: Watcher
    ) -> None:
        self._loop, self._run, self._limits, self._watcher = loop, run, limits, watcher
        self._queues: OrderedDict[str, deque[Job]] = OrderedDict()  # by client, the next to be served first
        self._rows = self._bytes = self._number = 0
        self._planned = self._busy = False
        self._free_at = 0.0  # when the batch in the thread will be done
        self.pace = Pace(limits.batch_rows)
        self._thread: ThreadPoolExecutor | None = None

    @property
    def waiting_rows(self) -> int:
        """The number of rows that wait."""
        return self._rows

    def too_late(self, deadline: float) -> Refusal | None:
        """Refuse a request before it is decoded, if what waits takes longer."""
        now = monotonic()
        if not self._rows and now <= deadline:
            return None
        wait = max(0.0, self._free_at - now) + self._rows * self.pace.row_s
        return overloaded(TOO_LATE, wait) if now + wait > deadline else None

    def submit(self, job: Job) -> Refusal | None:
        """Take a job, or say why not.

        A job that is refused here is not called back.
        """
        now = monotonic()
        wait = max(0.0, self._free_at - now) + self.pace.seconds(self._rows + job.rows, job.bucket)
        # Whoever comes when nothing waits is tried, else an estimate that is too high would never be corrected.
        if now + wait > job.deadline and (self._rows or self._busy or now > job.deadline):
            return overloaded(TOO_LATE, wait)
        too_many = (
            self._rows + job.rows > self._limits.queued_rows or self._bytes + job.size > self._limits.queued_bytes
        )
        if too_many and self._rows:
            return overloaded("too many rows wait for this model; try again later", wait)
        job.queued_at = now
        queue = self._queues.get(job.client)
        if queue is None:
            self._queues[job.client] = deque((job,))
        else:
            queue.append(job)
        self._rows += job.rows
        self._bytes += job.size
        if not self._planned and not self._busy:
            self._planned = True
            self._loop.call_soon(self._flush)
        return None

    def cancel(self, job: Job) -> None:
        """Forget a job whose client has left.

        One that is being computed has its result dropped.
        """
        job.cancelled = True

    def close(self) -> None:
        """Let the thread end once it is idle."""
        if self._thread is not None:
            self._thread.shutdown(wait=False)

    def _take(self) -> list[Job]:
        """Take the jobs of the next batch, clients by turns; refuse late ones."""
        taken: list[Job] = []
        rows, now, most = 0, monotonic(), self._limits.batch_rows
        bucket: int | None = None
        batch_s = 0.0
        passed_over: OrderedDict[str, deque[Job]] = OrderedDict()
        while self._queues and rows < most:
            client, queue = next(iter(self._queues.items()))
            job = queue[0]
            fits = not taken or (rows + job.rows <= most and job.bucket == taken[0].bucket)
            if not (fits or job.cancelled):
                passed_over[client] = self._queues.pop(client)
                continue
            queue.popleft()
            self._rows -= job.rows
            self._bytes -= job.size
            if queue:
                self._queues.move_to_end(client)
            else:
                del self._queues[client]
            if job.cancelled:
                continue
            if job.bucket != bucket:  # it is computed together with what waits beside it
                bucket = job.bucket
                batch_s = self.pace.batch_seconds(min(most, rows + job.rows + self._rows), bucket)
            late = now + batch_s > job.deadline and (taken or self._rows)
            if late or now > job.deadline:
                bucket = None  # the batch is smaller without it
                job.done(overloaded(TOO_LATE, self.pace.seconds(self._rows, job.bucket)))
                continue
            taken.append(job)
            rows += job.rows
        for client, queue in reversed(passed_over.items()):  # they are first next time
            self._queues[client] = queue
            self._queues.move_to_end(client, last=False)
        return taken

    def _flush(self) -> None:
        """Compute the next batch, here where it is quick, else in the thread."""
        self._planned = False
        jobs = self._take()
        self._watcher.depth(self._rows)
        if not jobs:
            return
        self._number += 1
        start, rows = 0, sum(job.rows for job in jobs)
        for job in jobs:
            job.place = (self._number, rows, start)
            start += job.rows
        held = self.pace.held_s(jobs[0].bucket, rows)
        inline_s = SATURATED_S if self._rows >= self._limits.batch_rows else self._limits.inline_s
        if held is not None and held <= inline_s:
            self._finish(jobs, rows, *self._compute(jobs), True)
        else:
            self._busy = True
            self._free_at = monotonic() + self.pace.batch_seconds(rows, jobs[0].bucket)
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="danlu-compute")
            self._loop.run_in_executor(self._thread, self._compute, jobs).add_done_callback(
                lambda future: self._returned(jobs, rows, future)
            )
        if self._rows and not self._busy and not self._planned:
            self._planned = True
            self._loop.call_soon(self._flush)

    def _compute(self, jobs: list[Job]) -> tuple[list[Any], float, float, float]:
        """Return results, when the batch began, and how long it and this thread took.

        Where a batch fails as a whole, each job is computed alone, so that none fails by its neighbours.
        """
        began, before = monotonic(), thread_time()
        try:
            results = self._run([job.payload for job in jobs])
        except Exception as error:
            results = [self._alone(job, error, len(jobs)) for job in jobs]
        return results, began, monotonic() - began, thread_time() - before

    def _alone(self, job: Job, error: Exception, jobs: int) -> Any:
        try:
            if jobs > 1:
                return self._run([job.payload])[0]
        except Exception as found:
            error = found
        emit_traceback(error)
        return INTERNAL

    def _returned(
        self, jobs: list[Job], rows: int, future: "asyncio.Future[tuple[list[Any], float, float, float]]"
    ) -> None:
        """Take over what the thread has computed."""
        self._busy = False
        if self._rows and not self._planned:
            self._planned = True
            self._loop.call_soon(self._flush)
        self._finish(jobs, rows, *future.result(), False)

    def _finish(
        self, jobs: list[Job], rows: int, results: list[Any], began: float, seconds: float, busy_s: float, inline: bool
    ) -> None:
        # In its thread a batch also waits for Python's lock, which it would not in the event loop.
        self.pace.learn(jobs[0].bucket, rows, seconds, seconds if inline else busy_s)
        self._watcher.batch(rows, [began - job.queued_at for job in jobs], seconds)
        computed = began, began + seconds
        for job, result in zip(jobs, results, strict=True):
            if not job.cancelled:
                job.computed = computed
                job.done(result)
