"""Choose among what was tried: the strongest compression whose promise holds on rows that were not searched.

Candidates are judged from the safest on, each more gainful than the one before, until one fails. In this order, fixed
on other rows, each may be judged with the whole risk and still at most that risk is taken in all (fixed-sequence
testing: Maurer et al. 1995).
"""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import takewhile

from danlu.compression.judge import Drop
from danlu.compression.tried import Tried
from danlu.recipe.sections.compression import Target

LARGE_BATCH = 32


def cost(tried: Tried, target: Target) -> float:
    """Return what a search makes small: a batch's relative time, or bytes."""
    if target == "latency":
        return 1.0 / tried.speed[LARGE_BATCH].speedup.value
    if target == "size":
        return float(tried.size_bytes)
    return float(tried.peak_memory_bytes or tried.size_bytes)


def front(tries: Sequence[Tried], target: Target) -> list[Tried]:
    """Return those that nothing beats in both drop and cost.

    From the safest to the cheapest. Models that are slower than the original are left out.
    """
    found: list[Tried] = []
    for tried in sorted((each for each in tries if not each.is_slower), key=lambda each: _safety(each, target)):
        if not found or cost(tried, target) < cost(found[-1], target):
            found.append(tried)
    return found


def choose(ordered: Sequence[Tried], max_drop: float, drops: Mapping[str, Drop]) -> Tried | None:
    """Return the last candidate before the first one whose drop may exceed the budget.

    None where the first one's may.

    Args:
        ordered: from the safest on, as `front` gives them.
        max_drop: that the upper bound must not exceed.
        drops: by id, on rows that were not searched.
    """
    held = takewhile(lambda tried: drops[tried.id].upper <= max_drop, ordered)
    return next(iter(deque(held, maxlen=1)), None)


def _safety(tried: Tried, target: Target) -> tuple[float, float]:
    return tried.drop.upper, cost(tried, target)
