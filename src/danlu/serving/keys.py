"""API keys: a file of names and hashes, the check of a request, and how many requests a key may make.

A line of the file is `NAME SHA256 [PER_SECOND]`: the hash of the key in hex, and its limit, if it has one. The keys
themselves are written nowhere. `printf %s "$KEY" | sha256sum` makes a hash.
"""

import hashlib
import hmac
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from danlu.errors import ArgumentError
from danlu.serving.refusals import Refusal, overloaded

SHA256 = re.compile(r"[0-9a-f]{64}")
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

    Args:
        keys: those that are known; without any, all are let in.
        clock: seconds.
        workers: that share a key's limit equally.
    """

    def __init__(self, keys: tuple[Key, ...], clock: Callable[[], float], workers: int = 1) -> None:
        self._keys, self._clock, self._workers = keys, clock, workers
        self._left = {key.name: (self._burst(key), clock()) for key in keys}

    @property
    def is_open(self) -> bool:
        """Whether no key is needed."""
        return not self._keys

    def _burst(self, key: Key) -> float:
        return max(1.0, (key.per_second or 0.0) * BURST_S / self._workers)

    def enter(self, given: bytes) -> Key | Refusal:
        """Return the key that a request shows, or why it is refused.

        Args:
            given: the key itself; all hashes are compared, so the time says nothing of any.
        """
        digest = hashlib.sha256(given).digest()
        found: Key | None = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        if found is None:
            return UNKNOWN
        return found if found.per_second is None else self._spend(found, found.per_second / self._workers)

    def _spend(self, key: Key, rate: float) -> Key | Refusal:
        left, before = self._left[key.name]
        now = self._clock()
        left = min(self._burst(key), left + (now - before) * rate)
        if left < 1.0:
            self._left[key.name] = left, now
            too_many = overloaded(f"the key {key.name!r} may make {key.per_second:g} requests per second", 1.0 / rate)
            return Refusal(429, too_many.message, retry_s=too_many.retry_s)
        self._left[key.name] = left - 1.0, now
        return key


def key_of(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the key that a request's headers show: `Authorization: Bearer KEY` or `X-API-Key: KEY`."""
    for name, value in headers:
        if name == b"x-api-key":
            return value
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip()
    return b""
