"""Jobs that survive whoever does them: exactly one worker holds each, and its end is recorded once.

A job is a kind and a payload. A worker claims one for the length of a lease, says now and then that it lives, writes
its result whole, and records the end. A lease that ran out gives the job to another worker; the token that each claim
raises keeps the first one from recording anything from then on. So work may be done twice, and is never recorded twice.

Knows nothing of what jobs do. Whoever wants a queue of something (files to predict, trials of a search, commands of a
page) chooses a kind, keeps what the work needs in `payload`, and what it shows meanwhile in `progress`, both JSON.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self
from uuid import uuid4

from danlu.artifacts.files import translate_write_errors
from danlu.artifacts.job_database import (
    LOCK,
    Database,
    PostgresDatabase,
    Row,
    SqliteDatabase,
    Transaction,
    is_postgres,
    parse_url,
)
from danlu.errors import ArtifactError

FILE, FILES = "jobs.sqlite", "files"
ORPHAN_S = 86_400.0  # a folder of files that no job names is left alone so long: its job may be about to be queued
State = Literal["queued", "running", "done", "failed", "stopped"]
TABLE = """
CREATE TABLE IF NOT EXISTS danlu_jobs_1 (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, payload TEXT NOT NULL, state TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL, ready DOUBLE PRECISION NOT NULL, tries INTEGER NOT NULL,
    most_tries INTEGER NOT NULL, token INTEGER NOT NULL, worker TEXT, lease_until DOUBLE PRECISION,
    heartbeat DOUBLE PRECISION, progress TEXT, result TEXT, error TEXT, ended DOUBLE PRECISION, successor TEXT
)"""
INDEX = "CREATE INDEX IF NOT EXISTS danlu_jobs_1_order ON danlu_jobs_1 (state, created)"


class LostLease(ArtifactError):
    """Report that a worker's lease ran out, or its job was stopped."""


@dataclass(frozen=True)
class NewJob:
    """Describe a job to be queued.

    Attributes:
        kind: who does it: a worker claims the kinds that it knows.
        payload: what it needs, as JSON values.
        most_tries: claims before it has failed, each of which ended with its worker's death or a passing error.
        then: is queued in the moment in which this one ends, however it does.
        id: of the job; a random one, which nobody guesses.
    """

    kind: str
    payload: Mapping[str, Any]
    most_tries: int = 3
    then: "NewJob | None" = None
    id: str = field(default_factory=lambda: uuid4().hex)

    def to_json(self) -> str:
        """Return it as the database keeps a successor."""
        return json.dumps([self.kind, self.payload, self.most_tries, self.id])

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        kind, payload, most_tries, id_ = json.loads(text)
        return cls(kind, payload, most_tries, id=id_)


@dataclass(frozen=True)
class Job:
    """Hold a job as it was when it was asked for.

    Attributes:
        id, kind, payload, most_tries: as of a NewJob.
        state: queued, running, done, failed or stopped.
        tries: how often it was claimed.
        token: is raised by each claim; what an earlier holder records is refused.
        worker: the latest holder.
        created, ended: seconds since 1970.
        heartbeat: when its worker was last heard of.
        progress: what the worker last told, JSON.
        result: of one that is done: small JSON values, which name files rather than hold them.
        error: of one that failed: `code` and `message`.
    """

    id: str
    kind: str
    payload: dict[str, Any]
    state: State
    tries: int
    most_tries: int
    token: int
    worker: str | None
    created: float
    ended: float | None
    heartbeat: float | None
    progress: Any
    result: Any
    error: dict[str, str] | None

    @classmethod
    def of(cls, row: Row) -> Self:
        """Make one of a row of the table."""
        parsed = {name: json.loads(row[name] or "null") for name in ("payload", "progress", "result", "error")}
        kept = {name: row[name] for name in cls.__dataclass_fields__ if name not in parsed}
        return cls(**kept, **parsed)

    @property
    def has_ended(self) -> bool:
        """Whether nothing about it changes any more."""
        return self.state not in ("queued", "running")


