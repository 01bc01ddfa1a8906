"""Shapley values of a game: all coalitions where they are few, else the estimator for the calls at hand.

The rule by which estimators are chosen is `choose_estimator`; `ESTIMATORS` lists them.
"""

from math import factorial
from typing import Protocol

import numpy as np

from danlu.core.seeds import Seed
from danlu.errors import ArgumentError
from danlu.explanation.coalitions import Pairs, all_coalitions, draw_pairs, num_pairs
from danlu.explanation.estimates import Estimate, Proxy, corrected
from danlu.explanation.games import Game
from danlu.explanation.odd_kernel import OddKernel
from danlu.explanation.paired_kernel import PairedKernel

MAX_ENUMERATED_PLAYERS = 16
MOST_ANSWERS = 2**19  # of the model for a row, up to which all coalitions are asked for unasked
BATCH = 2**14  # coalitions at a time, of an enumeration
FIRST_CALLS = 10  # calls per column that a search for a wanted error begins with
USUAL_CALLS = 40
MOST_CALLS = 320
FEWEST_CALLS = 4
ODD_CALLS = 5  # calls per column from which the odd kernel has half the error of paired Kernel SHAP
MAX_ODD_PLAYERS = 300  # the regression has a number to choose for each


class Estimator(Protocol):
    """Fit a proxy to pairs of coalitions."""

    @property
    def name(self) -> str:
        """The name in results."""

    def fit(self, pairs: Pairs, differences: np.ndarray, whole: float) -> Proxy:
        """Fit the proxy to differences, [pairs], and to the whole game."""


ESTIMATORS: dict[str, Estimator] = {each.name: each for each in (PairedKernel(), OddKernel())}


def choose_estimator(players: int, calls: int) -> Estimator:
    """Choose the odd kernel from 5 calls per column, below them paired Kernel SHAP."""
    is_odd = players <= MAX_ODD_PLAYERS and calls >= ODD_CALLS * players
    return ESTIMATORS["odd" if is_odd else "paired-kernel"]


def enumerate_all(game: Game) -> Estimate:
    """Compute exact values of up to 16 players from all coalitions, in batches."""
    players = game.players
    gains = [factorial(size) * factorial(players - size - 1) / factorial(players) for size in range(players)]
    joined, absent = np.array([0.0, *gains]), np.array([*gains, 0.0])
    values, ends, calls = np.zeros(players), np.zeros(2), game.calls
    for start in range(0, 2**players, BATCH):
        coalitions = all_coalitions(players, start, min(start + BATCH, 2**players))
        found, sizes = game.compute(coalitions), coalitions.sum(axis=1)
        weights = np.where(coalitions, joined[sizes][:, None], -absent[sizes][:, None])
        values += weights.T @ found
        ends = np.where([start == 0, start + BATCH >= 2**players], found[[0, -1]], ends)
    empty, full = float(ends[0]), float(ends[1])
    return Estimate(values, np.zeros(players), empty, full, game.calls - calls, "enumerated", True)


def fewest_calls(players: int) -> int:
    """Return the calls that an estimate with an interval needs."""
    return min(FEWEST_CALLS * players + 2, 1 << players)


def estimate_with(estimator: Estimator, game: Game, calls: int, seed: Seed) -> Estimate:
    """Estimate the values from at most so many calls.

    Raises:
        ArgumentError: they are too few for an interval.
    """
    players = game.players
    fewest = fewest_calls(players)
    if calls < fewest:
        raise ArgumentError(
            f"budget: {calls} calls are too few for {players} columns; give at least {fewest}", code="DL402"
        )
    pairs = draw_pairs(players, (calls - 2) // 2, seed)
    ends = np.array([[False] * players, [True] * players])
    found = game.values(np.concatenate([ends, pairs.members, ~pairs.members]))
    (empty, full), inside = found[:2].tolist(), found[2 : 2 + len(pairs)]
    proxy = estimator.fit(pairs, inside - found[2 + len(pairs) :], full - empty)
    values, half_widths = corrected(proxy, pairs, float(np.ptp(found)))
    return Estimate(values, half_widths, empty, full, game.calls, estimator.name, not half_widths.any())


def shapley_values(
    game: Game, seed: Seed, *, error: float | None = None, budget: int | None = None, answers: int = 1
) -> Estimate:
    """Compute or estimate the Shapley values of a game.

    All coalitions of up to 16 players are asked for where the budget allows it; without a budget or a wanted error,
    where they cost at most 524,288 answers of the model.

    Args:
        seed: of the coalitions that are drawn.
        error: stop when no interval is wider to either side; the budget ends it, too.
        answers: of the model that a call costs: background rows.
        budget: most calls; by default 40 per column, and 320 per column where an error is asked for.
    """
    players = game.players
    everything = 2**players if players <= MAX_ENUMERATED_PLAYERS else None
    affordable = MOST_ANSWERS // answers if budget is None else budget
    if players == 1 or (everything is not None and error is None and everything <= affordable):
        return enumerate_all(game)
    most = budget if budget is not None else (USUAL_CALLS if error is None else MOST_CALLS) * players
    calls = most if error is None else min(max(FIRST_CALLS * players, FEWEST_CALLS * players + 2), most)
    while True:
        if everything is not None and calls >= everything and most >= everything:
            return enumerate_all(game)
        calls = min(calls, 2 * num_pairs(players) + 2) if everything is not None else calls
        found = estimate_with(choose_estimator(players, calls), game, calls, seed)
        if error is None or calls >= most or float(found.half_widths.max()) <= error:
            return found
        calls = min(2 * calls, most)
