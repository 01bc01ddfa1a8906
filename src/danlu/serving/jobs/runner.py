"""The process that predicts files of jobs, one after the other: a fork of the supervisor, replaced when it dies.

It opens the bundle that a job names by itself, so a reload of what is served changes nothing for jobs that wait. While
a job runs a thread keeps its lease; whatever takes the job away ends the work at the next block of rows.
"""

import os
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from danlu.artifacts.bundle import digest_of
from danlu.artifacts.jobs import Job, JobStore, LostLease
from danlu.artifacts.outputs import atomic_file
from danlu.core.console import ERROR, emit
from danlu.data.kinds.table import get_kind
from danlu.errors import ArtifactError, DanluError, DataError
from danlu.models.answered_rows import ReadRows, answered, rows_to_answer
from danlu.models.bundle_form import open_checked
from danlu.models.predictor import Predictor
from danlu.models.written_answers import WRITERS
from danlu.serving.jobs.callback import call_back
from danlu.serving.jobs.job import CALLBACK, PREDICT, RESULT, FileToPredict
from danlu.serving.refusals import readable

LEASE_S = 10.0
BEAT_S = 2.0
POLL_S = 0.25
KEPT_S, TIDY_S = 7 * 86_400.0, 600.0  # how long ended jobs are kept, and how often that is looked after
NICE = 5  # requests come first
STORE_BUSY_S = 2.0  # before a store that could not be reached is asked again


class Ended(Exception):
    """End the work on a job that was taken away, or must be given back."""


def worker_name(pid: int) -> str:
    """Return the name by which a process claims jobs."""
    return f"{socket.gethostname()}:{pid}"


