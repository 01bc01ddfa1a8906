"""Continuous batching: a text is the same alone and among others, and who leaves makes room."""

import asyncio
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from danlu.core.seeds import Seed
from danlu.models.generation import generate
from danlu.models.predictor import Predictor
from danlu.models.sampling import Sampling
from danlu.serving.language.decoder import open_decoder
from danlu.serving.language.model import LanguageModel
from danlu.serving.language.requests import ChatRequest, Wish, decode, wish_of_chat
from danlu.serving.language.scheduler import Scheduler
from danlu.serving.language.sequences import Generating, Step
from danlu.serving.limits import Limits

pytestmark = pytest.mark.training
WORDS = ["Is day 3 warm?", "Why?", "Is it warm on the third day of the month, or is it cold then?", "Hi", "No."]


class Seen:
    """What a scheduler tells of its steps."""

    def __init__(self) -> None:
        self.known, self.most_running = 0, 0

    def step(self, written: int, running: int, waiting: int) -> None:
        self.most_running = max(self.most_running, running)

    def read(self, tokens: int, known: int, waited_s: float) -> None:
        self.known += known


@pytest.fixture(scope="module")
def predictor(chat_run: Path) -> Predictor:
    return Predictor.load(chat_run)


def chat(said: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": said}]


def wish(**more: Any) -> Wish:
    import msgspec

    body = msgspec.json.encode({"model": "m", "messages": chat("x"), **more})
    return wish_of_chat(decode(body, ChatRequest))


def written(
    predictor: Predictor, words: list[str], asked: Wish, limits: Limits, seen: Seen, deadline_s: float = 60.0
) -> list[Any]:
    """Write the answers to all of these at once; texts with their ends, or refusals."""
    model = LanguageModel("m", predictor)

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        decoder = open_decoder(model.network, predictor.device, model.tokenizer.pad, limits.prefix_bytes)
        scheduler = Scheduler(decoder, loop, limits, seen)
        futures = []
        for place, said in enumerate(words):
            done = loop.create_future()
            body = {"model": "m", "messages": chat(said)}
            prompt = model.read_chat(ChatRequest(**body))  # type: ignore[arg-type]
            box: list[Generating] = []

            def told(step: Step, box: list[Generating] = box, done: Any = done) -> None:
                if not done.done() and (step.refusal is not None or step.ended):
                    done.set_result(step.refusal or (box[0].text.text, box[0].text.ended))

            box.append(model.sequence(prompt, asked, place, 0, "me", monotonic() + deadline_s, told, 1000))
            refusal = scheduler.submit(box)
            if refusal is not None:
                done.set_result(refusal)
            futures.append(done)
            if place % 3 == 2:
                await asyncio.sleep(0.01)  # so that some join while others run
        found = await asyncio.gather(*futures)
        scheduler.stop()
        await asyncio.sleep(0.05)
        return found

    return asyncio.run(main())


@pytest.mark.parametrize(
    "options", [{"temperature": 0}, {"temperature": 0.9, "top_p": 0.9}, {"top_k": 5, "repetition_penalty": 1.3}]
)
def test_what_runs_beside_a_text_changes_nothing_of_it(predictor: Predictor, options: dict[str, Any]) -> None:
    seen = Seen()
    words = WORDS * 3
    together = written(predictor, words, wish(max_tokens=14, seed=3, **options), Limits(sequences=4), seen)
    sampling = Sampling(max_new_tokens=14, **options)
    alone = generate(predictor, [chat(said) for said in words], sampling, Seed(3))
    assert together == [(each.text, each.ended) for each in alone]
    assert 1 < seen.most_running <= 4
    assert seen.known > 0


def test_limits_refuse_and_deadlines_end(predictor: Predictor) -> None:
    few = Limits(sequences=1, queued_sequences=2)
    # Long texts, so that none ends before the last is asked for.
    found = written(predictor, WORDS, wish(max_tokens=200, temperature=5), few, Seen())
    refused = [each for each in found if not isinstance(each, tuple)]
    assert refused and all(each.status == 503 and each.retry_s for each in refused)
    assert len(refused) < len(found)
    late = written(predictor, ["Hi"], wish(temperature=0), Limits(), Seen(), deadline_s=-1.0)
    assert late[0].status == 503


def test_a_server_that_stops_tells_each_text(predictor: Predictor) -> None:
    model, told = LanguageModel("m", predictor), list[Step]()

    async def main() -> Any:
        decoder = open_decoder(model.network, predictor.device, model.tokenizer.pad, 2**20)
        scheduler = Scheduler(decoder, asyncio.get_running_loop(), Limits(sequences=1), Seen())
        prompt, asked = model.read_prompt("Is"), wish(temperature=5, max_tokens=200)
        texts = [model.sequence(prompt, asked, 0, at, "me", monotonic() + 60, told.append, 200) for at in range(2)]
        scheduler.submit(texts)
        while not told:
            await asyncio.sleep(0.001)
        scheduler.stop()
        while sum(step.refusal is not None for step in told) < 2:
            await asyncio.sleep(0.001)
        return scheduler.submit(texts)

    refused = asyncio.run(asyncio.wait_for(main(), 30))
    assert refused is not None and refused.status == 503
    assert [step.refusal.status for step in told if step.refusal is not None] == [503, 503]
    assert told[0].piece or told[0].ended is None
