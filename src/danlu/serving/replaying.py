"""Answer a server's log again: the same batches, and how far the answers are from those that were given.

In: lines of a log and opened bundles. Out: requests that differ, and figures. The answers of the same bundle and engine
are the same bytes where the whole batch is in the log; elsewhere rounding is allowed for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from danlu.serving.answering import Served
from danlu.serving.request_log import LogLine, threads_of

TOLERANCE = 1e-5  # relative where a value is above 1


@dataclass
class Comparison:
    """Hold how answers compare with those of a log.

    Attributes:
        requests: that were answered again.
        equal: of these, answered the same: bytes where batch, bundle and engine are the same, else within rounding.
        exact: requests that had to be the same bytes.
        max_deviation: of any number.
        labels_changed: rows whose prediction is another word.
        differences: id, what was answered and what is.
    """

    requests: int = 0
    equal: int = 0
    exact: int = 0
    max_deviation: float = 0.0
    labels_changed: int = 0
    differences: list[dict[str, Any]] = field(default_factory=list)


def batches_of(lines: Iterable[LogLine]) -> list[list[LogLine]]:
    """Put the requests of each batch together, in their order in it."""
    found: dict[tuple[str, str, str], list[LogLine]] = {}
    for line in lines:
        found.setdefault((line.model, line.digest, line.batch[0]), []).append(line)
    return [sorted(batch, key=lambda line: line.batch[2]) for batch in found.values()]


def replay_batch(served: Served, batch: Sequence[LogLine], compared: Comparison) -> None:
    """Answer a batch again and add how its answers compare.

    Args:
        served: the bundle that answers.
        batch: the requests of one batch, in order.
        compared: is added to.
    """
    rows = [served.read(msgspec.json.decode(line.request)["rows"]) for line in batch]
    threads = threads_of(served.engine)
    is_whole = sum(each.count for each in rows) == batch[0].batch[1]
    for line, answers in zip(batch, served.answer(rows), strict=True):
        was, now = bytes(line.answer), msgspec.json.encode(answers)
        same_source = line.digest == served.digest and line.engine == served.engine and line.threads == threads
        must_be_exact = same_source and is_whole
        compared.requests += 1
        compared.exact += must_be_exact
        found, given = msgspec.json.decode(now), msgspec.json.decode(was)
        deviation, alike = _deviation(given, found)
        compared.max_deviation = max(compared.max_deviation, deviation)
        compared.labels_changed += sum(_label(a) != _label(b) for a, b in zip(given, found, strict=True))
        if was == now or (not must_be_exact and alike and deviation <= TOLERANCE):
            compared.equal += 1
        else:
            compared.differences.append({"id": line.id, "was": given, "is": found})


def _label(answer: Mapping[str, Any]) -> Any:
    """Return what is decided of a row; numbers are none."""
    said = answer.get("prediction")
    return None if isinstance(said, float) else said


def _deviation(was: Any, now: Any) -> tuple[float, bool]:
    """Return the largest difference of two answers' numbers, and whether all else is the same."""
    if isinstance(was, float) and isinstance(now, float):
        return abs(was - now) / max(1.0, abs(was)), True
    if isinstance(was, dict) and isinstance(now, dict) and was.keys() == now.keys():
        parts = [_deviation(was[name], now[name]) for name in was]
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        parts = [_deviation(a, b) for a, b in zip(was, now, strict=True)]
    else:
        return 0.0, was == now
    return max((size for size, _ in parts), default=0.0), all(same for _, same in parts)
