"""Areas under ROC and precision-recall curves: how well scores rank one class above another.

Scores are sorted once; resamples only bring other weights, summed in that order. Ties count half, as in scikit-learn.
In: scores and truth. Out: [resamples, curves, 3]: area under ROC, average precision, weight of the members.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from danlu.metrics.base import Metric, Predictions, Statistic, StatisticFn, safe_divide

AUROC, AVERAGE_PRECISION, MEMBER_WEIGHT = range(3)


@dataclass(frozen=True)
class RankStats:
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
    def from_scores(cls, scores: np.ndarray, member: np.ndarray, samples: np.ndarray | None = None) -> "RankStats":
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
        others = _cumulative(weights.take(self.others, axis=1))
        level = others.take(self.level, axis=1).astype(np.float64)
        above = others.take(self.above, axis=1) if (self.above != self.level).any() else level
        # A pair of a member and another counts 1 if the member is above, a half if they are tied.
        lost = np.einsum("rk,rk->r", members, (level + above) / 2)
        area = safe_divide(total * others[:, -1] - lost, total * others[:, -1])
        found = _cumulative(members)[:, 1:]
        found = found if self.ends is None else found.take(self.ends, axis=1)
        seen = found + level
        shares = np.divide(found, seen, out=np.zeros_like(seen), where=seen > 0)
        precise = np.einsum("rk,rk->r", members, shares)
        return np.stack([area, safe_divide(precise, total), total], axis=1)


def _cumulative(counts: np.ndarray) -> np.ndarray:
    """Compute running sums along each row, starting with 0.

    In integers, which takes an eighth of the time.
    """
    sums = np.zeros((len(counts), counts.shape[1] + 1), dtype=np.int64)
    np.cumsum(counts.astype(np.int64), axis=1, out=sums[:, 1:])
    return sums


def _one_vs_rest(predictions: Predictions) -> StatisticFn:
    """Compare each class with the rest; with two classes, only the second."""
    classes = predictions.y_pred.shape[1]
    chosen = [1] if classes == 2 else list(range(classes))
    return stack_areas([RankStats.from_scores(predictions.y_pred[:, c], predictions.y_true == c) for c in chosen])


def _per_label(predictions: Predictions) -> StatisticFn:
    labels = range(predictions.y_pred.shape[1])
    return stack_areas(
        [RankStats.from_scores(predictions.y_pred[:, label], predictions.y_true[:, label] == 1) for label in labels]
    )


def _one_vs_one(predictions: Predictions) -> StatisticFn:
    """Compare each class with each other class by its own scores, weighted by pair.

    Both directions count (Hand and Till 2001, https://doi.org/10.1023/A:1010920819831).
    """
    classes = predictions.y_pred.shape[1]
    both_ways = [(a, b) for a in range(classes) for b in range(classes) if a != b]
    pairs = [(1, 0)] if classes == 2 else both_ways  # with two, both directions are equal up to rounding
    members = [np.flatnonzero(predictions.y_true == c) for c in range(classes)]

    def orders() -> Iterator[RankStats]:
        for a, b in pairs:
            both = np.sort(np.concatenate([members[a], members[b]]))
            yield RankStats.from_scores(predictions.y_pred[both, a], predictions.y_true[both] == a, both)

    kept = list(orders())

    def gather(weights: np.ndarray) -> np.ndarray:
        found = np.stack([order.areas(weights) for order in kept], axis=1)
        sizes = np.stack([_pair_weight(order, weights) for order in kept], axis=1)
        found[:, :, MEMBER_WEIGHT] = sizes
        return found

    return gather


def _pair_weight(order: RankStats, weights: np.ndarray) -> np.ndarray:
    return np.asarray(weights.take(np.concatenate([order.members, order.others]), axis=1).sum(axis=1))


def stack_areas(orders: Sequence[RankStats]) -> StatisticFn:
    """Stack the areas of several rankings."""
    return lambda weights: np.stack([order.areas(weights) for order in orders], axis=1)


ONE_VS_REST, ONE_VS_ONE, PER_LABEL = Statistic(_one_vs_rest), Statistic(_one_vs_one), Statistic(_per_label)


def average_area(which: int, by_size: bool = False) -> Callable[[np.ndarray], np.ndarray]:
    """Average an area over classes; NaN if a class has no members or no others."""

    def compute(found: np.ndarray) -> np.ndarray:
        # Average precision is defined even if all are members, but averaging it over classes is then meaningless.
        undefined = np.isnan(found[..., AUROC]).any(-1)
        areas, sizes = found[..., which], found[..., MEMBER_WEIGHT]
        mean = safe_divide((areas * sizes).sum(-1), sizes.sum(-1)) if by_size else areas.mean(-1)
        return np.where(undefined, np.nan, mean)

    return compute


def average_defined_area(which: int) -> Callable[[np.ndarray], np.ndarray]:
    """Average an area over the labels for which it is defined."""

    def compute(found: np.ndarray) -> np.ndarray:
        areas = found[..., which]
        there = ~np.isnan(areas)
        return safe_divide(np.where(there, areas, 0.0).sum(-1), there.sum(-1))

    return compute


def _ranking_metric(statistic: Statistic, which: int, by_size: bool, meaning: str) -> Metric:
    return Metric("classification", statistic, average_area(which, by_size), True, meaning)


RANKING_METRICS: dict[str, Metric] = {
    "auroc": _ranking_metric(ONE_VS_REST, AUROC, False, "chance that a member of a class is ranked before another"),
    "auroc-weighted": _ranking_metric(ONE_VS_REST, AUROC, True, "as auroc; every class by its size"),
    "auroc-ovo": _ranking_metric(
        ONE_VS_ONE, AUROC, False, "as auroc; every class against each other one (Hand and Till 2001)"
    ),
    "auroc-ovo-weighted": _ranking_metric(ONE_VS_ONE, AUROC, True, "as auroc-ovo; every pair of classes by its size"),
    "average-precision": _ranking_metric(
        ONE_VS_REST, AVERAGE_PRECISION, False, "area under the precision-recall curve"
    ),
    "average-precision-weighted": _ranking_metric(
        ONE_VS_REST, AVERAGE_PRECISION, True, "as average-precision; every class by its size"
    ),
}
