"""How a model's answer follows one column: partial dependence with its single rows (ICE), and accumulated effects.

Partial dependence (Friedman 2001, https://doi.org/10.1214/aos/1013203451) sets the column in every row, also where
such rows do not occur; accumulated local effects (Apley and Zhu 2020, https://arxiv.org/abs/1612.08468) only move rows
to the ends of their own bin. The places of both are cells that occur, so whole numbers stay whole and dates dates.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from danlu.core.seeds import Seed
from danlu.explanation.answers import Answer
from danlu.explanation.edits import EditableRows
from danlu.explanation.row_answers import RowAnswers

PLACES = 20  # of a curve, at quantiles of the cells
CATEGORIES = 20  # the most frequent ones
MOST_ROWS = 500
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Curve:
    """Hold a curve over one column.

    Attributes:
        name: the column.
        places: its cells, ascending, or categories; [places].
        values, half_widths: of the curve, with 95 % intervals over rows, [places].
        single: the answer to each row there, [rows, places]; None of accumulated effects.
        rows: that it was computed from.
    """

    name: str
    places: pl.Series
    values: np.ndarray
    half_widths: np.ndarray
    single: np.ndarray | None
    rows: int


def choose_rows(frame: pl.DataFrame, columns: tuple[str, ...], seed: Seed, most: int = MOST_ROWS) -> pl.DataFrame:
    """Choose some rows, whatever order they stand in."""
    ordered = frame.select(columns).sort(list(columns), nulls_last=True)
    if ordered.height <= most:
        return ordered
    return ordered.sample(most, seed=seed.derive("rows").value % 2**63)


def partial_dependence(rows: RowAnswers, frame: pl.DataFrame, answer: Answer) -> Iterator[Curve]:
    """Compute the mean answer with a column set to each place, but for empty ones."""
    every = {name: _places(frame[name]) for name in rows.columns}
    edits, count = EditableRows(rows, frame, every), frame.height
    for name, places in every.items():
        if len(places) == 0:
            continue
        edited = np.tile(np.arange(count), len(places))
        outputs = edits.outputs(edited, name, np.repeat(np.arange(len(places)), count))
        single = answer.of(rows.target, outputs).reshape(len(places), count).T
        yield Curve(name, places, single.mean(axis=0), _half_widths(single), single, count)


def accumulated_effects(rows: RowAnswers, frame: pl.DataFrame, answer: Answer) -> Iterator[Curve]:
    """Compute what moves within bins add up to, but for columns of one value."""
    every = {
        name: _places(frame[name]) if _is_ordered(frame[name]) else _similar(frame, name, rows.columns)
        for name in rows.columns
    }
    edits = EditableRows(rows, frame, every)
    for name, places in every.items():
        if len(places) < 2:
            continue
        known, lower = _moves(frame[name], places)
        outputs = edits.outputs(np.tile(known, 2), name, np.concatenate([lower, lower + 1]))
        low, high = answer.of(rows.target, outputs).reshape(2, len(known))
        yield _accumulate(name, places, lower, high - low)


def _is_ordered(cells: pl.Series) -> bool:
    return cells.dtype.is_numeric() or cells.dtype.is_temporal()


def _places(cells: pl.Series) -> pl.Series:
    """Return cells at evenly spread ranks, or the most frequent categories."""
    known = cells.drop_nulls()
    if not _is_ordered(cells):
        return _frequent(known)
    if known.dtype.is_float():
        known = known.filter(known.is_finite())
    ordered = known.sort()
    if len(ordered) == 0:
        return ordered
    return ordered[np.linspace(0, len(ordered) - 1, PLACES).round().astype(np.int64)].unique().sort()


def _frequent(known: pl.Series) -> pl.Series:
    counted = known.value_counts().sort(["count", known.name], descending=[True, False])
    return counted[known.name].head(CATEGORIES).sort()


def _similar(frame: pl.DataFrame, name: str, columns: tuple[str, ...]) -> pl.Series:
    """Order categories by the first direction of their mean ranks in other columns."""
    places = _frequent(frame[name].drop_nulls())
    others = [each for each in columns if each != name and _is_ordered(frame[each])]
    if len(places) < 3 or not others:
        return places
    ranks = frame.select(name, *(pl.col(each).rank().fill_null(0.0) / frame.height for each in others))
    means = ranks.group_by(name).mean().join(places.alias(name).to_frame(), on=name, how="right").select(others)
    table = means.to_numpy() - means.to_numpy().mean(axis=0)
    direction = np.linalg.svd(table, full_matrices=False)[2][0]
    along = table @ (direction * np.sign(direction[np.abs(direction).argmax()]))
    return places[np.lexsort((np.arange(len(along)), along))]


def _moves(cells: pl.Series, places: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and the lower end of the bin of each, [moves] both.

    A number has one bin. A category has two: to the one before and to the one after.
    """
    if _is_ordered(cells):
        kept = np.flatnonzero(
            (cells.is_not_null() & (cells.is_finite() if cells.dtype.is_float() else True)).to_numpy()
        )
        at = places.search_sorted(cells[kept], side="left").to_numpy().astype(np.int64)
        return kept, np.clip(at - 1, 0, len(places) - 2)
    numbers = {place: at for at, place in enumerate(places.to_list())}
    own = np.array([numbers.get(cell, -1) for cell in cells.to_list()], dtype=np.int64)
    below, above = np.flatnonzero(own > 0), np.flatnonzero((own >= 0) & (own < len(places) - 1))
    return np.concatenate([below, above]), np.concatenate([own[below] - 1, own[above]])


def _accumulate(name: str, places: pl.Series, lower: np.ndarray, moved: np.ndarray) -> Curve:
    """Sum the mean moves of the bins, centred over the rows, with intervals."""
    from scipy.stats import t

    bins = len(places) - 1
    counts = np.bincount(lower, minlength=bins)
    shown = np.maximum(counts, 1)
    means = np.bincount(lower, moved, bins) / shown
    squares = np.bincount(lower, (moved - means[lower]) ** 2, bins)
    pooled = squares.sum() / max(len(moved) - bins, 1)
    variances = np.where(counts > 1, squares / np.maximum(counts - 1, 1), pooled) / shown
    sums = np.tril(np.ones((bins + 1, bins)), -1)  # place k is the sum of the bins before it
    weights = (np.append(counts, 0.0) + np.append(0.0, counts)) / (2 * max(counts.sum(), 1))
    sums = sums - weights @ sums
    reach = t.ppf((1 + CONFIDENCE) / 2, max(len(moved) - bins, 1))
    return Curve(name, places, sums @ means, reach * np.sqrt(sums**2 @ variances), None, len(moved))


def _half_widths(single: np.ndarray) -> np.ndarray:
    """Return Student's half widths of means over rows, [places]."""
    from scipy.stats import t

    count = len(single)
    if count < 2:
        return np.full(single.shape[1], np.inf)
    return np.asarray(t.ppf((1 + CONFIDENCE) / 2, count - 1) * single.std(axis=0, ddof=1) / np.sqrt(count))
