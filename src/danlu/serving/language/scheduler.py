"""Continuous batching: sequences join the running batch as soon as their prompts are read, and leave when they end.

In: sequences, from the event loop. Out: what each step added to each of them, told in the event loop. One thread
computes; between two tokens of the running sequences it reads one chunk of the prompts that wait, so neither holds up
the other for long. A sequence that nobody waits for any longer leaves before the next step.
"""

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Protocol

from torch import Tensor

from danlu.core.console import emit_traceback
from danlu.serving.batching import INTERNAL, TOO_LATE
from danlu.serving.language.decoder import Decoder, Reading
from danlu.serving.language.drawing import draw, token_scores
from danlu.serving.language.sequences import Generating, Step
from danlu.serving.limits import Limits
from danlu.serving.refusals import Refusal, overloaded

SLACK_TOKENS, WASTE = 256, 2.0  # prompts are read side by side while their padding makes them no longer than that
NO_NUMBERS = Refusal(500, "the model's scores are no numbers; it cannot go on with this text", code="DL211")
TOO_MANY = overloaded("too many texts wait for this model; try again later", 1.0)
STOPPING = Refusal(503, "the server is stopping; ask again", retry_s=1)


class Watcher(Protocol):
    """Be told of each step, for metrics; called in the event loop."""

    def step(self, written: int, running: int, waiting: int) -> None:
        """Take the tokens that a step wrote, and how many sequences run and wait."""

    def read(self, tokens: int, known: int, waited_s: float) -> None:
        """Take a prompt's tokens, how many were known, and how long it waited."""


