"""vLLM as what writes texts, where it is installed: sequences in, its tokens handed to them.

vLLM batches and caches by itself; stops, limits and what can be shown are danlu's own, so an answer has the same form.
Draws are vLLM's: the same seed writes another text than danlu's own engine. Tested against a stand-in with the part of
vLLM's interface that is used here (`AsyncLLM.generate`, `abort`), not against vLLM itself.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from danlu.core.console import emit_traceback
from danlu.models.predictor import Predictor
from danlu.serving.batching import INTERNAL, TOO_LATE
from danlu.serving.language.scheduler import STOPPING, TOO_MANY, Watcher
from danlu.serving.language.sequences import Generating, Step, TokenScore
from danlu.serving.limits import Limits
from danlu.serving.refusals import Refusal, overloaded


class VllmEngine:
    """Write texts by vLLM; see `model.TextEngine`.

    Args:
        engine: an `AsyncLLM` of vLLM.
        params: vLLM's `SamplingParams`.
        loop: where sequences are told.
        limits: how many texts run and wait.
        watcher: of the metrics.
    """

    def __init__(
        self, engine: Any, params: Any, loop: asyncio.AbstractEventLoop, limits: Limits, watcher: Watcher
    ) -> None:
        self._engine, self._params, self._loop, self._limits, self._watcher = engine, params, loop, limits, watcher
        self._tasks: dict[Generating, asyncio.Task[None]] = {}
        self._number, self._stopping = 0, False

    @classmethod
    def open(
        cls, predictor: Predictor, loop: asyncio.AbstractEventLoop, limits: Limits, watcher: Watcher
    ) -> "VllmEngine":
        """Export a bundle's model for vLLM, and start an engine of it."""
        import vllm  # type: ignore[import-not-found]

        from danlu.exporters.transformers import write

        folder = Path(tempfile.mkdtemp(prefix="danlu-vllm-"))
        write(predictor, folder)
        arguments = vllm.AsyncEngineArgs(model=str(folder), skip_tokenizer_init=True, enable_prefix_caching=True)
        return cls(vllm.AsyncLLMEngine.from_engine_args(arguments), vllm.SamplingParams, loop, limits, watcher)

    def submit(self, sequences: Sequence[Generating]) -> Refusal | None:
        """Take the sequences of a request, or say why not."""
        if self._stopping:
            return STOPPING
        most = self._limits.sequences + self._limits.queued_sequences
        if self._tasks and len(self._tasks) + len(sequences) > most:
            return TOO_MANY
        for sequence in sequences:
            sequence.queued_at = monotonic()
            self._number += 1
            task = self._loop.create_task(self._write(sequence, f"danlu-{self._number}"))
            self._tasks[sequence] = task
            task.add_done_callback(partial(self._forget, sequence))
        return None

    def _forget(self, sequence: Generating, task: "asyncio.Task[None]") -> None:
        self._tasks.pop(sequence, None)

    def cancel(self, sequences: Sequence[Generating]) -> None:
        """Forget sequences for which nobody waits."""
        for sequence in sequences:
            sequence.cancelled = True
            if sequence in self._tasks:
                self._tasks[sequence].cancel()

    def stop(self) -> None:
        """End all sequences by telling them that the server stops; none is taken any more."""
        self._stopping = True
        for sequence in list(self._tasks):
            self._tasks[sequence].cancel()
            sequence.told(Step(refusal=STOPPING))

    async def _write(self, sequence: Generating, name: str) -> None:
        try:
            async with asyncio.timeout(max(0.0, sequence.deadline - monotonic())):
                await self._take_all(sequence, name)
        except TimeoutError:
            sequence.told(Step(refusal=overloaded(TOO_LATE, 1.0)))
        except Exception as error:
            emit_traceback(error)
            sequence.told(Step(refusal=INTERNAL))
        finally:
            if sequence.text.ended is None or sequence.cancelled:
                await self._engine.abort(name)

    async def _take_all(self, sequence: Generating, name: str) -> None:
        """Hand each new token to the sequence, until it ends."""
        taken = 0
        prompt = {"prompt_token_ids": list(sequence.prompt)}
        async for output in self._engine.generate(prompt, self._wanted(sequence), name):
            written = output.outputs[0]
            if not taken:
                known = output.num_cached_tokens or 0
                sequence.known = known
                self._watcher.read(len(sequence.prompt), known, monotonic() - sequence.queued_at)
            fresh = written.token_ids[taken:]
            self._watcher.step(len(fresh), len(self._tasks), 0)
            for place, token in enumerate(fresh, taken):
                piece = sequence.text.extend(token)
                sequence.told(Step(piece, _score(sequence, written, place), sequence.text.ended))
                if sequence.text.ended is not None:
                    return
            taken += len(fresh)

    def _wanted(self, sequence: Generating) -> Any:
        sampling = sequence.sampling
        return self._params(
            max_tokens=sequence.text.max_tokens,
            temperature=sampling.temperature,
            top_p=1.0 if sampling.top_p is None else sampling.top_p,
            top_k=0 if sampling.top_k is None else sampling.top_k,
            min_p=0.0 if sampling.min_p is None else sampling.min_p,
            repetition_penalty=sampling.repetition_penalty,
            seed=sequence.seed.value,
            logprobs=sequence.top_logprobs,
            detokenize=False,
            ignore_eos=True,  # the text itself knows the tokens that end it
        )


def _score(sequence: Generating, written: Any, place: int) -> TokenScore | None:
    """Return how likely a token was, where it was asked for."""
    if sequence.top_logprobs is None:
        return None
    told = written.logprobs[place]
    token = written.token_ids[place]
    ranked = sorted(told.items(), key=lambda each: each[1].rank)[: sequence.top_logprobs]
    return TokenScore(token, told[token].logprob, tuple((other, each.logprob) for other, each in ranked))
