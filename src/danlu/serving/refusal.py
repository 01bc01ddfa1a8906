"""A refusal: a request that is not answered, with the status and the reason that its client is told."""

import json
import math
from dataclasses import dataclass
from http import HTTPStatus

LONGEST_RETRY_S = 60  # clients obey no more than two minutes


@dataclass(frozen=True)
class Refusal:
    """Say why a request is not answered.

    Attributes:
        status: of HTTP, 400 to 503.
        message: for the client: what is wrong and what to do.
        code: of danlu's errors, where it is one of them.
        retry_s: whole seconds after which the client may try again; None where that would not help.
    """

    status: int
    message: str
    code: str = ""
    retry_s: int | None = None

    def body(self) -> bytes:
        """Return the JSON that tells it; `error` as the Open Inference Protocol has it."""
        told: dict[str, object] = {"error": self.message}
        return json.dumps({**told, "code": self.code} if self.code else told, ensure_ascii=False).encode()

    @property
    def phrase(self) -> str:
        """The status in words."""
        return HTTPStatus(self.status).phrase


def overloaded(message: str, wait_s: float) -> Refusal:
    """Refuse a request that would wait too long: 503, to be tried again."""
    return Refusal(503, message, retry_s=min(LONGEST_RETRY_S, max(1, math.ceil(wait_s))))
