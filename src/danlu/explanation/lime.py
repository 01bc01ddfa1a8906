"""LIME for tables: a weighted linear model of the answers around a row (Ribeiro et al. 2016).

https://arxiv.org/abs/1602.04938. Numbers move by a normal deviation of the background rows' size, other cells are drawn
from the background; nearer rows weigh more. No column is left out by a penalty, so small effects stay. A value is the
slope for one standard deviation of a number, or what keeping a cell adds. Draws depend on the seed alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from danlu.core.seeds import Seed
from danlu.explanation.answers import choose_answers
from danlu.explanation.intervals import Interval
from danlu.explanation.results import ColumnValue, LocalExplanation, cell_of
from danlu.explanation.row_answers import RowAnswers

FEWEST_CALLS, CALLS_PER_COLUMN = 1000, 20
KERNEL_WIDTH = 0.75  # times the root of the number of columns, as in the paper's code
RIDGE = 1e-8
CONFIDENCE = 0.95


@dataclass(frozen=True)
class LinearFit:
    """Hold a weighted linear fit.

    Attributes:
        slopes, half_widths: with 95 % intervals that allow errors of any spread, [columns].
        intercept: the fitted answer at the row.
        fidelity: weighted R2.
    """

    slopes: np.ndarray
    half_widths: np.ndarray
    intercept: float
    fidelity: float


def lime_rows(
    rows: RowAnswers,
    frame: pl.DataFrame,
    numbers: list[int],
    background: pl.DataFrame,
    seed: Seed,
    *,
    label: str | None = None,
    budget: int | None = None,
) -> Iterator[LocalExplanation]:
    """Explain rows one after the other; arguments are those of `local_shap.explain_rows`."""
    calls = budget or max(FEWEST_CALLS, CALLS_PER_COLUMN * len(rows.columns))
    answers = choose_answers(rows.target, rows.outputs(frame), label)
    for place, (number, answer) in enumerate(zip(numbers, answers, strict=True)):
        row = frame[place : place + 1].select(rows.columns)
        near, moves = draw_near(row, background, calls, seed)
        said = answer.of(rows.target, rows.outputs(near))
        own = float(answer.of(rows.target, rows.outputs(row))[0])
        fit = fit_linear(moves, said, kernel(moves))
        values = tuple(
            ColumnValue(name, cell_of(row[name][0]), Interval(value, value - half, value + half))
            for name, value, half in zip(rows.columns, fit.slopes.tolist(), fit.half_widths.tolist(), strict=True)
        )
        yield LocalExplanation(
            row=number,
            label=answer.name,
            scale="probability" if answer.is_probability else "number",
            estimator="ridge",
            exact=False,
            base=fit.intercept,
            answer=own,
            completeness_error=None,
            calls=calls,
            reached_error=float(fit.half_widths.max()),
            values=values,
            method="lime",
            fidelity=fit.fidelity,
        )


def draw_near(row: pl.DataFrame, background: pl.DataFrame, calls: int, seed: Seed) -> tuple[pl.DataFrame, np.ndarray]:
    """Draw rows around one.

    Returns:
        the rows; and how far each cell moved, [calls, columns]: standard deviations, or -1 for another cell.
    """
    cells, moves = [], []
    for name in row.columns:
        rng = np.random.default_rng(seed.derive("lime", name).value)
        drawn, moved = _draw_cells(row[name], background[name], calls, rng)
        cells.append(drawn)
        moves.append(moved)
    return pl.DataFrame(cells), np.stack(moves, axis=1)


def _draw_cells(
    own: pl.Series, background: pl.Series, calls: int, rng: np.random.Generator
) -> tuple[pl.Series, np.ndarray]:
    cell, known = own[0], background.drop_nulls()
    if own.dtype.is_numeric() and cell is not None and np.isfinite(cell) and len(known) > 1:
        spread = float(known.cast(pl.Float64).std() or 0.0)  # type: ignore[arg-type]
        if np.isfinite(spread) and spread > 0:
            lowest, highest = float(known.min()), float(known.max())  # type: ignore[arg-type]
            drawn = cell + spread * rng.standard_normal(calls)
            drawn = np.clip(drawn, min(lowest, cell), max(highest, cell))
            drawn = np.round(drawn) if own.dtype.is_integer() else drawn
            return pl.Series(own.name, drawn).cast(own.dtype), (drawn - cell) / spread
    taken = background.cast(own.dtype, strict=False)[rng.integers(0, len(background), calls)]
    return taken.alias(own.name), -taken.ne_missing(pl.Series([cell], dtype=own.dtype)).to_numpy().astype(np.float64)


def kernel(moves: np.ndarray) -> np.ndarray:
    """Return the weights of rows by how far they are, [calls]."""
    width = KERNEL_WIDTH * np.sqrt(moves.shape[1])
    return np.asarray(np.exp(-(moves**2).sum(axis=1) / (2 * width**2)))


def fit_linear(moves: np.ndarray, answers: np.ndarray, weights: np.ndarray) -> LinearFit:
    """Fit answers, [calls], by moves, [calls, columns]; unmoved columns get 0."""
    from scipy.stats import norm

    table = np.concatenate([np.ones((len(moves), 1)), moves], axis=1)
    weighted = table * weights[:, None]
    inverse = np.linalg.pinv(weighted.T @ table + RIDGE * np.eye(table.shape[1]) * (np.arange(table.shape[1]) > 0))
    found = inverse @ (weighted.T @ answers)
    errors = answers - table @ found
    scores = weighted * errors[:, None]
    covariance = inverse @ (scores.T @ scores) @ inverse * len(moves) / max(len(moves) - table.shape[1], 1)
    reach = float(norm.ppf((1 + CONFIDENCE) / 2))
    mean = float(np.average(answers, weights=weights))
    spread = float(weights @ (answers - mean) ** 2)
    fidelity = 1 - float(weights @ errors**2) / spread if spread > 0 else 1.0
    half_widths = reach * np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return LinearFit(found[1:], half_widths[1:], float(found[0]), fidelity)
