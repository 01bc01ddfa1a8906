"""Removal curves: how fast an answer changes where a method's largest columns are taken away, dummies beside.

What is taken away is filled from the training rows that are most alike in the columns that stay, so that filled rows
are such as occur: filling all alike asks the model about rows it never saw (Hooker et al. 2019,
https://arxiv.org/abs/1806.10758). Methods are ranked only where intervals over the rows tell them apart.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from danlu.explanation.answers import Answer
from danlu.explanation.intervals import mean_interval
from danlu.explanation.row_answers import RowAnswers
from danlu.explanation.trust_results import Removal

MOST_SIZES = 10  # places of a curve
NEIGHBOURS = 5  # background rows that fill


def removal_sizes(columns: int) -> list[int]:
    """Return how many columns each place of a curve takes away, from 1 on."""
    most = max(columns - 1, 1)
    places = np.linspace(1, most, min(most, MOST_SIZES)).round().astype(np.int64)
    return [int(size) for size in np.unique(places)]


def lost_by_removal(
    rows: RowAnswers, row: pl.DataFrame, background: pl.DataFrame, answer: Answer, values: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return how far the answer moves at each place of each method's curve, [sizes].

    Args:
        row: as it was read, [1, columns].
        values: method -> a number a column; the largest are taken away first, equal ones in the columns' order.
    """
    players = len(rows.columns)
    sizes = removal_sizes(players)
    kept = []
    for own in values.values():
        place = np.argsort(np.argsort(-np.abs(own), kind="stable"))
        kept += [place >= size for size in sizes]
    coalitions = np.array([np.ones(players, dtype=bool), *kept])
    apart = _distances(row, background.select(rows.columns))
    nearest = np.argsort(coalitions[1:] @ apart, axis=1, kind="stable")[:, :NEIGHBOURS]
    found = rows.mixed(row, background, answer)(coalitions)
    filled = np.take_along_axis(found[1:], nearest, axis=1).mean(axis=1)
    lost = np.abs(filled - found[0, 0]).reshape(len(values), len(sizes))
    return dict(zip(values, lost, strict=True))


def _distances(row: pl.DataFrame, background: pl.DataFrame) -> np.ndarray:
    """Return how far background rows are, [columns, background], in deviations; another word is 1."""
    found = []
    for name in background.columns:
        own, others = row[name][0], background[name]
        if others.dtype.is_numeric() and own is not None and np.isfinite(own):
            numbers = others.cast(pl.Float64).fill_null(float("nan")).to_numpy()
            known = numbers[np.isfinite(numbers)]
            spread = float(known.std()) if len(known) else 0.0
            found.append(np.minimum(np.nan_to_num(np.abs(numbers - own) / (spread or 1.0), nan=1.0, posinf=1.0), 3.0))
        else:
            found.append(others.cast(pl.String).ne_missing(pl.Series([None if own is None else str(own)])).to_numpy())
    return np.array(found, dtype=np.float64)


def sum_up(lost: Sequence[Mapping[str, np.ndarray]], sizes: Sequence[float], dummies: tuple[str, ...]) -> Removal:
    """Sum up the curves of rows, and rank what intervals tell apart.

    Args:
        lost: as `lost_by_removal` gives it, an entry a row.
        sizes: how much each place takes away: columns, or shares of the segments or words.
        dummies: methods that know nothing of the model.
    """
    areas = {name: np.array([one[name].mean() for one in lost]) for name in lost[0]}
    order = sorted(areas, key=lambda name: -float(areas[name].mean()))
    ranks: list[tuple[str, ...]] = []
    for name in order:
        first = ranks[-1][0] if ranks else None
        if first is not None and not (mean_interval(areas[first] - areas[name]).low or 0.0) > 0:
            ranks[-1] = (*ranks[-1], name)
        else:
            ranks.append((name,))
    methods = [name for name in areas if name not in dummies]
    told = {
        name: all((mean_interval(areas[name] - areas[each]).low or 0.0) > 0 for each in dummies) for name in methods
    }
    return Removal(
        sizes=tuple(sizes),
        curves={name: tuple(np.mean([one[name] for one in lost], axis=0).tolist()) for name in areas},
        areas={name: mean_interval(each) for name, each in areas.items()},
        ranks=tuple(ranks),
        beats_dummies=told,
    )
