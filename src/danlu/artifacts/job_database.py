"""Databases that hold jobs: SQLite in a folder, PostgreSQL by URL; a transaction of each, in the same few words of SQL.

A connection lives as long as a transaction, so nothing of it crosses a fork or a thread. Knows no states of jobs.
"""

import sqlite3
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from danlu.core.imports import require_extra
from danlu.errors import ArgumentError, ArtifactError

BUSY_S = 30.0  # that a writer waits for another
CONNECT_S = 10
POSTGRES = ("postgresql", "postgres")
LOCK = 0x64616E6C  # of PostgreSQL: whoever makes the tables holds it

Row = dict[str, Any]
Run = Callable[..., Sequence[Row]]


@dataclass(frozen=True)
class Transaction:
    """Run statements that are all kept, or none.

    Attributes:
        run: a statement with `:name` values, given by keyword -> its rows.
        now: seconds since 1970, by the one clock that all workers of the database share.
        lock: what a SELECT ends with, so that others pass over the rows it found.
    """

    run: Run
    now: float
    lock: str


class Database(ABC):
    """Hold tables that several processes change."""

    @abstractmethod
    def begin(self) -> "Any":
        """Return a context manager that gives a Transaction, kept unless an error leaves the block."""

    @abstractmethod
    def __str__(self) -> str:
        """Name it in errors, without a password."""


class SqliteDatabase(Database):
    """Keep tables in one file; writers of this machine wait for one another.

    Args:
        path: of the file. A file system of a network does not lock as SQLite needs it.
        clock: seconds since 1970.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock

    def __str__(self) -> str:
        return str(self._path)

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        try:
            link = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
            try:
                link.row_factory = sqlite3.Row
                link.execute("PRAGMA journal_mode=WAL")
                link.execute("PRAGMA synchronous=FULL")  # what was said to be done is so after a power cut
                link.execute("BEGIN IMMEDIATE")  # a reader that turned into a writer could not wait

                def run(statement: str, **values: Any) -> list[Row]:
                    return [dict(row) for row in link.execute(statement, values)]

                yield Transaction(run, self._clock(), "")
                link.execute("COMMIT")
            finally:
                link.close()  # what was not committed is taken back
        except sqlite3.Error as error:
            raise _unusable(self, str(error)) from error


class PostgresDatabase(Database):
    """Keep tables in a PostgreSQL database, which workers of several machines reach.

    Args:
        url: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`; `?sslmode=require` encrypts and checks the certificate.

    Raises:
        MissingExtra: the extra `postgres` is not installed.
    """

    def __init__(self, url: SplitResult) -> None:
        require_extra("postgres", "jobs in PostgreSQL")
        self._url = url

    def __str__(self) -> str:
        return f"{self._url.scheme}://{self._url.hostname or 'localhost'}{self._url.path}"

    def _connect(self) -> Any:
        from pg8000.native import Connection

        url = self._url
        checked = parse_qs(url.query).get("sslmode", ["disable"])[0] != "disable"
        return Connection(
            unquote(url.username or "postgres"),
            host=url.hostname or "localhost",
            port=url.port or 5432,
            database=unquote(url.path.lstrip("/")) or None,
            password=unquote(url.password) if url.password else None,
            ssl_context=ssl.create_default_context() if checked else None,
            timeout=BUSY_S,
            application_name="danlu",
        )

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        from pg8000.exceptions import DatabaseError, InterfaceError

        try:
            link = self._connect()
            try:
                link.run("BEGIN")

                def run(statement: str, **values: Any) -> list[Row]:
                    rows = link.run(statement, **values) or []
                    return [dict(zip((told["name"] for told in link.columns), row, strict=True)) for row in rows]

                yield Transaction(run, _now(link), "FOR UPDATE SKIP LOCKED")
                link.run("COMMIT")
            finally:
                with suppress(InterfaceError, DatabaseError, OSError):
                    link.close()
        except (DatabaseError, InterfaceError, OSError) as error:
            told = error.args[0].get("M", error) if error.args and isinstance(error.args[0], dict) else error
            raise _unusable(self, str(told)) from error


def _now(link: Any) -> float:
    return float(link.run("SELECT extract(epoch FROM clock_timestamp())")[0][0])


def _unusable(database: Database, reason: str) -> ArtifactError:
    return ArtifactError(f"{database}: the jobs cannot be read or written: {reason}", code="DL320")


def is_postgres(place: str) -> bool:
    """Return whether a place names a PostgreSQL database."""
    return place.partition("://")[0] in POSTGRES


def parse_url(place: str) -> tuple[SplitResult, Path]:
    """Return a database's URL, and the folder of its files, which `?folder=` names.

    Raises:
        ArgumentError: it names no database or no folder.
    """
    example = "postgresql://USER@HOST/DATABASE?folder=/shared/jobs"
    try:
        url = urlsplit(place)
        named = bool(url.path.strip("/")) and url.port != 0
    except ValueError:
        raise ArgumentError(f"jobs: the URL of the database cannot be read; write {example}", code="DL402") from None
    folder = parse_qs(url.query).get("folder", [""])[0]
    if not named or not folder:
        raise ArgumentError(
            f"jobs: the URL must name a database, and a folder for the files that all its workers reach: {example}",
            code="DL402",
        )
    return url, Path(folder)