class JobStore:
    """Queue jobs, hand each to one worker, and keep how it ended.

    Any number of processes and threads may use one at a time, each with an object of its own or a shared one.

    Attributes:
        folder: of the jobs' files.

    Example:
        >>> import tempfile
        >>> store = JobStore.open(tempfile.mkdtemp())
        >>> asked = store.submit(NewJob("sum", {"numbers": [1, 2]}))
        >>> job = store.claim(["sum"], worker="one", lease_s=60)
        >>> store.complete(job, {"sum": sum(job.payload["numbers"])})
        >>> store.get(asked.id).state, store.get(asked.id).result
        ('done', {'sum': 3})
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self._database, self.folder = database, folder
        with translate_write_errors(folder):
            (folder / FILES).mkdir(parents=True, exist_ok=True)
        with database.begin() as transaction:
            if transaction.lock:  # PostgreSQL's IF NOT EXISTS does not hold against another that makes it now
                transaction.run(f"SELECT pg_advisory_xact_lock({LOCK})")
            transaction.run(TABLE)
            transaction.run(INDEX)

    @classmethod
    def open(cls, place: str | Path, *, clock: Callable[[], float] = time.time) -> Self:
        """Open a store, made where there is none.

        Args:
            place: a folder, or `postgresql://USER@HOST/DATABASE?folder=FOLDER`.
            clock: seconds since 1970, for a folder; PostgreSQL has its own.

        Raises:
            ArgumentError: the URL is none.
            ArtifactError: the folder or the database cannot be used.
            MissingExtra: the extra `postgres` is not installed.
        """
        if is_postgres(str(place)):
            url, folder = parse_url(str(place))
            return cls(PostgresDatabase(url), folder)
        folder = Path(place)
        with translate_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return cls(SqliteDatabase(folder / FILE, clock), folder)

    def files_of(self, job_id: str) -> Path:
        """Return the folder of a job's files, which whoever writes there makes."""
        return self.folder / FILES / job_id

    # -- for those who ask

    def submit(self, new: NewJob) -> Job:
        """Queue a job.

        Raises:
            ArtifactError: the store cannot be used, or has such a job.
        """
        with self._database.begin() as transaction:
            return _insert(transaction, new)

    def get(self, job_id: str, kinds: Sequence[str] = ()) -> Job | None:
        """Return a job; None where there is none, or none of some kinds."""
        where, values = _among("kind", kinds) if kinds else ("1 = 1", {})
        with self._database.begin() as transaction:
            statement = f"SELECT * FROM danlu_jobs_1 WHERE id = :id AND {where}"  # noqa: S608
            return _first(transaction.run(statement, id=job_id, **values))

    def list(self, kinds: Sequence[str], states: Sequence[State] = ()) -> Sequence[Job]:
        """Return the jobs of some kinds, oldest first; in some states, or in any."""
        where, values = _among("kind", kinds)
        if states:
            further, more = _among("state", states)
            where, values = f"{where} AND {further}", values | more
        with self._database.begin() as transaction:
            rows = transaction.run(f"SELECT * FROM danlu_jobs_1 WHERE {where} ORDER BY created, id", **values)  # noqa: S608
        return [Job.of(row) for row in rows]

    def count(self, kinds: Sequence[str], states: Sequence[State]) -> int:
        """Count the jobs of some kinds in some states."""
        (of_kind, kind_values), (in_state, state_values) = _among("kind", kinds), _among("state", states)
        statement = f"SELECT count(*) AS number FROM danlu_jobs_1 WHERE {of_kind} AND {in_state}"  # noqa: S608
        with self._database.begin() as transaction:
            return int(transaction.run(statement, **kind_values, **state_values)[0]["number"])

    def stop(self, job_id: str) -> Job | None:
        """Stop a job that has not ended; its next heartbeat tells its worker.

        Returns:
            the job as it is now; None where there is none.
        """
        with self._database.begin() as transaction:
            _end(transaction, "stopped", job_id)
            return _first(transaction.run("SELECT * FROM danlu_jobs_1 WHERE id = :id", id=job_id))

    # -- for workers

    def claim(self, kinds: Sequence[str], *, worker: str, lease_s: float) -> Job | None:
        """Take the oldest job that waits, or whose holder's lease ran out.

        Args:
            kinds: that this worker does.
            worker: its name, for people.
            lease_s: until it must have said that it lives.

        Returns:
            the job, which nobody else holds; None where none waits.
        """
        where, values = _among("kind", kinds)
        with self._database.begin() as transaction:
            now, lock = transaction.now, transaction.lock
            lost = f"{where} AND state = 'running' AND lease_until < :now"
            waits = f"({where} AND state = 'queued' AND ready <= :now) OR ({lost})"
            spent = f"SELECT id, tries FROM danlu_jobs_1 WHERE {lost} AND tries >= most_tries {lock}"  # noqa: S608
            for row in transaction.run(spent, now=now, **values):
                told = f"its worker ended before it did, {row['tries']} times"
                _end(transaction, "failed", row["id"], error={"code": "DL605", "message": told})
            chosen = f"SELECT id FROM danlu_jobs_1 WHERE {waits} ORDER BY created, id LIMIT 1 {lock}"  # noqa: S608
            found = transaction.run(chosen, now=now, **values)
            if not found:
                return None
            return _first(
                transaction.run(
                    "UPDATE danlu_jobs_1 SET state = 'running', worker = :worker, token = token + 1, "
                    "tries = tries + 1, heartbeat = :now, lease_until = :until, progress = NULL "
                    "WHERE id = :id RETURNING *",
                    id=found[0]["id"],
                    worker=worker,
                    now=now,
                    until=now + lease_s,
                )
            )

    def heartbeat(self, job: Job, *, lease_s: float, progress: Any = None) -> None:
        """Say that the worker lives, and how far it is.

        Raises:
            LostLease: it holds the job no longer, and should stop.
        """
        with self._database.begin() as transaction:
            held = transaction.run(
                "UPDATE danlu_jobs_1 SET heartbeat = :now, lease_until = :until, progress = :progress "
                "WHERE id = :id AND token = :token AND state = 'running' RETURNING id",
                now=transaction.now,
                until=transaction.now + lease_s,
                progress=json.dumps(progress),
                id=job.id,
                token=job.token,
            )
        if not held:
            raise _lost(job)

    def complete(self, job: Job, result: Any) -> None:
        """Record that a job is done; what it wrote must be whole by now.

        Args:
            job: as it was claimed.
            result: JSON values.

        Raises:
            LostLease: another worker has the job, or it was stopped; nothing was recorded.
        """
        self._finish(job, "done", result=result)

    def fail(self, job: Job, error: Mapping[str, str], *, again_s: float | None = None) -> None:
        """Record that a job failed.

        Args:
            job: as it was claimed.
            error: `code` and `message`.
            again_s: seconds after which it may be tried again, where tries are left; None where that would not help.

        Raises:
            LostLease: as `complete`.
        """
        if again_s is None or job.tries >= job.most_tries:
            self._finish(job, "failed", error=error)
        else:
            self._give_back(job, again_s, 0)

    def release(self, job: Job) -> None:
        """Give a job back that is not to be done now, uncounted.

        Raises:
            LostLease: as `complete`.
        """
        self._give_back(job, 0.0, 1)

    def abandon(self, worker: str) -> int:
        """End a dead worker's leases; return how many jobs wait again."""
        with self._database.begin() as transaction:
            left = transaction.run(
                "UPDATE danlu_jobs_1 SET lease_until = 0 WHERE worker = :worker AND state = 'running' RETURNING id",
                worker=worker,
            )
        return len(left)

    def _finish(self, job: Job, state: State, result: Any = None, error: Mapping[str, str] | None = None) -> None:
        with self._database.begin() as transaction:
            if not _end(transaction, state, job.id, result, error, job.token):
                raise _lost(job)

    def _give_back(self, job: Job, again_s: float, fewer: int) -> None:
        with self._database.begin() as transaction:
            held = transaction.run(
                "UPDATE danlu_jobs_1 SET state = 'queued', ready = :ready, tries = tries - :fewer, lease_until = NULL "
                "WHERE id = :id AND token = :token AND state = 'running' RETURNING id",
                ready=transaction.now + again_s,
                fewer=fewer,
                id=job.id,
                token=job.token,
            )
        if not held:
            raise _lost(job)

    # -- for those who tidy up

    def remove(self, job_id: str) -> bool:
        """Delete a job that has ended, and its files; return whether there was one."""
        with self._database.begin() as transaction:
            gone = transaction.run(
                "DELETE FROM danlu_jobs_1 WHERE id = :id AND state NOT IN ('queued', 'running') RETURNING id", id=job_id
            )
        if gone:
            shutil.rmtree(self.files_of(job_id), ignore_errors=True)
        return bool(gone)

    def forget(self, kinds: Sequence[str], *, older_s: float) -> int:
        """Delete jobs that ended so many seconds ago, and their files; return how many.

        What no job names is deleted too: files of jobs that were never queued, a day old.
        """
        where, values = _among("kind", kinds)
        with self._database.begin() as transaction:
            deleted = transaction.run(
                f"DELETE FROM danlu_jobs_1 WHERE {where} AND ended < :before RETURNING id",  # noqa: S608
                before=transaction.now - older_s,
                **values,
            )
            known = {row["id"] for row in transaction.run("SELECT id FROM danlu_jobs_1")}
        gone = {row["id"] for row in deleted}
        for folder in (self.folder / FILES).iterdir():
            is_orphan = folder.name not in known and time.time() - folder.stat().st_mtime > ORPHAN_S
            if folder.name in gone or is_orphan:
                shutil.rmtree(folder, ignore_errors=True)
        return len(gone)


