"""Areas under ROC and precision-recall curves: how well scores rank one class above another.

Scores are sorted once; resamples only bring other weights, summed in that order. Ties count half, as in scikit-learn.
In: scores and truth. Out: [resamples, curves, 3]: area under ROC, average precision, weight of the members.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from danlu.evaluation.metric import Metric, Statistic, Truth, Weighted, divided

AREA, PRECISION, MEMBERS = range(3)


@dataclass(frozen=True)
class Order:
    """Hold samples sorted by score, members of a class apart from the others, best first.

    Attributes:
        members, others: the sample at each position.
        above, level: number of others above each member, and above or tied with it, [members].
        ends: the last member tied with each member, [members]; None if there are no ties.
    """

    members: np.ndarray
    others: np.ndarray
    above: np.ndarray
    level: np.ndarray
    ends: np.ndarray | None

    @classmethod
    def of(cls, scores: np.ndarray, member: np.ndarray, samples: np.ndarray | None = None) -> "Order":
        """Sort the scores of some samples (all if left out)."""
        order = np.argsort(-scores, kind="stable")
        within, without = order[member[order]], order[~member[order]]
        inside, outside = -scores[within], -scores[without]
        above = np.searchsorted(outside, inside, side="left")
        level = np.searchsorted(outside, inside, side="right")
        ends = np.searchsorted(inside, inside, side="right") - 1
        tied = bool((ends != np.arange(len(ends))).any())
        if samples is not None:
            within, without = samples[within], samples[without]
        return cls(within, without, above, level, ends if tied else None)

    def areas(self, weights: np.ndarray) -> np.ndarray:
        """Compute the areas, [resamples, samples] -> [resamples, 3]."""
        members = weights.take(self.members, axis=1)
        total = members.sum(axis=1)
        if not len(self.members):
            return np.full((len(weights), 3), np.nan)
        others = _running(weights.take(self.others, axis=1))
        level = others.take(self.level, axis=1).astype(np.float64)
        above = others.take(self.above, axis=1) if (self.above != self.level).any() else level
        # A pair of a member and another counts 1 if the member is above, a half if they are tied.
        lost = np.einsum("rk,rk->r", members, (level + above) / 2)
        area = divided(total * others[:, -1] - lost, total * others[:, -1])
        found = _running(members)[:, 1:]
        found = found if self.ends is None else found.take(self.ends, axis=1)
        seen = found + level
        shares = np.divide(found, seen, out=np.zeros_like(seen), where=seen > 0)
        precise = np.einsum("rk,rk->r", members, shares)
        return np.stack([area, divided(precise, total), total], axis=1)


def _running(counts: np.ndarray) -> np.ndarray:
    """Compute running sums along each row, starting with 0.

    In integers, which takes an eighth of the time.
    """
    sums = np.zeros((len(counts), counts.shape[1] + 1), dtype=np.int64)
    np.cumsum(counts.astype(np.int64), axis=1, out=sums[:, 1:])
    return sums


def _against_rest(truth: Truth) -> Weighted:
    """Compare each class with the rest; with two classes, only the second."""
    classes = truth.answers.shape[1]
    chosen = [1] if classes == 2 else list(range(classes))
    return along([Order.of(truth.answers[:, c], truth.values == c) for c in chosen])


def _of_labels(truth: Truth) -> Weighted:
    labels = range(truth.answers.shape[1])
    return along([Order.of(truth.answers[:, label], truth.values[:, label] == 1) for label in labels])


def _of_pairs(truth: Truth) -> Weighted:
    """Compare each class with each other class by its own scores, weighted by pair.

    Both directions count (Hand and Till 2001, https://doi.org/10.1023/A:1010920819831).
    """
    classes = truth.answers.shape[1]
    both_ways = [(a, b) for a in range(classes) for b in range(classes) if a != b]
    pairs = [(1, 0)] if classes == 2 else both_ways  # with two, both directions are equal up to rounding
    members = [np.flatnonzero(truth.values == c) for c in range(classes)]

    def orders() -> Iterator[Order]:
        for a, b in pairs:
            both = np.sort(np.concatenate([members[a], members[b]]))
            yield Order.of(truth.answers[both, a], truth.values[both] == a, both)

    kept = list(orders())

    def gather(weights: np.ndarray) -> np.ndarray:
        found = np.stack([order.areas(weights) for order in kept], axis=1)
        sizes = np.stack([_size(order, weights) for order in kept], axis=1)
        found[:, :, MEMBERS] = sizes
        return found

    return gather


def _size(order: Order, weights: np.ndarray) -> np.ndarray:
    return np.asarray(weights.take(np.concatenate([order.members, order.others]), axis=1).sum(axis=1))


def along(orders: Sequence[Order]) -> Weighted:
    """Stack the areas of several rankings."""
    return lambda weights: np.stack([order.areas(weights) for order in orders], axis=1)


AGAINST_REST, PAIRS, LABELS = Statistic(_against_rest), Statistic(_of_pairs), Statistic(_of_labels)


def averaged(which: int, by_size: bool = False) -> Callable[[np.ndarray], np.ndarray]:
    """Average an area over classes; NaN if a class has no members or no others."""

    def compute(found: np.ndarray) -> np.ndarray:
        # Average precision is defined even if all are members, but averaging it over classes is then meaningless.
        undefined = np.isnan(found[..., AREA]).any(-1)
        areas, sizes = found[..., which], found[..., MEMBERS]
        mean = divided((areas * sizes).sum(-1), sizes.sum(-1)) if by_size else areas.mean(-1)
        return np.where(undefined, np.nan, mean)

    return compute


def over_defined(which: int) -> Callable[[np.ndarray], np.ndarray]:
    """Average an area over the labels for which it is defined."""

    def compute(found: np.ndarray) -> np.ndarray:
        areas = found[..., which]
        there = ~np.isnan(areas)
        return divided(np.where(there, areas, 0.0).sum(-1), there.sum(-1))

    return compute


def _ranked(statistic: Statistic, which: int, by_size: bool, meaning: str) -> Metric:
    return Metric("classification", statistic, averaged(which, by_size), True, meaning)


RANKED: dict[str, Metric] = {
    "auroc": _ranked(AGAINST_REST, AREA, False, "chance that a member of a class is ranked before another"),
    "auroc-weighted": _ranked(AGAINST_REST, AREA, True, "as auroc; every class by its size"),
    "auroc-ovo": _ranked(PAIRS, AREA, False, "as auroc; every class against each other one (Hand and Till 2001)"),
    "auroc-ovo-weighted": _ranked(PAIRS, AREA, True, "as auroc-ovo; every pair of classes by its size"),
    "average-precision": _ranked(AGAINST_REST, PRECISION, False, "area under the precision-recall curve"),
    "average-precision-weighted": _ranked(
        AGAINST_REST, PRECISION, True, "as average-precision; every class by its size"
    ),
}
