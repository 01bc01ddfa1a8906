"""Twelve kinds of games with all their values: trained networks, trees and planted functions.

In: a kind, a number of players, a seed. Out: the value of each coalition, [2 ** players]; bit i of a position is player
i. Nothing of danlu is imported.
"""

from collections.abc import Callable
from math import factorial
from typing import Any

import numpy as np

ROWS, BACKGROUND, CHUNK = 600, 16, 4096


def all_members(players: int) -> np.ndarray:
    """Return all coalitions, [2 ** players, players] bool."""
    return (np.arange(2**players)[:, None] >> np.arange(players) & 1).astype(bool)


def exact_values(values: np.ndarray) -> np.ndarray:
    """Return the Shapley values of a game from all its values."""
    players = int(np.log2(len(values)))
    members = all_members(players)
    gains = [factorial(size) * factorial(players - size - 1) / factorial(players) for size in range(players)]
    joined, absent = np.array([0.0, *gains]), np.array([*gains, 0.0])
    sizes = members.sum(axis=1)
    return np.array([(values * np.where(member, joined[sizes], -absent[sizes])).sum() for member in members.T])


def _interventional(model: Callable[[np.ndarray], np.ndarray], row: np.ndarray, background: np.ndarray) -> np.ndarray:
    members = all_members(len(row))
    found = np.empty(len(members))
    for start in range(0, len(members), CHUNK):
        kept = members[start : start + CHUNK]
        mixed = np.where(kept[:, None, :], row, background[None]).reshape(-1, len(row))
        found[start : start + CHUNK] = model(mixed).reshape(len(kept), -1).mean(axis=1)
    return found


def _target(rng: np.random.Generator, table: np.ndarray) -> np.ndarray:
    """A target with main effects of many sizes, products of two columns, a sine and a product with a kink."""
    columns = table.shape[1]
    target = table @ (rng.standard_normal(columns) * np.exp(rng.standard_normal(columns) * 0.7))
    for _ in range(columns):
        first, second = rng.choice(columns, 2, replace=False)
        target = target + rng.standard_normal() * table[:, first] * table[:, second] * 0.7
    a, b, c = rng.choice(columns, 3, replace=False)
    target = target + np.sin(2 * table[:, a]) * 2 + np.maximum(table[:, b], 0) * table[:, c]
    return np.asarray((target - target.mean()) / target.std())


def _network(kind: str) -> Callable[[np.random.Generator, int, int], np.ndarray]:
    def game(rng: np.random.Generator, players: int, seed: int) -> np.ndarray:
        from sklearn.neural_network import MLPRegressor

        table = rng.standard_normal((ROWS, players))
        target = _target(rng, table) * (3 if kind == "probability" else 1)
        fitted = MLPRegressor(
            hidden_layer_sizes=(24, 24), max_iter=120, random_state=seed, learning_rate_init=3e-3
        ).fit(table, target)

        def model(rows: np.ndarray) -> np.ndarray:
            for weights, bias in zip(fitted.coefs_[:-1], fitted.intercepts_[:-1], strict=True):
                rows = np.maximum(rows @ weights + bias, 0)
            last = (rows @ fitted.coefs_[-1] + fitted.intercepts_[-1])[:, 0]
            return np.asarray(1 / (1 + np.exp(-last)) if kind == "probability" else last)

        count = 1 if kind == "one background" else BACKGROUND
        return _interventional(model, table[0], table[1 : 1 + count])

    return game


def _trees(kind: str) -> Callable[[np.random.Generator, int, int], np.ndarray]:
    rounds = {"boosted": 30, "probability": 30, "forest": 20, "deep": 1}[kind]
    every: dict[str, dict[str, Any]] = {
        "boosted": {},
        "probability": {"objective": "binary"},
        "forest": {"boosting": "rf", "bagging_fraction": 0.6, "bagging_freq": 1, "num_leaves": 40},
        "deep": {"num_leaves": 60, "min_data_in_leaf": 3, "learning_rate": 1.0},
    }
    options = every[kind]

    def game(rng: np.random.Generator, players: int, seed: int) -> np.ndarray:
        import lightgbm

        table = rng.standard_normal((ROWS, players))
        target = _target(rng, table)
        settings = {"verbosity": -1, "num_threads": 1, "seed": seed, "num_leaves": 15, "min_data_in_leaf": 8, **options}
        answers = (target > 0) * 1.0 if kind == "probability" else target
        booster = lightgbm.train(settings, lightgbm.Dataset(table, answers), rounds)
        return _interventional(lambda rows: np.asarray(booster.predict(rows)), table[0], table[1 : 1 + BACKGROUND])

    return game


def _pairs(rng: np.random.Generator, players: int, seed: int) -> np.ndarray:
    members = all_members(players)
    values = members @ rng.standard_normal(players)
    for _ in range(2 * players):
        first, second = rng.choice(players, 2, replace=False)
        values = values + rng.standard_normal() * 0.6 * members[:, first] * members[:, second]
    return np.asarray(values)


def _sparse_high(rng: np.random.Generator, players: int, seed: int) -> np.ndarray:
    members = all_members(players)
    values = members @ (rng.standard_normal(players) * 0.3)
    for _ in range(12):
        chosen = rng.choice(players, int(rng.integers(2, 6)), replace=False)
        values = values + rng.standard_normal() * members[:, chosen].all(axis=1)
    return np.asarray(values)


def _and_or(rng: np.random.Generator, players: int, seed: int) -> np.ndarray:
    members, values = all_members(players), np.zeros(2**players)
    for _ in range(6):
        own = members[:, rng.choice(players, int(rng.integers(2, 5)), replace=False)]
        values = values + rng.standard_normal() * (own.all(axis=1) if rng.random() < 0.5 else own.any(axis=1))
    return values


def _parity(rng: np.random.Generator, players: int, seed: int) -> np.ndarray:
    members = all_members(players)
    values = members @ (rng.standard_normal(players) * 0.3)
    for _ in range(3):
        chosen = rng.choice(players, int(rng.integers(2, 4)), replace=False)
        values = values + rng.standard_normal() * (members[:, chosen].sum(axis=1) % 2)
    return np.asarray(values)


def _largest_and_bumps(rng: np.random.Generator, players: int, seed: int) -> np.ndarray:
    members = all_members(players)
    sizes, centres = rng.random(players), rng.standard_normal((3, players))
    values = np.where(members, sizes, 0).max(axis=1)
    for centre in centres:
        values = values + np.exp(-((members - 0.5 - centre * 0.5) ** 2).sum(axis=1) / players * 2) * 2
    return np.asarray(values)


GAMES: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "network, number": _network("number"),
    "network, probability": _network("probability"),
    "network, one background": _network("one background"),
    "boosted trees, number": _trees("boosted"),
    "boosted trees, probability": _trees("probability"),
    "forest": _trees("forest"),
    "deep tree": _trees("deep"),
    "pairs": _pairs,
    "products of up to five": _sparse_high,
    "and, or": _and_or,
    "parity of two or three": _parity,
    "largest and bumps": _largest_and_bumps,
}


def make_game(kind: str, number: int) -> np.ndarray:
    """Return the values of the game of a kind with a number; its players are 10 to 16."""
    place = list(GAMES).index(kind)
    players = 10 + (number * 5 + place) % 7
    return GAMES[kind](np.random.default_rng([place, players, number]), players, number)
