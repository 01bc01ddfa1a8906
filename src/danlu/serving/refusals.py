"""What a client is told when a whole request, or one of its rows, cannot be answered: status, code, field, words.

Never a stack trace, and nothing of the machine. Knows neither HTTP's bytes nor any protocol's form of an error.
"""

import re
from collections.abc import Iterable

import msgspec

from danlu.core.text import UNPRINTABLE
from danlu.errors import DataError

UNREADABLE, TOO_LARGE = "DL420", "DL421"
# What errors advise whoever predicts a file with danlu; a client of a server can do neither.
ADVICE = re.compile(r",? or (?:skip|leave)[^;,]*with --broken skip \(in Python broken=\"skip\"\)")
MOST_CHARACTERS = 500  # of a message, since it may repeat what the client sent
PREFIX = re.compile(r"^the samples given(?:, row \d+)?: ")


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


def readable(message: str) -> str:
    """Return a message without advice for other users, control characters and endless values."""
    plain = UNPRINTABLE.sub("?", ADVICE.sub("", PREFIX.sub("", message)))
    return plain if len(plain) <= MOST_CHARACTERS else plain[: MOST_CHARACTERS - 1] + "…"
