"""API keys: a file of names and hashes, the check of a request, and how many requests a key may make.

A line of the file is `NAME SHA256 [PER_SECOND]`: the hash of the key in hex, and its limit, if it has one. The keys
themselves are written nowhere. `printf %s "$KEY" | sha256sum` makes a hash.
"""

import fcntl
import hashlib
import hmac
import math
import mmap
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from danlu.errors import ArgumentError
from danlu.serving.refusals import Refusal, overloaded

SHA256 = re.compile(r"[0-9a-f]{64}")
SPENDING_BYTES = 16
BURST_S = 1.0  # of a limit's requests may come at once
UNKNOWN = Refusal(401, "this needs a key: send the header Authorization: Bearer KEY")


@dataclass(frozen=True)
class Key:
    """Describe one key.

    Attributes:
        name: of its owner, as logs and metrics show it.
        digest: SHA-256 of the key.
        per_second: requests; None for no limit.
    """

    name: str
    digest: bytes
    per_second: float | None = None


def read_keys(path: Path) -> tuple[Key, ...]:
    """Read a file of keys.

    Raises:
        ArgumentError: it cannot be read, or a line is no key.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(f"--keys: {path}: cannot be read: {error}", code="DL402") from error
    keys = [_read_key(path, number, line.split()) for number, line in enumerate(lines, 1) if is_entry(line)]
    if not keys:
        raise ArgumentError(f"--keys: {path}: holds no key; a line is NAME SHA256 [PER_SECOND]", code="DL402")
    names = [key.name for key in keys]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ArgumentError(f"--keys: {path}: {twice[0]!r} stands there twice", code="DL402")
    return tuple(keys)


def is_entry(line: str) -> bool:
    """Return whether a line is neither empty nor a comment."""
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _read_key(path: Path, number: int, words: list[str]) -> Key:
    place = f"--keys: {path}, line {number}"
    if len(words) not in (2, 3) or not SHA256.fullmatch(words[1].lower()):
        raise ArgumentError(
            f'{place}: a line is NAME SHA256 [PER_SECOND], as by: printf %s "$KEY" | sha256sum', code="DL402"
        )
    try:
        limit = float(words[2]) if len(words) > 2 else None
    except ValueError:
        limit = math.nan
    if limit is not None and not 0 < limit < math.inf:
        raise ArgumentError(f"{place}: {words[2]!r} is no number of requests per second above 0", code="DL402")
    return Key(words[0], bytes.fromhex(words[1]), limit)


class Gate:
    """Let requests in by their key.

    What a key may still spend stands in memory that forks share, so its limit is that of all workers together, and
    those of the next generation. A process that is killed loses its locks with its life.

    Args:
        keys: those that are known; without any, all are let in.
        clock: seconds, the same in all processes.
    """

    def __init__(self, keys: tuple[Key, ...], clock: Callable[[], float]) -> None:
        self._keys, self._clock = keys, clock
        memory = mmap.mmap(-1, max(1, len(keys)) * SPENDING_BYTES)  # anonymous and shared with all forks
        self._spending = memoryview(memory).cast("d")  # of each key: requests that are left, and when that was
        self._locks = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the gate
        for place, key in enumerate(keys):
            self._spending[2 * place], self._spending[2 * place + 1] = self._burst(key), clock()

    @property
    def is_open(self) -> bool:
        """Whether no key is needed."""
        return not self._keys

    def _burst(self, key: Key) -> float:
        return max(1.0, (key.per_second or 0.0) * BURST_S)

    def enter(self, given: bytes) -> Key | Refusal:
        """Return the key that a request shows, or why it is refused.

        Args:
            given: the key itself; all hashes are compared, so the time says nothing of any.
        """
        digest = hashlib.sha256(given).digest()
        found: int | None = None
        for place, key in enumerate(self._keys):
            if hmac.compare_digest(key.digest, digest):
                found = place
        if found is None:
            return UNKNOWN
        key = self._keys[found]
        return key if key.per_second is None else self._spend(found, key, key.per_second)

    def _spend(self, place: int, key: Key, rate: float) -> Key | Refusal:
        with self._alone(place):
            left, before = self._spending[2 * place : 2 * place + 2]
            now = self._clock()
            left = min(self._burst(key), left + max(0.0, now - before) * rate)
            is_let_in = left >= 1.0
            self._spending[2 * place], self._spending[2 * place + 1] = left - is_let_in, now
        if is_let_in:
            return key
        too_many = overloaded(f"the key {key.name!r} may make {rate:g} requests per second", (1.0 - left) / rate)
        return Refusal(429, too_many.message, retry_s=too_many.retry_s)

    @contextmanager
    def _alone(self, place: int) -> Iterator[None]:
        """Keep other processes from one key's numbers within the block, for a microsecond."""
        fcntl.lockf(self._locks, fcntl.LOCK_EX, 1, place)
        try:
            yield
        finally:
            fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, place)


def key_of(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the key that a request's headers show: `Authorization: Bearer KEY` or `X-API-Key: KEY`."""
    for name, value in headers:
        if name == b"x-api-key":
            return value
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip()
    return b""
