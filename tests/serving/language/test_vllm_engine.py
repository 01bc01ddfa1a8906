"""vLLM's engine against a stand-in for the part of its interface that is used; vLLM itself is not installed here."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from danlu.models.predictor import Predictor
from danlu.serving.language.model import LanguageModel
from danlu.serving.language.sequences import Generating, Step
from danlu.serving.language.vllm_engine import VllmEngine
from danlu.serving.limits import Limits
from tests.serving.language.test_scheduler import Seen, wish

pytestmark = pytest.mark.training


class StandIn:
    """Writes the tokens that it was given, cumulatively as vLLM does, two at a time."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens, self.aborted = tokens, list[str]()

    async def generate(self, prompt: dict[str, list[int]], params: Any, request_id: str) -> AsyncIterator[Any]:
        assert prompt["prompt_token_ids"] and params.ignore_eos
        for end in range(2, len(self.tokens) + 1, 2):
            await asyncio.sleep(0)
            told = [{each: SimpleNamespace(rank=1, logprob=-0.5)} for each in self.tokens[:end]]
            yield SimpleNamespace(
                num_cached_tokens=3, outputs=[SimpleNamespace(token_ids=self.tokens[:end], logprobs=told)]
            )
        await asyncio.sleep(60)

    async def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)


def test_vllms_tokens_become_texts_with_danlus_ends(chat_run: Path) -> None:
    model = LanguageModel("m", Predictor.load(chat_run))
    ids = model.reader.encode("a warm day", add_special_tokens=False).ids

    async def main() -> tuple[list[Step], Generating, StandIn, Seen]:
        seen, steps = Seen(), list[Step]()
        stand_in = StandIn([*ids, *([model.tokenizer.end] * (2 - len(ids) % 2))])
        engine = VllmEngine(stand_in, SimpleNamespace, asyncio.get_running_loop(), Limits(), seen)
        asked, until = model.read_prompt("Is"), monotonic() + 30
        wished = wish(logprobs=True, top_logprobs=1, max_tokens=20)
        ended, left = (model.sequence(asked, wished, 0, 0, "me", until, steps.append, 99) for _ in range(2))
        late = model.sequence(asked, wished, 0, 0, "me", monotonic(), steps.append, 99)
        assert engine.submit([ended]) is None
        while ended.text.ended is None:
            await asyncio.sleep(0.01)
        told = list(steps)
        engine.submit([left])
        await asyncio.sleep(0)
        engine.cancel([left])
        engine.submit([late])
        await asyncio.sleep(0.05)
        assert steps[-1].refusal is not None and steps[-1].refusal.status == 503
        engine.stop()
        assert engine.submit([left]) is not None
        return told, ended, stand_in, seen

    told, ended, stand_in, seen = asyncio.run(main())
    assert ended.text.text == "".join(step.piece for step in told) == "a warm day"
    assert ended.text.ended == "end" and seen.known >= 3
    assert told[0].score is not None and told[0].score.top == ((ids[0], -0.5),)
    assert "danlu-1" not in stand_in.aborted
