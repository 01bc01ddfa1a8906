"""What every request of a short route carries besides its rows or words: a key, an id, a deadline, a compression."""

import os
import zlib
from collections.abc import Mapping

from danlu.serving.http.protocol import Exchange
from danlu.serving.keys import Gate, Key, key_of
from danlu.serving.limits import Limits
from danlu.serving.refusals import Refusal, Refused

LONGEST_ID = 128
ANY_ZLIB = 47  # of zlib: gzip or deflate, as the body itself says
TOO_LONG = 413


class RequestIds:
    """Name requests.

    Attributes:
        prefix: of all names that this process gives.
    """

    def __init__(self) -> None:
        self.prefix, self._count = os.urandom(6).hex(), 0

    def of(self, headers: Mapping[bytes, bytes]) -> str:
        """Return the client's id of a request where it is one, else a new one."""
        given = headers.get(b"x-request-id")
        if given and len(given) <= LONGEST_ID and given.isascii() and (text := given.decode()).isprintable():
            return text
        self._count += 1
        return f"{self.prefix}{self._count:08x}"


def enter(exchange: Exchange, gate: Gate, limits: Limits) -> Key | Refusal | None:
    """Look at the headers of a request whose body is not read yet.

    Returns:
        the key that it shows, None where none is needed, or why it is refused.
    """
    length = exchange.named.get(b"content-length")
    if length is not None and int(length) > limits.body_bytes:
        return Refusal(TOO_LONG, f"the body is larger than {limits.body_bytes:,} bytes; send fewer rows at a time")
    return None if gate.is_open else gate.enter(key_of(exchange.headers))


def patience(headers: Mapping[bytes, bytes], most_s: float) -> float | Refusal:
    """Return the seconds that a request may take, from its first byte on.

    Args:
        headers: by their names.
        most_s: where it names no deadline, and at most.
    """
    given = headers.get(b"x-deadline-ms")
    if given is None:
        return most_s
    try:
        milliseconds = float(given)
    except ValueError:
        milliseconds = -1.0
    if not milliseconds > 0:
        return Refusal(400, "X-Deadline-Ms: give milliseconds above 0, as 100", code="DL420")
    return min(milliseconds / 1000.0, most_s)


def inflated(headers: Mapping[bytes, bytes], body: bytes | bytearray, most_bytes: int) -> bytes:
    """Return a body without its compression.

    Raises:
        Refused: it is compressed otherwise than said, or larger than allowed.
    """
    encoding = headers.get(b"content-encoding", b"identity").lower()
    if encoding == b"identity":
        return bytes(body)
    if encoding not in (b"gzip", b"deflate"):
        raise Refused("content-encoding: send gzip, deflate, or no compression", status=415)
    inflating = zlib.decompressobj(ANY_ZLIB)
    try:
        found = inflating.decompress(body, most_bytes + 1)
    except zlib.error as error:
        raise Refused(f"the body is not compressed as content-encoding says: {error}") from None
    if len(found) > most_bytes:
        raise Refused(f"the body is larger than {most_bytes:,} bytes", status=413)
    return found


def id_line(request_id: str) -> bytes:
    """Return the header line that names a request."""
    return b"x-request-id: " + request_id.encode() + b"\r\n"
