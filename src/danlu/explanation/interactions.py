"""Which pairs of columns a model uses together: the H statistic.

It is the share of the joint partial dependence of two columns that their single ones do not add up to, from 0 to about
1 (Friedman and Popescu 2008, https://doi.org/10.1214/07-AOAS148). A pair's partial dependence at a row is the value of
the coalition of the two, so it is computed as SHAP values are.
"""

from itertools import combinations

import numpy as np
import polars as pl

from danlu.core.console import progress
from danlu.core.seeds import Seed
from danlu.explanation.answers import Answer
from danlu.explanation.games import interventional_value
from danlu.explanation.intervals import Interval
from danlu.explanation.overall import Interactions, Pair
from danlu.explanation.row_answers import RowAnswers

ROWS = 60  # that are places and background alike
MOST_COLUMNS = 12  # those with the largest partial dependence
RESAMPLES = 1000
LEAST_SHARE = 1e-9  # of the answers' variance, below which a pair says nothing


def pair_interactions(rows: RowAnswers, frame: pl.DataFrame, answer: Answer, seed: Seed) -> Interactions:
    """Compute H of all pairs of up to 12 columns, the largest first.

    Args:
        frame: up to 60 rows of the model's columns.
    """
    players = len(rows.columns)
    single = np.vstack([np.zeros((1, players), dtype=bool), np.eye(players, dtype=bool)])
    alone = _values(rows, frame, answer, single)
    chosen = sorted(np.argsort(-alone[:, 1:].std(axis=0), kind="stable")[:MOST_COLUMNS].tolist())
    pairs = list(combinations(chosen, 2))
    both = np.zeros((len(pairs), players), dtype=bool)
    for place, pair in enumerate(pairs):
        both[place, list(pair)] = True
    joint = _values(rows, frame, answer, both) if pairs else np.zeros((frame.height, 0))
    drawn = np.random.default_rng(seed.derive("interactions").value).integers(
        0, frame.height, (RESAMPLES, frame.height)
    )
    least = LEAST_SHARE * float(np.var(alone)) + np.finfo(np.float64).tiny
    found = []
    for place, (first, second) in enumerate(pairs):
        whole = joint[:, place]
        rest = whole - alone[:, 1 + first] - alone[:, 1 + second]
        value = float(_share(rest[None], whole[None], least)[0])
        low, high = np.quantile(_share(rest[drawn], whole[drawn], least), [0.025, 0.975]).tolist()
        names = (rows.columns[first], rows.columns[second])
        found.append(Pair(names, Interval(value, min(low, value), max(high, value))))
    ordered = sorted(found, key=lambda each: -each.share.value)
    return Interactions(answer.name, frame.height, tuple(ordered))


def _values(rows: RowAnswers, frame: pl.DataFrame, answer: Answer, coalitions: np.ndarray) -> np.ndarray:
    """Return the values of coalitions at each row, [rows, coalitions]."""
    found = []
    with progress("explaining", frame.height, "rows") as bar:
        for place in range(frame.height):
            mixed = rows.mixed(frame[place : place + 1], frame, answer)
            found.append(interventional_value(mixed, frame.height, len(rows.columns))(coalitions))
            bar.advance(1)
    return np.stack(found)


def _share(rest: np.ndarray, whole: np.ndarray, least: float) -> np.ndarray:
    """Return H of resamples, [resamples, rows] both -> [resamples]; 0 where the pair does nothing."""
    spread = whole.var(axis=1)
    return np.where(spread > least, np.sqrt(rest.var(axis=1) / np.maximum(spread, least)), 0.0)
