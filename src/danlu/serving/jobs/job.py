"""A file to be predicted, as the job store keeps it: which bundle, by which digest, which file, in which form."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from danlu.artifacts.jobs import Job, JobStore, NewJob
from danlu.core.component import Frozen

PREDICT, CALLBACK = "predict-file", "callback"  # kinds of jobs
INPUT, RESULT = "rows", "answers"  # names of files, before their suffixes
MOST_TRIES, MOST_CALLS = 5, 6
SUFFIXES = {  # of files that are taken: those that can name no other file of this machine
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".jsonl": "application/x-ndjson",
    ".ndjson": "application/x-ndjson",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".arrow": "application/vnd.apache.arrow.file",
    ".feather": "application/vnd.apache.arrow.file",
}
OTHER_TYPES = {
    "application/csv": ".csv",
    "application/jsonl": ".jsonl",
    "application/jsonlines": ".jsonl",
    "application/x-jsonlines": ".jsonl",
    "application/x-parquet": ".parquet",
    "application/parquet": ".parquet",
    "application/vnd.apache.arrow.stream": ".arrow",
}
TYPES = {**{type_: suffix for suffix, type_ in reversed(SUFFIXES.items())}, **OTHER_TYPES}
Form = Literal["csv", "jsonl", "parquet"]


class FileToPredict(Frozen):
    """Describe a file to be predicted.

    Attributes:
        model, version: as they were served.
        folder: of the bundle.
        digest: of the bundle at submission; another one does not answer.
        engine: that answers.
        own_code: whether code that the bundle names may run.
        suffix: of the file.
        output: the form of the answers.
        broken: what becomes of a row that cannot be answered.
        owner: the key that asked; empty where none is needed.
    """

    model: str
    version: str
    folder: Path
    digest: str
    engine: str
    own_code: bool = False
    suffix: str
    output: Form
    broken: Literal["row", "skip", "fail"] = "row"
    owner: str = Field(default="", repr=False)

    @classmethod
    def of(cls, job: Job) -> "FileToPredict":
        """Read it from a job."""
        return cls.model_validate(job.payload)

    def source(self, store: JobStore, job_id: str) -> Path:
        """Return the file."""
        return store.files_of(job_id) / f"{INPUT}{self.suffix}"

    def new_job(self, job_id: str, callback: str | None) -> NewJob:
        """Return the job, and with a callback the one that tells of its end."""
        then = None if callback is None else NewJob(CALLBACK, {"job": job_id, "url": callback}, MOST_CALLS)
        return NewJob(PREDICT, self.model_dump(mode="json"), MOST_TRIES, then, job_id)


def form_of(suffix: str) -> Form:
    """Return the form of answers to a file, where nobody says another."""
    if suffix in (".jsonl", ".ndjson", ".json"):
        return "jsonl"
    return "parquet" if suffix in (".parquet", ".arrow", ".feather") else "csv"


def described(job: Job) -> dict[str, Any]:
    """Return what a client is told of a job."""
    asked, found = FileToPredict.of(job), job.result or {}
    return {
        "id": job.id,
        "state": job.state,
        "model": asked.model,
        "version": asked.version,
        "digest": asked.digest,
        "progress": job.progress,
        "result": f"/jobs/{job.id}/result" if job.state == "done" else None,
        "rows": found.get("rows"),
        "rows_in_error": found.get("rows_in_error"),
        "error": job.error,
        "tries": job.tries,
        "created": job.created,
        "ended": job.ended,
    }


@dataclass(frozen=True)
class CallbackList:
    """Hold the beginnings of URLs that jobs may call when they end; by default none."""

    allowed: tuple[str, ...] = ()

    def allows(self, url: str) -> bool:
        """Return whether a URL is an allowed one, or below one."""
        return any(_is_below(url, allowed) for allowed in self.allowed)


def is_callback(url: str) -> bool:
    """Return whether a URL can be called: http or https, a host, no password."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc and _port(url) > 0
    except ValueError:
        return False


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port if parts.port is not None else {"http": 80, "https": 443}[parts.scheme]


def _is_below(url: str, allowed: str) -> bool:
    if not is_callback(url) or not url.isprintable() or " " in url or "\\" in url:
        return False
    asked, known = urlsplit(url), urlsplit(allowed)
    if (asked.scheme, asked.hostname, _port(url)) != (known.scheme, known.hostname, _port(allowed)):
        return False
    if ".." in asked.path or "%" in asked.path:  # which a server may take for a way up
        return False
    root = known.path.rstrip("/")
    return asked.path.rstrip("/") == root or asked.path.startswith(root + "/")
