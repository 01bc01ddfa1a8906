"""One text that is asked for: its prompt, how its tokens are drawn, what it has written so far, and whom to tell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from danlu.core.seeds import Seed
from danlu.models.generated_text import GeneratedText, StopReason
from danlu.models.sampling import GumbelNoise, Sampling
from danlu.serving.refusals import Refusal


@dataclass(frozen=True)
class TokenScore:
    """Hold how likely a written token was, and which others were.

    Attributes:
        token: its id.
        logprob: logarithm of its probability, before temperature and cut-offs.
        top: the likeliest tokens with theirs, in order.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Step:
    """Hold what one step added to a sequence.

    When it is told, the sequence may be some steps further.

    Attributes:
        piece: of text that can be shown.
        score: of the token, where it was asked for.
        ended: why the text ends with this step; None while it goes on.
        refusal: why the text ends before its end; None where nothing went wrong.
    """

    piece: str = ""
    score: TokenScore | None = None
    ended: StopReason | None = None
    refusal: Refusal | None = None


class Generating:
    """Hold one text while it is written.

    Args:
        prompt: ids.
        text: that grows.
        sampling: how tokens are drawn.
        seed: of its draws alone.
        top_logprobs: how many likely tokens are told of each written one; None for no scores.
        client: whose it is; clients take turns.
        deadline: the monotonic time after which nobody waits.
        told: called in the event loop with each step, of which the last has `ended` or a refusal.

    Attributes:
        cancelled: whether nobody waits any longer.
        known: how many tokens of the prompt were taken from the prefix cache.
        queued_at: the monotonic time when it began to wait.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        text: GeneratedText,
        sampling: Sampling,
        seed: Seed,
        top_logprobs: int | None,
        client: str,
        deadline: float,
        told: Callable[[Step], None],
    ) -> None:
        self.prompt, self.text, self.sampling, self.top_logprobs = prompt, text, sampling, top_logprobs
        self.noise = None if sampling.temperature == 0.0 else GumbelNoise(seed)
        self.seed, self.client, self.deadline, self.told = seed, client, deadline, told
        self.cancelled, self.known, self.queued_at = False, 0, 0.0

    @property
    def room(self) -> int:
        """The tokens that it takes up at most."""
        return len(self.prompt) + self.text.max_tokens
