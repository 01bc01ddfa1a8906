"""A refusal: a request that is not answered, with the status and the reason that its client is told."""

import json
import math
from dataclasses import dataclass
from typing import Self

from danlu.serving.refusals import Refused

LONGEST_RETRY_S = 60  # clients obey no more than two minutes


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