def _among(column: str, chosen: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Return a condition that a column is one of some values, and these by name."""
    values = {f"{column}{number}": value for number, value in enumerate(chosen)}
    return f"{column} IN ({', '.join(f':{name}' for name in values)})", values


def _first(rows: Sequence[Row]) -> Job | None:
    return Job.of(rows[0]) if rows else None


def _insert(transaction: Transaction, new: NewJob) -> Job:
    rows = transaction.run(
        "INSERT INTO danlu_jobs_1 (id, kind, payload, state, created, ready, tries, most_tries, token, successor) "
        "VALUES (:id, :kind, :payload, 'queued', :now, :now, 0, :most_tries, 0, :successor) RETURNING *",
        id=new.id,
        kind=new.kind,
        payload=json.dumps(new.payload),
        now=transaction.now,
        most_tries=new.most_tries,
        successor=None if new.then is None else new.then.to_json(),
    )
    return Job.of(rows[0])


def _end(
    transaction: Transaction,
    state: State,
    job_id: str,
    result: Any = None,
    error: Mapping[str, str] | None = None,
    token: int | None = None,
) -> bool:
    """End a job that has not ended, and queue its successor.

    Args:
        token: of the holder, which must still hold it; None for whoever stops it.

    Returns:
        whether it did.
    """
    held = "state IN ('queued', 'running')" if token is None else "state = 'running' AND token = :token"
    rows = transaction.run(
        "UPDATE danlu_jobs_1 SET state = :state, result = :result, error = :error, ended = :now, lease_until = NULL "  # noqa: S608
        f"WHERE id = :id AND {held} RETURNING successor",
        state=state,
        result=None if result is None else json.dumps(result),
        error=None if error is None else json.dumps(dict(error)),
        now=transaction.now,
        id=job_id,
        **({} if token is None else {"token": token}),
    )
    for row in rows:
        if row["successor"] is not None:
            _insert(transaction, NewJob.from_json(row["successor"]))
    return bool(rows)


def _lost(job: Job) -> LostLease:
    return LostLease(f"job {job.id}: another worker has it, or it was stopped or has ended", code="DL307")
