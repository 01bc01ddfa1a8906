"""How long an engine takes for a batch, and how much sooner another one is done: pairs, one after the other.

Other work on a machine slows whatever runs beside it, so that two series taken apart differ by a third where nothing
differs. Here each call of one is followed by a call of the other, and only the ratio within a pair is believed. Where
an engine's threads come to lie differs each time it is opened, and stays: one and the same file was seen to be 1.3
times as fast as itself. So both are opened several times, and the interval is that of the median over openings.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from danlu.compression.results import Figure, Latency

FEWEST_PAIRS, MOST_PAIRS = 30, 3000
WARM_UP = 3
NARROW = 0.03  # half of the interval's width, as a share, at which no more pairs are needed
SECONDS = 4.0  # for all pairs of a comparison
OPENINGS = 6  # the fewest whose least and largest ratio hold the median with 95 % confidence
FEWEST_AN_OPENING = 5  # pairs
CALL_SECONDS = 1e-3  # of calls that are timed together: below, the clock and the interpreter's own turns are heard


@dataclass(frozen=True)
class SpeedComparison:
    """Hold how long two take for the same, and the ratio of both.

    Attributes:
        first, second: their times.
        speedup: how many times as fast the second is, with an exact interval of the median.
    """

    first: Latency
    second: Latency
    speedup: Figure

    @property
    def is_slower(self) -> bool:
        """Whether the second was seen to be slower: the whole interval says so."""
        return self.speedup.high is not None and self.speedup.high < 1.0


def compare_speed(
    first: Callable[[], object],
    second: Callable[[], object],
    *,
    confidence: float = 0.95,
    seconds: float = SECONDS,
    fewest: int = FEWEST_PAIRS,
) -> SpeedComparison:
    """Time two calls in turn until the ratio is known to some per cent.

    Or until the time is used up.

    Args:
        first: to be compared with.
        second: what is compared.
        confidence: of the interval.
        seconds: most time.
        fewest: pairs that are timed however long they take.
    """
    for _ in range(WARM_UP):
        first()
        second()
    calls = max(1, round(CALL_SECONDS / max(_seconds_of(first, 1), 1e-7)))
    pairs: list[tuple[float, float]] = []
    until = time.perf_counter() + seconds
    while len(pairs) < MOST_PAIRS:
        # The order within a pair changes: what comes second finds the processor warm.
        if len(pairs) % 2:
            late, early = _seconds_of(second, calls), _seconds_of(first, calls)
            pairs.append((early, late))
        else:
            pairs.append((_seconds_of(first, calls), _seconds_of(second, calls)))
        if len(pairs) >= fewest and len(pairs) % 5 == 0:
            low, high = median_interval([early / late for early, late in pairs], confidence)
            if time.perf_counter() > until or (high - low) / (high + low) <= NARROW:
                break
    ratios = [early / late for early, late in pairs]
    low, high = median_interval(ratios, confidence)
    return SpeedComparison(
        _latency([early for early, _ in pairs]),
        _latency([late for _, late in pairs]),
        Figure(float(np.median(ratios)), low, high),
    )


def compare_openings(
    open_both: Callable[[], tuple[Callable[[], object], Callable[[], object]]],
    *,
    confidence: float = 0.95,
    seconds: float = SECONDS,
) -> SpeedComparison:
    """Open two engines several times, and compare their speed in each.

    Args:
        open_both: returns two calls of engines that were opened anew.
        confidence: of the interval.
        seconds: most time for all pairs.
    """
    share = seconds / OPENINGS
    found = [compare_speed(*open_both(), seconds=share, fewest=FEWEST_AN_OPENING) for _ in range(OPENINGS)]
    ratios = [each.speedup.value for each in found]
    low, high = median_interval(ratios, confidence)
    first, second = ([getattr(each, side) for each in found] for side in ("first", "second"))
    return SpeedComparison(_median(first), _median(second), Figure(float(np.median(ratios)), low, high))


def median_interval(values: Sequence[float], confidence: float) -> tuple[float, float]:
    """Return the interval of the median whose ends are two of the values.

    It holds for whatever distribution the values have (Thompson 1936, https://doi.org/10.1214/aoms/1177732502).
    """
    from scipy.special import bdtr

    ordered, count = np.sort(values), len(values)
    below = [rank for rank in range(count // 2) if bdtr(rank, count, 0.5) <= (1 - confidence) / 2]
    rank = below[-1] if below else 0
    return float(ordered[rank]), float(ordered[count - 1 - rank])


def _seconds_of(call: Callable[[], object], calls: int) -> float:
    """Return the mean seconds of some calls."""
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - began) / calls


def _median(latencies: Sequence[Latency]) -> Latency:
    p50, p99 = np.median([(each.p50, each.p99) for each in latencies], axis=0)
    return Latency(float(p50), float(p99))


def _latency(seconds: Sequence[float]) -> Latency:
    p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1000
    return Latency(float(p50), float(p99))
