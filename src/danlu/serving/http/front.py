"""The short routes of a server: each request is handed to the one handler that knows its path."""

from typing import Any

from danlu.serving.http.hot import Hot
from danlu.serving.http.language import LanguageRoute, LanguageRoutes
from danlu.serving.http.protocol import Exchange
from danlu.serving.limits import Limits
from danlu.serving.refusals import Refusal


class Front:
    """Ask whoever answers a request's route; see `protocol.Handler`."""

    def __init__(self, hot: Hot, language: LanguageRoutes) -> None:
        self.hot, self.language, self.limits = hot, language, hot.limits
        self._draining = False

    @property
    def draining(self) -> bool:
        """Whether the server stops soon."""
        return self._draining

    @draining.setter
    def draining(self, value: bool) -> None:
        self._draining = self.hot.draining = self.language.draining = value

    def _of(self, exchange: Exchange) -> Hot | LanguageRoutes:
        return self.language if isinstance(exchange.route, LanguageRoute) else self.hot

    def route(self, method: bytes, target: bytes) -> Any | None:
        """Return what a request asks for; None where ASGI answers it."""
        return self.hot.route(method, target) or self.language.route(method, target)

    def limits_of(self, target: bytes) -> Limits:
        """Return the limits of a request; files may be larger than questions."""
        return self.hot.limits_of(target)

    def begin(self, exchange: Exchange) -> Refusal | None:
        """Look at a request's headers."""
        return self._of(exchange).begin(exchange)

    def answer(self, exchange: Exchange) -> None:
        """Answer a whole request."""
        self._of(exchange).answer(exchange)

    def left(self, exchange: Exchange) -> None:
        """Forget a request whose client has left."""
        self._of(exchange).left(exchange)

    def is_pressed(self, exchange: Exchange) -> bool:
        """Return whether a client that may have left is taken for one that has."""
        return self._of(exchange).is_pressed(exchange)

    def refusal_body(self, target: bytes, refusal: Refusal) -> bytes:
        """Return the JSON that tells a refusal, in the form of the path's protocol."""
        told = self.language if target.startswith(b"/v1/") else self.hot
        return told.refusal_body(target, refusal)
