"""Games whose Shapley values are known from all coalitions, for the tests of estimators."""

from itertools import permutations

import numpy as np

from danlu.explanation.coalitions import all_coalitions
from danlu.explanation.games import Game


def table_game(values: np.ndarray) -> Game:
    """A game given by the value of each coalition, [2 ** players]; bit i of a position is player i."""
    players = int(np.log2(len(values)))
    bits = 2 ** np.arange(players)
    return Game(players, lambda coalitions: values[coalitions @ bits])


def by_orders(values: np.ndarray) -> np.ndarray:
    """Shapley values as Shapley defined them: the mean gain over all orders in which the players come."""
    players = int(np.log2(len(values)))
    found = np.zeros(players)
    orders = list(permutations(range(players)))
    for order in orders:
        coalition = 0
        for player in order:
            found[player] += values[coalition | 1 << player] - values[coalition]
            coalition |= 1 << player
    return found / len(orders)


def interactions(players: int, seed: int, terms: int = 12) -> np.ndarray:
    """Values of a game of single players and of products of two to four."""
    rng = np.random.default_rng(seed)
    members = all_coalitions(players, 0, 2**players)
    values = members @ rng.standard_normal(players)
    for _ in range(terms):
        chosen = rng.choice(players, int(rng.integers(2, 5)), replace=False)
        values += rng.standard_normal() * members[:, chosen].all(axis=1)
    return values
