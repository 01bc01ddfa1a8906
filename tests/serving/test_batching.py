"""Batches: what is computed together, who waits for whom, and what is refused."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import pytest

from danlu.serving.batching import INTERNAL, Batcher, Job
from danlu.serving.limits import Limits
from danlu.serving.refusals import Refusal

FAR = 1e9
Run = Callable[[list[Any]], list[Any]]


class Watched:
    """Collects what a batcher tells."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def batch(self, rows: int, queued_s: Sequence[float], computed_s: float) -> None:
        self.batches.append(rows)

    def depth(self, rows: int) -> None:
        pass


class Desk:
    """A batcher, and the answers by payload."""

    def __init__(self, run: Run, **limits: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.watched = Watched()
        self.batcher = Batcher(self.loop, run, Limits(**limits), self.watched)
        self.answers: dict[Any, Any] = {}

    def ask(self, payload: Any, rows: int = 1, client: str = "a", deadline: float = FAR, bucket: int = 0) -> Job:
        def done(result: Any) -> None:
            assert payload not in self.answers, "answered once"
            self.answers[payload] = result

        job = Job(payload, rows, 10 * rows, client, deadline, done, bucket)
        refusal = self.batcher.submit(job)
        if refusal is not None:
            self.answers[payload] = refusal
        return job

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.answers) < count:
                await asyncio.sleep(0.001)


def doubled(payloads: list[int]) -> list[int]:
    return [2 * payload for payload in payloads]


def warm(desk: Desk) -> None:
    """As after a first quick batch: the next are computed in the event loop."""
    for bucket in range(3):
        for bits in range(1, 8):
            desk.batcher.pace.learn(bucket, 2**bits - 1, 1e-6, 1e-6)


def test_what_comes_in_one_turn_of_the_loop_is_computed_together() -> None:
    async def main() -> None:
        desk = Desk(doubled)
        warm(desk)
        for payload in (1, 2, 3):
            desk.ask(payload)
        await asyncio.sleep(0)
        assert desk.answers == {1: 2, 2: 4, 3: 6}
        assert desk.watched.batches == [3]

    asyncio.run(main())


def test_a_job_that_fails_does_not_fail_its_neighbours(capfd: pytest.CaptureFixture[str]) -> None:
    def run(payloads: list[int]) -> list[int]:
        if 2 in payloads:
            raise RuntimeError("two is not liked")
        return doubled(payloads)

    async def main() -> None:
        desk = Desk(run)
        for payload in (1, 2, 3):
            desk.ask(payload)
        await desk.wait_for(3)
        assert desk.answers == {1: 2, 2: INTERNAL, 3: 6}

    asyncio.run(main())
    assert "two is not liked" in capfd.readouterr().err


def test_a_job_whose_client_has_left_is_not_computed() -> None:
    computed: list[int] = []

    async def main() -> None:
        desk = Desk(lambda payloads: [computed.append(payload) for payload in payloads])
        warm(desk)
        desk.batcher.cancel(desk.ask(1))
        desk.ask(2)
        await desk.wait_for(1)
        assert desk.answers == {2: None}

    asyncio.run(main())
    assert computed == [2]


def test_clients_take_turns() -> None:
    order: list[str] = []

    def run(payloads: list[str]) -> list[str]:
        order.extend(payloads)
        return payloads

    async def main() -> None:
        desk = Desk(run, batch_rows=4)
        warm(desk)
        for number in range(20):
            desk.ask(f"greedy {number}", client="greedy")
        desk.ask("modest", client="modest")
        await desk.wait_for(21)

    asyncio.run(main())
    assert order.index("modest") == 1


def test_rows_of_one_bucket_alone_are_computed_together() -> None:
    batches: list[list[str]] = []

    def run(payloads: list[str]) -> list[str]:
        batches.append(payloads)
        return payloads

    async def main() -> None:
        desk = Desk(run)
        warm(desk)
        for number, bucket in enumerate((1, 2, 1, 2)):
            desk.ask(f"{bucket}.{number}", client=str(number), bucket=bucket)
        await desk.wait_for(4)

    asyncio.run(main())
    assert sorted(map(sorted, batches)) == [["1.0", "1.2"], ["2.1", "2.3"]]


def test_more_rows_than_a_batch_holds_are_computed_alone() -> None:
    async def main() -> None:
        desk = Desk(doubled, batch_rows=4)
        warm(desk)
        desk.ask(1)
        desk.ask(2, rows=9, client="b")
        desk.ask(3, client="c")
        await desk.wait_for(3)
        assert sorted(desk.watched.batches) == [2, 9]

    asyncio.run(main())


def test_who_cannot_be_answered_in_time_is_refused_with_whole_seconds_to_wait() -> None:
    async def main() -> None:
        desk = Desk(doubled)
        desk.batcher.pace.learn(0, 1, 12.5, 12.5)  # a row takes 2.5 s
        now = monotonic()
        desk.ask(1, deadline=now + 60)
        desk.ask(2, deadline=now + 0.1)
        refusal = desk.answers[2]
        assert isinstance(refusal, Refusal) and (refusal.status, refusal.retry_s) == (503, 5)
        await desk.wait_for(2)
        assert desk.answers[1] == 2

    asyncio.run(main())


def test_who_is_too_late_for_what_waits_already_is_refused_before_it_is_decoded() -> None:
    async def main() -> None:
        desk = Desk(doubled)
        desk.batcher.pace.row_s = 0.5
        now = monotonic()
        assert desk.batcher.too_late(now + 0.1) is None  # nothing waits
        desk.ask(1, rows=10)
        refusal = desk.batcher.too_late(now + 1)
        assert refusal is not None and (refusal.status, refusal.retry_s) == (503, 5)
        assert desk.batcher.too_late(now + 60) is None
        await desk.wait_for(1)

    asyncio.run(main())


def test_an_estimate_that_is_too_high_is_corrected_by_whoever_comes_next() -> None:
    async def main() -> None:
        desk = Desk(doubled)
        desk.batcher.pace.learn(0, 1, 100.0, 100.0)
        for payload in range(40):
            desk.ask(payload, deadline=monotonic() + 1)
            await desk.wait_for(payload + 1)
        assert all(desk.answers[payload] == 2 * payload for payload in range(40))

    asyncio.run(main())


def test_rows_that_wait_are_bounded() -> None:
    async def main() -> None:
        desk = Desk(doubled, queued_rows=10)
        warm(desk)
        for payload in range(12):
            desk.ask(payload)
        refused = [payload for payload, answer in desk.answers.items() if isinstance(answer, Refusal)]
        assert refused == [10, 11]
        await desk.wait_for(12)

    asyncio.run(main())


def test_the_loop_turns_while_a_slow_batch_is_computed() -> None:
    goes_on = threading.Event()

    def run(payloads: list[int]) -> list[int]:
        assert goes_on.wait(10), "only the event loop sets it"
        return doubled(payloads)

    async def main() -> None:
        desk = Desk(run)
        desk.ask(1)
        await asyncio.sleep(0)
        desk.ask(2)
        goes_on.set()
        await desk.wait_for(2)
        assert desk.answers == {1: 2, 2: 4}
        assert desk.watched.batches == [1, 1]

    asyncio.run(main())