@dataclass
class Runner:
    """Do the jobs of a store, one at a time.

    Attributes:
        store: of the jobs.
        stopping: is set when the process is to end.
    """

    store: JobStore
    stopping: threading.Event = field(default_factory=threading.Event)
    _predictor: Predictor | None = None
    _opened: tuple[str, str] = ("", "")

    def run(self) -> None:
        """Do jobs until told to stop, or until the supervisor is gone."""
        parent, tidied = os.getppid(), 0.0
        threading.Thread(target=self._call_back, name="danlu-callbacks", daemon=True).start()
        while not self.stopping.is_set() and os.getppid() == parent:
            try:
                if time.monotonic() - tidied > TIDY_S or not tidied:
                    self.store.forget([PREDICT, CALLBACK], older_s=KEPT_S)
                    tidied = time.monotonic()
                job = self.store.claim([PREDICT], worker=worker_name(os.getpid()), lease_s=LEASE_S)
                if job is None:
                    self.stopping.wait(POLL_S)
                else:
                    self._do(job, parent)
            except (DanluError, OSError) as error:  # of the store: another time it may be there
                emit(f"danlu serve: jobs: {error}", ERROR)
                self.stopping.wait(STORE_BUSY_S)

    def _do(self, job: Job, parent: int) -> None:
        lease = HeldLease(self.store, job)
        try:
            with lease:
                rows, wrong, file = self._predict(job, lease, parent)
            self.store.complete(job, {"file": file.name, "rows": rows, "rows_in_error": wrong})
            for other in file.parent.iterdir():  # the rows, and what workers that were killed had written
                if other != file:
                    other.unlink(missing_ok=True)
        except Ended:
            with suppress(LostLease):
                self.store.release(job)
        except LostLease:
            return
        except DanluError as error:
            with suppress(LostLease):
                self.store.fail(job, {"code": error.code, "message": readable(self._without_place(error, job))})
        except Exception as error:
            emit(f"danlu serve: job {job.id}: {type(error).__name__}: {error}", ERROR)
            told = {"code": "DL900", "message": "the server failed at this job; its log says why"}
            with suppress(LostLease):
                self.store.fail(job, told, again_s=BEAT_S)

    def _predict(self, job: Job, lease: "HeldLease", parent: int) -> tuple[int, int, Path]:
        """Write a job's answers; return their number, those in error, and the file."""
        asked = FileToPredict.of(job)
        predictor = self._open(asked)
        source = asked.source(self.store, job.id)
        file = source.with_name(f"{RESULT}-{job.token}.{asked.output}")

        def progress(done: int, rows: int) -> None:
            lease.progress = {"step": done, "steps": rows}
            if lease.is_lost or self.stopping.is_set() or os.getppid() != parent:
                raise Ended

        with rows_to_answer(predictor.bundle, str(source)) as rows:
            _refuse_paths(predictor, rows)
            progress(0, rows.read.frame.height)
            with answered(predictor.predict_source, rows, asked.broken, progress) as found, atomic_file(file) as aside:
                WRITERS[file.suffix](found.table, aside)
                progress(rows.read.frame.height, rows.read.frame.height)
        return found.table.height, found.errors.count, file

    def _open(self, asked: FileToPredict) -> Predictor:
        """Open the bundle that a job was submitted for.

        Raises:
            ArtifactError: it is there no longer.
        """
        gone = f"the model that this was asked of, {asked.model} with the digest {asked.digest}, is here no longer"
        try:
            bundle = open_checked(asked.folder)
        except ArtifactError as error:
            raise ArtifactError(gone, code="DL301") from error
        if digest_of(bundle.manifest) != asked.digest:
            raise ArtifactError(f"{gone}; another one took its place: submit the file again", code="DL301")
        if self._predictor is None or self._opened != (asked.digest, asked.engine):
            self._predictor = None  # two at a time may be too much for the memory
            self._predictor = Predictor.load(bundle, engine=asked.engine, own_code=asked.own_code)
            self._opened = asked.digest, asked.engine
        return self._predictor

    def _without_place(self, error: DanluError, job: Job) -> str:
        """Return an error's message without folders of this machine."""
        asked = FileToPredict.of(job)
        source = asked.source(self.store, job.id)
        return str(error).replace(str(source), source.name).replace(str(source.parent), "")

    def _call_back(self) -> None:
        while not self.stopping.is_set():
            try:
                call = self.store.claim([CALLBACK], worker=worker_name(os.getpid()), lease_s=2 * LEASE_S)
                if call is not None:
                    call_back(self.store, call)
                    continue
            except (DanluError, OSError) as error:
                emit(f"danlu serve: callbacks: {error}", ERROR)
                self.stopping.wait(STORE_BUSY_S)
            self.stopping.wait(POLL_S)


def _refuse_paths(predictor: Predictor, rows: ReadRows) -> None:
    """Raise DataError where a file of a client names files of this machine."""
    if not get_kind(predictor.manifest.kind).refers_to_files:
        return
    import polars as pl

    for name in predictor.preprocessor.columns:
        if name in rows.read.frame.columns and rows.read.frame.schema[name] != pl.Binary:
            raise DataError(
                f"column {name!r} must hold the images themselves: Parquet or Arrow with a column of bytes",
                code="DL230",
            )


class HeldLease:
    """Keep a job's lease from a thread, within the block.

    Attributes:
        progress: what is told with each beat.
        is_lost: whether another has the job, or it was stopped.
    """

    def __init__(self, store: JobStore, job: Job) -> None:
        self._store, self._job = store, job
        self.progress: dict[str, int] | None = None
        self.is_lost = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="danlu-lease", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._done.wait(BEAT_S):
            try:
                self._store.heartbeat(self._job, lease_s=LEASE_S, progress=self.progress)
            except LostLease:
                self.is_lost = True
                return
            except DanluError as error:  # the store is busy: the lease holds for some beats
                emit(f"danlu serve: job {self._job.id}: {error}", ERROR)


def run_jobs(place: str) -> None:
    """Do the jobs of a store in this process, until SIGTERM."""
    runner = Runner(JobStore.open(place))
    signal.signal(signal.SIGTERM, lambda *_: runner.stopping.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal it goes to all; the supervisor tells us
    os.nice(NICE)
    runner.run()
