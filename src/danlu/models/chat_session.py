"""`ChatSession`: a conversation with a language model, turn by turn, with its history."""

from collections.abc import Callable, Sequence

from danlu.core.seeds import Seed
from danlu.data.sources.conversations import Message
from danlu.errors import ArgumentError
from danlu.models.generation import Generation, generate, tokenizer_and_network
from danlu.models.predictor import Predictor
from danlu.models.sampling import Sampling


class ChatSession:
    """Answer what a user says, with everything that was said before.

    Attributes:
        messages: the conversation so far, the system's message first if there is one.
    """

    def __init__(
        self, predictor: Predictor, sampling: Sampling, seed: Seed, stop: Sequence[str] = (), system: str | None = None
    ) -> None:
        tokenizer, _ = tokenizer_and_network(predictor)
        if tokenizer.chat_template is None:
            raise ArgumentError(
                "the model's tokenizer has no chat template; train it on chats, or set data.chat_template", code="DL414"
            )
        self._predictor, self._sampling, self._seed, self._stop = predictor, sampling, seed, tuple(stop)
        self._opening: list[Message] = [] if system is None else [{"role": "system", "content": system}]
        self.messages: list[Message] = list(self._opening)

    def clear(self) -> None:
        """Forget all but the system's message."""
        self.messages = list(self._opening)

    def answer(self, text: str, stream: Callable[[str], None] | None = None) -> Generation:
        """Answer the user's next message and remember both.

        The draws follow from the seed and the turn alone. Ctrl-C ends the answer, of which what was said so far is
        kept; a message to which nothing was said yet is forgotten, as one that cannot be answered.

        Args:
            text: what the user says.
            stream: called with each piece of the answer as it is generated.

        Raises:
            ArgumentError: the conversation no longer fits the model.
        """
        asked: list[Message] = [*self.messages, {"role": "user", "content": text}]
        pieces: list[str] = []

        def collect(piece: str) -> None:
            pieces.append(piece)
            if stream is not None:
                stream(piece)

        seed = self._seed.derive("turn", len(asked))
        try:
            (found,) = generate(self._predictor, [asked], self._sampling, seed, self._stop, stream=collect)
        except KeyboardInterrupt:
            found = Generation(asked, "".join(pieces), len(pieces), "interrupted")
            if not pieces:
                return found
        self.messages = [*asked, {"role": "assistant", "content": found.text}]
        return found
