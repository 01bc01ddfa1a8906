"""`GeneratedText`: one text as it grows token by token, what of it can be shown already, and where it ends."""

from collections.abc import Sequence
from typing import Literal

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from danlu.data.descriptors import TokenizerFile

INCOMPLETE_CHARACTER = "\ufffd"  # decoded from the first bytes of a character that is not complete yet

StopReason = Literal["end", "stop", "length", "interrupted"]


class GeneratedText:
    """Collect a text's tokens.

    Args:
        reader: the opened tokenizer.
        tokenizer: its file, which names the tokens that end a text.
        max_tokens: token limit.
        stop: strings that end the text, and are no part of it.
        blank: white space of the template with which the text is generated, and which is no part of it.
        shows_special: whether special tokens are part of the text.

    Attributes:
        tokens: so far, those that end it included.
        ended: why it ended; None while it goes on.
    """

    def __init__(
        self,
        reader: Tokenizer,
        tokenizer: TokenizerFile,
        max_tokens: int,
        stop: Sequence[str] = (),
        blank: str = "",
        shows_special: bool = False,
    ) -> None:
        self._reader, self._stop_ids = reader, {tokenizer.end, *tokenizer.stops}
        self.max_tokens, self._stop, self._blank, self._shows_special = max_tokens, tuple(stop), blank, shows_special
        self.tokens: list[int] = []
        self.ended: StopReason | None = None
        self._decoding = DecodeStream(skip_special_tokens=not shows_special)
        self._decoded = ""  # of complete characters
        self._shown = 0
        self._searched = 0  # before here no stop string begins

    @property
    def text(self) -> str:
        """The text so far, without what may be no part of it."""
        return self._decoded.removeprefix(self._blank)[: self._shown]

    def append(self, token: int) -> str:
        """Take a token, and return the piece of text that can be shown now."""
        self.tokens.append(token)
        if token in self._stop_ids:
            self.ended = "end"
            return ""
        if len(self.tokens) == self.max_tokens:
            self.ended = "length"
        self._decoded += self._decoding.step(self._reader, token) or ""
        if self._blank.startswith(self._decoded):  # which is taken away as soon as it is whole
            return ""
        return self._show(holds_back=True)

    def extend(self, token: int) -> str:
        """Take a token like `append`, and finish the text where it ends with that token."""
        piece = self.append(token)
        return piece if self.ended is None else piece + self.finish()

    def finish(self) -> str:
        """Return the piece of text that was held back; the text is whole then."""
        if self.ended != "stop":  # the last character may have stayed incomplete
            ids = self.tokens[:-1] if self.tokens and self.tokens[-1] in self._stop_ids else self.tokens
            whole: str = self._reader.decode(ids, skip_special_tokens=not self._shows_special)
            if whole.startswith(self._decoded):
                self._decoded = whole
        return self._show(holds_back=False)

    def _show(self, holds_back: bool) -> str:
        text = self._decoded.removeprefix(self._blank)
        places = [place for place in (text.find(word, self._searched) for word in self._stop) if place >= 0]
        if places:
            self.ended = "stop"
            ready = text[: min(places)]
        else:
            self._searched = max(0, len(text) - max(map(len, self._stop), default=0))
            ready = text[: len(text) - self._held(text)] if holds_back else text
        piece = ready[self._shown :]
        self._shown = max(self._shown, len(ready))
        return piece

    def _held(self, text: str) -> int:
        """Return how much of the end may be the beginning of a stop string."""
        return max(
            (length for word in self._stop for length in range(len(word)) if text.endswith(word[:length])), default=0
        )
