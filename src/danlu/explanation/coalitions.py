"""Which coalitions are asked for: pairs of a coalition and its complement, in strata of their sizes.

Shapley values depend only on v(S) - v(complement of S), so calls go in pairs (Fumagalli et al. 2026,
https://arxiv.org/abs/2602.01399). A size gets as many pairs as its weight in Kernel SHAP, the smallest and largest
coalitions first; a size with fewer coalitions than that is enumerated.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np

from danlu.core.seeds import Seed

SMALLEST_STRATUM = 4  # pairs; neighbouring sizes with fewer are drawn together, so that each stratum has a variance
MAX_ENUMERATED = 20_000  # coalitions of a size that are listed before they are drawn from


@dataclass(frozen=True)
class Pairs:
    """Hold pairs of coalitions.

    Attributes:
        members: one coalition of each pair, of at most half the players, [pairs, players] bool.
        weights: what a difference v(S) - v(complement) adds to each value, [pairs, players]: the mean over a stratum,
            summed over the strata, is the Shapley value without the equal share of the whole.
        strata: the stratum of each pair, [pairs].
        fractions: the share of each stratum's pairs that is here, [strata].
    """

    members: np.ndarray
    weights: np.ndarray
    strata: np.ndarray
    fractions: np.ndarray

    def __len__(self) -> int:
        return len(self.members)

    @property
    def signs(self) -> np.ndarray:
        """The members as 1 and -1, [pairs, players]."""
        return np.where(self.members, 1.0, -1.0)


def all_coalitions(players: int, start: int, stop: int) -> np.ndarray:
    """Return coalitions by number, [stop - start, players]; bit i is player i."""
    return (np.arange(start, stop)[:, None] >> np.arange(players) & 1).astype(bool)


def num_pairs(players: int) -> int:
    """Return how many pairs there are beside that of all and none."""
    return int(2 ** (players - 1)) - 1


@lru_cache(maxsize=8)  # all rows of a call ask for the same ones
def draw_pairs(players: int, pairs: int, seed: Seed) -> Pairs:
    """Draw pairs of coalitions.

    A larger number draws those of a smaller one again, and others.

    Args:
        players: two or more.
        pairs: how many; at most all that there are.
    """
    offset = float(np.random.default_rng(seed.derive("offset").value).random()) - 0.5
    sizes = _stratify(players, min(pairs, num_pairs(players)), offset)
    members, weights, strata, fractions = [], [], [], []
    for stratum, group in enumerate(sizes):
        share = sum(_size_weight(players, size) for size, _ in group)
        for size, count in group:
            drawn = _subsets(players, size, count, seed.derive("size", size).value)
            probability = _size_weight(players, size) / share
            half = 2.0 if 2 * size == players else 1.0  # there, a pair is two coalitions of one size
            own = np.where(drawn, 1 / size, -1 / (players - size)) / half
            members.append(drawn)
            weights.append(own / probability if len(group) > 1 else own)
            strata.append(np.full(count, stratum))
        (size, count), *others = group
        fractions.append(0.0 if others else count / _pairs_of_size(players, size))
    return Pairs(np.concatenate(members), np.concatenate(weights), np.concatenate(strata), np.array(fractions))


def _pairs_of_size(players: int, size: int) -> int:
    return comb(players, size) // (2 if 2 * size == players else 1)


def _size_weight(players: int, size: int) -> float:
    return (0.5 if 2 * size == players else 1.0) / (size * (players - size))


def _stratify(players: int, pairs: int, offset: float) -> list[list[tuple[int, int]]]:
    """Divide pairs into strata of one size or neighbouring ones, as (size, pairs).

    Args:
        offset: in [-0.5, 0.5); where sizes get less than a pair, it draws those that get one.
    """
    sizes = range(1, players // 2 + 1)
    wanted = dict(zip(sizes, _fill(players, pairs), strict=True))
    groups: list[list[int]] = []
    thin: list[int] = []
    for size in sizes:
        if wanted[size] >= min(SMALLEST_STRATUM, _pairs_of_size(players, size)):
            groups += [thin, [size]] if thin else [[size]]
            thin = []
        else:
            thin.append(size)
            if sum(wanted[each] for each in thin) >= SMALLEST_STRATUM:
                groups.append(thin)
                thin = []
    if thin:
        groups[-1:] = [[*groups[-1], *thin]] if groups else [thin]
    counts: dict[int, int] = {}
    carried = offset
    for size in sizes:  # whole numbers with the same sums: what is rounded away is carried on
        limit = _pairs_of_size(players, size)
        exact = wanted[size] + carried
        counts[size] = limit if wanted[size] >= limit else min(max(int(exact + 0.5), 0), limit)
        carried = carried if wanted[size] >= limit else exact - counts[size]
    strata = [[(size, counts[size]) for size in group if counts[size]] for group in groups]
    return [group for group in strata if group]


def _fill(players: int, pairs: int) -> list[float]:
    """Return the pairs of each size: by weight, but no more than there are."""
    sizes = range(1, players // 2 + 1)
    weights = np.array([_size_weight(players, size) for size in sizes])
    limits = np.array([float(min(_pairs_of_size(players, size), 10**15)) for size in sizes])
    full = np.zeros(len(weights), dtype=bool)
    while True:
        left = max(pairs - limits[full].sum(), 0.0)
        free = weights[~full].sum()
        found = np.where(full, limits, weights * (left / free if free else 0.0))
        over = ~full & (found >= limits)
        if not over.any():
            return [float(value) for value in found]
        full |= over


def _subsets(players: int, size: int, count: int, seed: int) -> np.ndarray:
    """Draw different subsets of a size, [count, players]; more begin with the same."""
    rng = np.random.default_rng(seed)
    total = _pairs_of_size(players, size)
    halved = 2 * size == players
    if comb(players, size) <= MAX_ENUMERATED:
        from itertools import combinations

        listed = np.array(list(combinations(range(players), size)))
        listed = listed[:total] if halved else listed  # the first half holds player 0, the second the complements
        chosen = listed[rng.permutation(total)[:count]]
        found = np.zeros((count, players), dtype=bool)
        np.put_along_axis(found, chosen, True, axis=1)
        return found
    seen: set[bytes] = set()
    rows: list[np.ndarray] = []
    while len(rows) < count:
        row = np.zeros(players, dtype=bool)
        row[rng.permutation(players)[:size]] = True
        if halved and not row[0]:
            row = ~row
        if (key := np.packbits(row).tobytes()) not in seen:
            seen.add(key)
            rows.append(row)
    return np.array(rows)