class Scheduler:
    """Write the texts of one model.

    Args:
        decoder: that is asked.
        loop: where sequences are told.
        limits: how many run and wait.
        watcher: of the metrics.
    """

    def __init__(self, decoder: Decoder, loop: asyncio.AbstractEventLoop, limits: Limits, watcher: Watcher) -> None:
        self._decoder, self._loop, self._limits, self._watcher = decoder, loop, limits, watcher
        self._waiting: OrderedDict[str, deque[Generating]] = OrderedDict()  # by client, the next to be served first
        self._count = 0  # of those that wait
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False
        # Of the thread alone:
        self._running: list[Generating] = []
        self._last: list[int] = []  # the running sequences' newest tokens
        self._reading: Reading | None = None
        self._fresh: list[Generating] = []  # whose prompts are being read
        self._told: list[tuple[Generating, Step]] = []

    # -- of the event loop

    def submit(self, sequences: Sequence[Generating]) -> Refusal | None:
        """Take the sequences of a request, or say why not."""
        with self._changed:
            if self._stopping:
                return STOPPING
            if self._count and self._count + len(sequences) > self._limits.queued_sequences:
                return TOO_MANY
            now = monotonic()
            for sequence in sequences:
                sequence.queued_at = now
                self._waiting.setdefault(sequence.client, deque()).append(sequence)
            self._count += len(sequences)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="danlu-generate", daemon=True)
                self._thread.start()
            self._changed.notify()
        return None

    def cancel(self, sequences: Sequence[Generating]) -> None:
        """Forget sequences for which nobody waits; they leave before the next step."""
        for sequence in sequences:
            sequence.cancelled = True

    def stop(self) -> None:
        """End all sequences by telling them that the server stops; none is taken any more."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    # -- of the thread

    def _run(self) -> None:
        while self._wait():
            self._refuse_late()
            for do in (self._read, self._write):
                try:
                    do()
                except Exception as error:
                    emit_traceback(error)
                    self._fail(INTERNAL)
            self._tell()

    def _wait(self) -> bool:
        """Wait until there is something to do; False once all is ended."""
        with self._changed:
            while not (self._count or self._running or self._reading or self._stopping):
                self._changed.wait()
            if not self._stopping:
                return True
        self._fail(STOPPING)
        for sequence in self._take(lambda sequence: True):
            self._end(sequence, STOPPING)
        self._tell()
        return False

    def _take(self, fits: Callable[[Generating], bool]) -> list[Generating]:
        """Take waiting sequences, clients by turns, as long as the next one fits."""
        taken: list[Generating] = []
        with self._changed:
            while self._waiting:
                client, queue = next(iter(self._waiting.items()))
                if not queue[0].cancelled and not fits(queue[0]):
                    break
                sequence = queue.popleft()
                self._count -= 1
                if queue:
                    self._waiting.move_to_end(client)
                else:
                    del self._waiting[client]
                if not sequence.cancelled:
                    taken.append(sequence)
        return taken

    def _refuse_late(self) -> None:
        """Drop what is cancelled, and end what is past its deadline, wherever it stands."""
        now = monotonic()
        for row in reversed(range(len(self._running))):
            sequence = self._running[row]
            if sequence.cancelled or now > sequence.deadline:
                if not sequence.cancelled:
                    self._end(sequence, overloaded(TOO_LATE, 1.0))
                self._drop(row)
        if self._count:
            self._refuse_late_waiting(now)

    def _refuse_late_waiting(self, now: float) -> None:
        with self._changed:
            for client in list(self._waiting):
                queue = self._waiting[client]
                late = [each for each in queue if not each.cancelled and now > each.deadline]
                if not late:
                    continue
                kept = deque(each for each in queue if now <= each.deadline and not each.cancelled)
                self._count -= len(queue) - len(kept)
                self._waiting[client] = kept
                if not kept:
                    del self._waiting[client]
                for sequence in late:
                    self._end(sequence, overloaded(TOO_LATE, 1.0))

    def _read(self) -> None:
        """Read a chunk of the prompts that wait, if any fits beside the running ones."""
        if self._reading is None:
            self._fresh = self._next_to_read()
            if not self._fresh:
                return
            self._reading = self._decoder.read([sequence.prompt for sequence in self._fresh])
        reading = self._reading
        if not reading.advance():
            return
        self._decoder.join(reading)
        fresh, self._fresh, self._reading = self._fresh, [], None
        now = monotonic()
        for sequence, known in zip(fresh, reading.known, strict=True):
            sequence.known = known
            told = (len(sequence.prompt), known, now - sequence.queued_at)
            self._loop.call_soon_threadsafe(self._watcher.read, *told)
        first = len(self._running)
        self._running += fresh
        self._last += [0] * len(fresh)
        self._append(reading.scores, first)

    def _next_to_read(self) -> list[Generating]:
        """Take the sequences whose prompts are read next, side by side."""
        limits, chosen = self._limits, list[Generating]()
        used = sum(sequence.room for sequence in self._running)

        def fits(sequence: Generating) -> bool:
            nonlocal used
            if len(self._running) + len(chosen) >= limits.sequences:
                return False
            if used and used + sequence.room > limits.running_tokens:
                return False
            sizes = [len(each.prompt) for each in (*chosen, sequence)]
            if chosen and max(sizes) * len(sizes) > max(SLACK_TOKENS, WASTE * sum(sizes)):
                return False
            used += sequence.room
            chosen.append(sequence)
            return True

        return self._take(fits)

    def _write(self) -> None:
        """Write a token of each running sequence."""
        if self._running:
            self._append(self._decoder.step(self._last), 0)

    def _append(self, scores: Tensor, first: int) -> None:
        """Draw a token for each running sequence from `first` on."""
        sequences = self._running[first:]
        tokens = draw(scores, sequences)
        told = token_scores(scores, tokens, sequences)
        broken = scores.isnan().any(dim=1).tolist()
        for row, (sequence, token, score) in enumerate(zip(sequences, tokens, told, strict=True), first):
            if broken[row - first]:
                self._end(sequence, NO_NUMBERS)
                sequence.cancelled = True
                continue
            piece = sequence.text.extend(token)
            self._last[row] = token
            self._told.append((sequence, Step(piece, score, sequence.text.ended)))
        for row in reversed(range(first, len(self._running))):
            if self._running[row].text.ended is not None or self._running[row].cancelled:
                self._drop(row)

    def _drop(self, row: int) -> None:
        """Let a running sequence leave; the last one takes its place."""
        sequence = self._running[row]
        self._decoder.drop(row, [*sequence.prompt, *sequence.text.tokens])
        self._running[row], self._last[row] = self._running[-1], self._last[-1]
        self._running.pop()
        self._last.pop()

    def _fail(self, refusal: Refusal) -> None:
        """End all that runs and is being read."""
        for sequence in (*self._running, *self._fresh):
            self._end(sequence, refusal)
        self._running, self._last, self._fresh, self._reading = [], [], [], None
        self._decoder.clear()

    def _end(self, sequence: Generating, refusal: Refusal) -> None:
        self._told.append((sequence, Step(refusal=refusal)))

    def _tell(self) -> None:
        """Tell the sequences, in the event loop, what the steps added."""
        told, self._told = self._told, []
        written = sum(step.refusal is None for _, step in told)
        self._loop.call_soon_threadsafe(self._deliver, told, written, len(self._running), self._count)

    def _deliver(self, told: list[tuple[Generating, Step]], written: int, running: int, waiting: int) -> None:
        self._watcher.step(written, running, waiting)
        for sequence, step in told:
            if sequence.cancelled and step.refusal is None:
                continue
            try:
                sequence.told(step)
            except Exception as error:  # none fails by its neighbours
                emit_traceback(error)
                sequence.cancelled = True
                sequence.told(Step(refusal=INTERNAL))
