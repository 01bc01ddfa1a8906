"""What a client is told when a request, or one of its rows, is not answered: status, code, field, words.

`Refused` is raised while a request is decoded or its answer written; a `Refusal` is the value that its client gets.
Never a stack trace, and nothing of the machine. Knows neither HTTP's bytes nor any protocol's form of an error.
"""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import msgspec

from danlu.core.text import UNPRINTABLE
from danlu.errors import DataError

UNREADABLE, TOO_LARGE = "DL420", "DL421"
# What errors advise whoever predicts a file with danlu; a client of a server can do neither.
ADVICE = re.compile(r",? or (?:skip|leave)[^;,]*with --broken skip \(in Python broken=\"skip\"\)")
MOST_CHARACTERS = 500  # of a message, since it may repeat what the client sent
PREFIX = re.compile(r"^the samples given(?:, row \d+)?: ")
LONGEST_RETRY_S = 60  # clients obey no more than two minutes


class RowError(msgspec.Struct, frozen=True):
    """Say why one row cannot be answered.

    Attributes:
        code: as docs/errors.md lists it.
        column: the column that is at fault, where it is one.
        message: in words.
    """

    code: str
    column: str | None
    message: str

    @classmethod
    def of(cls, code: str, message: str, columns: Iterable[str]) -> "RowError":
        """Describe what danlu found wrong with a row.

        Args:
            code: of the error.
            message: danlu's own; the column that it names is looked for.
            columns: those that the model reads; if there is only one, it is that one.
        """
        columns = tuple(columns)
        named = next((name for name in columns if f"column {name!r}" in message), None)
        column = columns[0] if named is None and len(columns) == 1 else named
        return cls(code, column, readable(message))

    @classmethod
    def of_error(cls, error: DataError, columns: Iterable[str]) -> "RowError":
        """Describe an error that was raised for a row."""
        return cls.of(error.code, str(error), columns)


class Refused(Exception):
    """Refuse a whole request, which cannot be answered.

    Attributes:
        status: of HTTP, 4xx.
        code: as docs/errors.md lists it.
        message: in words.
        field: where in the request, as `rows[3]` or `inputs[0].shape`; None where it is the whole.
    """

    def __init__(self, message: str, *, field: str | None = None, status: int = 400, code: str = UNREADABLE) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.field = status, code, readable(message), field


@dataclass(frozen=True)
class Refusal:
    """Say why a request is not answered.

    Attributes:
        status: of HTTP, 400 to 503.
        message: for the client: what is wrong and what to do.
        code: of danlu's errors, where it is one of them.
        retry_s: whole seconds after which the client may try again; None where that would not help.
        field: where in the request, as `rows[3]`; None where it is the whole.
    """

    status: int
    message: str
    code: str = ""
    retry_s: int | None = None
    field: str | None = None

    @classmethod
    def of(cls, refused: Refused) -> Self:
        """Return what was raised while a request was decoded or its answer written."""
        return cls(refused.status, refused.message, refused.code, field=refused.field)

    def body(self) -> bytes:
        """Return the JSON that tells it; `error` as the Open Inference Protocol has it."""
        told = {"error": self.message, "code": self.code, "field": self.field}
        return json.dumps({name: value for name, value in told.items() if value}, ensure_ascii=False).encode()


def overloaded(message: str, wait_s: float) -> Refusal:
    """Refuse a request that would wait too long: 503, to be tried again."""
    return Refusal(503, message, retry_s=min(LONGEST_RETRY_S, max(1, math.ceil(wait_s))))


def readable(message: str) -> str:
    """Return a message without advice for other users, control characters and endless values."""
    plain = UNPRINTABLE.sub("?", ADVICE.sub("", PREFIX.sub("", message)))
    return plain if len(plain) <= MOST_CHARACTERS else plain[: MOST_CHARACTERS - 1] + "…"
