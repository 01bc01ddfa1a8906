"""Metrics of all workers in one piece of shared memory, and their text for Prometheus.

A worker adds to a row of its own, so no lock is needed, and the row outlives a worker that was killed: the supervisor
adds it to row 0 and gives it away again. Whichever worker is asked sums all rows. What a metric is called and what it
counts stands in `COUNTERS`, `GAUGES` and `HISTOGRAMS`.
"""

import mmap
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

Labels = tuple[str, ...]
Key = tuple[str, Labels]

ROWS, WIDTH = 64, 16_384  # workers at a time, those that drain included; numbers of each: 8 MB, touched as used
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 8192.0)

MODEL = ("model", "version")
COUNTERS: dict[str, tuple[str, Labels]] = {
    "danlu_requests": ("Requests answered, by status.", (*MODEL, "route", "status")),
    "danlu_rows": ("Rows answered.", MODEL),
    "danlu_row_errors": ("Rows answered by an error.", MODEL),
    "danlu_clients_left": ("Requests whose client left before the answer.", MODEL),
    "danlu_shadowed": ("Requests answered by a shadow, too.", MODEL),
    "danlu_shadow_differences": ("Requests that a shadow answered otherwise.", MODEL),
    "danlu_prompt_tokens": ("Tokens of prompts that a language model read.", MODEL),
    "danlu_known_tokens": ("Of these, tokens that the prefix cache knew.", MODEL),
    "danlu_written_tokens": ("Tokens that a language model wrote.", MODEL),
    "danlu_workers_lost": ("Workers that ended unasked.", ()),
    "danlu_reloads": ("Times that models were loaded anew.", ()),
}
GAUGES: dict[str, tuple[str, Labels]] = {
    "danlu_queued_rows": ("Rows that wait for a model.", MODEL),
    "danlu_tokens_per_second": ("Tokens that a language model wrote in the last second.", MODEL),
    "danlu_running_texts": ("Texts that a language model is writing.", MODEL),
    "danlu_waiting_texts": ("Texts that wait for a language model.", MODEL),
    "danlu_connections": ("Open connections.", ()),
}
HISTOGRAMS: dict[str, tuple[str, Labels, Sequence[float]]] = {
    "danlu_stage_seconds": (
        "Seconds of a stage: decode, queue, compute, and the whole request.",
        (*MODEL, "stage"),
        SECONDS,
    ),
    "danlu_batch_rows": ("Rows of a batch.", MODEL, SIZES),
    "danlu_text_wait_seconds": ("Seconds until the prompt of a text was read.", MODEL, SECONDS),
}


@dataclass
class Layout:
    """Say where each number stands in a row.

    It grows in the supervisor alone, and is copied by fork.
    """

    places: dict[Key, int] = field(default_factory=dict)
    used: int = 0

    def place(self, name: str, labels: Labels) -> int:
        """Return the place of a metric's first number.

        Raises:
            ValueError: no room is left.
        """
        found = self.places.get((name, labels))
        if found is not None:
            return found
        size = len(HISTOGRAMS[name][2]) + 2 if name in HISTOGRAMS else 1  # buckets, +Inf, sum
        if self.used + size > WIDTH:
            raise ValueError("no room is left for another metric")
        self.places[name, labels] = self.used
        self.used += size
        return self.places[name, labels]


class Table:
    """Hold the numbers of all workers.

    Attributes:
        layout: where each number stands.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, ROWS * WIDTH * 8)  # anonymous and shared with all forks
        self._numbers = memoryview(self._memory).cast("d")
        self.layout = Layout()
        self._free = list(range(ROWS - 1, 0, -1))

    @property
    def free_rows(self) -> int:
        """How many more workers may run."""
        return len(self._free)

    def take_row(self) -> int:
        """Return a free row for a worker.

        Raises:
            ValueError: there is none.
        """
        if not self._free:
            raise ValueError(f"more than {ROWS - 1} workers are running or draining")
        return self._free.pop()

    def give_back(self, row: int) -> None:
        """Add a dead worker's row to row 0, all but its gauges, and free it."""
        gauges = {place for (name, _), place in self.layout.places.items() if name in GAUGES}
        for place in range(self.layout.used):
            if place not in gauges:
                self._numbers[place] += self._numbers[row * WIDTH + place]
            self._numbers[row * WIDTH + place] = 0.0
        self._free.append(row)

    def row(self, number: int) -> "Row":
        """Return one row, to add to."""
        return Row(self._numbers[number * WIDTH : (number + 1) * WIDTH], self.layout)

    def total(self, place: int) -> float:
        """Return the sum of all rows."""
        return sum(self._numbers[place::WIDTH])


class Row:
    """Add to the numbers of one worker; a call takes a fraction of a microsecond."""

    def __init__(self, numbers: "memoryview[float]", layout: Layout) -> None:
        self._numbers, self._layout = numbers, layout

    def counter(self, name: str, labels: Labels = ()) -> "Counter":
        """Return a number to add to or to set."""
        return Counter(self._numbers, self._layout.place(name, labels))

    def histogram(self, name: str, labels: Labels) -> "Histogram":
        """Return the numbers of a histogram."""
        return Histogram(self._numbers, self._layout.place(name, labels), HISTOGRAMS[name][2])


class Counter:
    """Count something, or hold its size now."""

    __slots__ = ("_numbers", "_place")

    def __init__(self, numbers: "memoryview[float]", place: int) -> None:
        self._numbers, self._place = numbers, place

    def add(self, amount: float = 1.0) -> None:
        """Add to it."""
        self._numbers[self._place] += amount

    def set(self, value: float) -> None:
        """Replace it."""
        self._numbers[self._place] = value


class Histogram:
    """Count values by their size."""

    __slots__ = ("_bounds", "_numbers", "_place", "_sum")

    def __init__(self, numbers: "memoryview[float]", place: int, bounds: Sequence[float]) -> None:
        self._numbers, self._place, self._bounds = numbers, place, bounds
        self._sum = place + len(bounds) + 1

    def observe(self, value: float) -> None:
        """Count a value."""
        self._numbers[self._place + bisect_left(self._bounds, value)] += 1.0
        self._numbers[self._sum] += value


class TableCollector:
    """Hand the table to prometheus_client, whose names for a collector's methods these are."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def collect(self) -> "Iterator[Metric]":
        """Yield all metrics, summed over the workers."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        table, places = self._table, self._table.layout.places
        for kinds, family in ((COUNTERS, CounterMetricFamily), (GAUGES, GaugeMetricFamily)):
            for name, (told, labels) in kinds.items():
                metric = family(name, told, labels=labels)
                for (known, values), place in places.items():
                    if known == name:
                        metric.add_metric(values, table.total(place))
                yield metric
        for name, (told, labels, bounds) in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(name, told, labels=labels)
            for (known, values), place in places.items():
                if known == name:
                    histogram.add_metric(values, *self._buckets(place, bounds))
            yield histogram

    def _buckets(self, place: int, bounds: Sequence[float]) -> tuple[list[tuple[str, float]], float]:
        counted, buckets = 0.0, list[tuple[str, float]]()
        for number, bound in enumerate([*map(str, bounds), "+Inf"]):
            counted += self._table.total(place + number)
            buckets.append((bound, counted))
        return buckets, self._table.total(place + len(bounds) + 1)


def exposition(table: Table, accept: str) -> tuple[bytes, str]:
    """Return the metrics as text, and its content type.

    Args:
        accept: the client's header, by which OpenMetrics is chosen.
    """
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    registry.register(TableCollector(table))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
