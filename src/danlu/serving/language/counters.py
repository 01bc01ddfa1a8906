"""The metrics of one language model: tokens, texts that run and wait, what the prefix cache spared.

Their places are made before workers are forked; a model that writes no texts leaves them at 0. Imports no torch.
"""

from time import monotonic

from danlu.serving.metrics import Layout, Row

RATE_S = 1.0  # over which tokens per second are averaged
COUNTED = ("prompt_tokens", "known_tokens", "written_tokens", "tokens_per_second", "running_texts", "waiting_texts")


class TextCounters:
    """Count; see `scheduler.Watcher`."""

    def __init__(self, row: Row, name: str, version: str) -> None:
        labels = (name, version)
        self._numbers = {counted: row.counter(f"danlu_{counted}", labels) for counted in COUNTED}
        self._waits = row.histogram("danlu_text_wait_seconds", labels)
        self._since, self._written = monotonic(), 0

    def read(self, tokens: int, known: int, waited_s: float) -> None:
        """Take a prompt's tokens, how many were known, and how long it waited."""
        self._numbers["prompt_tokens"].add(tokens)
        self._numbers["known_tokens"].add(known)
        self._waits.observe(waited_s)

    def step(self, written: int, running: int, waiting: int) -> None:
        """Take the tokens that a step wrote, and how many texts run and wait."""
        self._numbers["written_tokens"].add(written)
        self._numbers["running_texts"].set(running)
        self._numbers["waiting_texts"].set(waiting)
        self._written += written
        passed = monotonic() - self._since
        if passed >= RATE_S or not running:
            self._numbers["tokens_per_second"].set(self._written / passed if running else 0.0)
            self._since, self._written = monotonic(), 0


def place_counters(layout: Layout, name: str, version: str) -> None:
    """Give the numbers their places.

    Raises:
        ValueError: no room is left.
    """
    for counted in (*COUNTED, "text_wait_seconds"):
        layout.place(f"danlu_{counted}", (name, version))
