"""Two calls are timed in turn, and the interval of the median is exact."""

from collections.abc import Callable
from math import comb

import pytest

from danlu.compression import timing
from danlu.compression.results import Figure, Latency
from danlu.compression.timing import SpeedComparison, compare_openings, compare_speed, median_interval


class Clock:
    """Stand in for the time module: calls move it by what they are said to take."""

    def __init__(self) -> None:
        self.now, self.order = 0.0, ""

    def perf_counter(self) -> float:
        return self.now

    def call(self, name: str, seconds: float) -> None:
        self.now += seconds * (2.0 if len(self.order) % 100 < 40 else 1.0)  # the machine is busy now and then
        self.order += name


def test_the_ratio_of_pairs_is_found_beside_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    found = compare_speed(lambda: clock.call("a", 0.004), lambda: clock.call("b", 0.002))
    assert found.speedup.value == pytest.approx(2.0)
    assert found.speedup.low == pytest.approx(2.0)
    assert found.second.p50 in (pytest.approx(2.0), pytest.approx(4.0))
    timed = clock.order[7:]
    assert timed[:8] == "abbaabba", "the order within pairs changes"
    assert 2 * timing.FEWEST_PAIRS <= len(timed) < 2 * timing.MOST_PAIRS


def test_an_opening_that_is_fast_by_chance_widens_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, takes = Clock(), iter([0.002, 0.004, 0.004, 0.004, 0.004, 0.005])
    monkeypatch.setattr(timing, "time", clock)

    def open_both() -> tuple[Callable[[], None], Callable[[], None]]:
        seconds = next(takes)
        return lambda: clock.call("a", 0.004), lambda: clock.call("b", seconds)

    found = compare_openings(open_both).speedup
    assert (found.low, found.value, found.high) == (pytest.approx(0.8), pytest.approx(1.0), pytest.approx(2.0))
    assert next(takes, None) is None
    assert 2 * 0.5**timing.OPENINGS <= 0.05 < 2 * 0.5 ** (timing.OPENINGS - 1)


def test_slower_is_what_the_whole_interval_says() -> None:
    times = Latency(1.0, 2.0)
    assert SpeedComparison(times, times, Figure(0.9, 0.85, 0.95)).is_slower
    assert not SpeedComparison(times, times, Figure(0.97, 0.9, 1.02)).is_slower


def test_an_interval_of_the_median_has_the_ranks_of_the_binomial_distribution() -> None:
    low, high = median_interval([float(value) for value in range(30)], 0.95)
    assert (low, high) == (9.0, 20.0)
    outside = 2 * sum(comb(30, rank) for rank in range(10)) / 2**30
    assert outside <= 0.05 < 2 * sum(comb(30, rank) for rank in range(11)) / 2**30
    assert median_interval([3.0, 1.0, 2.0], 0.95) == (1.0, 3.0)
