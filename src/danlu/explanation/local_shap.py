"""SHAP values of single rows: by structure where that is exact, else as values of a game.

In: a tabular predictor, rows and background rows as they were read. Out: one `LocalExplanation` per row. All rows are
asked for the same coalitions, so a row's values do not depend on which others are explained.
"""

from collections.abc import Callable, Iterator

import numpy as np
import polars as pl

from danlu.core.seeds import Seed
from danlu.errors import ArgumentError, ArtifactError
from danlu.explanation.answers import Answer, choose_answers
from danlu.explanation.estimates import Estimate
from danlu.explanation.games import Game, interventional_value
from danlu.explanation.intervals import Interval
from danlu.explanation.results import ColumnValue, LocalExplanation, cell_of
from danlu.explanation.row_answers import RowAnswers
from danlu.explanation.shapley import shapley_values
from danlu.explanation.structure import estimator_by_structure, path_values, sum_values, tree_values
from danlu.explanation.tabular import TabularAnswers

# In double precision values add up to rounding; single-precision answers, to their own.
COMPLETE = 1e-4
BY_STRUCTURE: dict[str, Callable[[TabularAnswers, pl.DataFrame, pl.DataFrame, Answer], Estimate]] = {
    "linear": sum_values,
    "additive": sum_values,
    "trees": tree_values,
}


def explain_rows(
    rows: RowAnswers,
    frame: pl.DataFrame,
    numbers: list[int],
    background: pl.DataFrame | None,
    seed: Seed,
    *,
    label: str | None = None,
    error: float | None = None,
    budget: int | None = None,
) -> Iterator[LocalExplanation]:
    """Explain rows one after the other.

    Args:
        frame: the rows, as they were read.
        numbers: their numbers in the source.
        background: rows for what is absent; None where the bundle keeps none.
        error: the half width that is enough, as a share of the answers' standard deviation over the background for
            numbers, in units of probability else.

    Raises:
        ArgumentError: there is no background and the model needs one, or a label or the budget is wrong.
        ArtifactError: values do not add up to the answer.
    """
    answers = choose_answers(rows.target, rows.outputs(frame), label)
    for place, (number, answer) in enumerate(zip(numbers, answers, strict=True)):
        row = frame[place : place + 1]
        wanted = _in_units(rows, background, answer, error)
        estimate, scale = _estimate(rows, row, background, answer, seed, wanted, budget)
        yield _described(rows, row, number, answer, scale, estimate, wanted)


def _estimate(
    rows: RowAnswers,
    row: pl.DataFrame,
    background: pl.DataFrame | None,
    answer: Answer,
    seed: Seed,
    error: float | None,
    budget: int | None,
) -> tuple[Estimate, str]:
    structure = estimator_by_structure(rows, answer)
    score = "score" if answer.is_probability else "number"
    if background is None:
        if structure != "trees" or not isinstance(rows, TabularAnswers) or rows.predictor.options.name != "boosting":
            raise ArgumentError(
                "the bundle keeps no rows of its training split, which stand for absent columns; set bundle.reference: "
                "rows and train again",
                code="DL409",
            )
        return path_values(rows, row, answer), score
    if structure is not None and isinstance(rows, TabularAnswers):
        return BY_STRUCTURE[structure](rows, row, background, answer), score
    value = interventional_value(rows.mixed(row, background, answer), background.height, len(rows.columns))
    game = Game(len(rows.columns), value)
    found = shapley_values(game, seed, error=error, budget=budget, answers=background.height)
    return found, "probability" if answer.is_probability else "number"


def _in_units(rows: RowAnswers, background: pl.DataFrame | None, answer: Answer, error: float | None) -> float | None:
    """Return an error in the answer's unit; numbers are scaled by their deviation."""
    if error is None or background is None or answer.is_probability:
        return error
    return error * float(answer.of(rows.target, rows.outputs(background)).std())


def _described(
    rows: RowAnswers,
    row: pl.DataFrame,
    number: int,
    answer: Answer,
    scale: str,
    estimate: Estimate,
    wanted: float | None,
) -> LocalExplanation:
    range_ = max(abs(estimate.full), abs(estimate.empty), float(np.abs(estimate.values).max()), 1e-12)
    if not estimate.completeness_error <= COMPLETE * range_:
        raise ArtifactError(
            f"row {number}: values add up to {estimate.empty + estimate.values.sum():.6g}, but the answer is "
            f"{estimate.full:.6g}; such values are not shown as SHAP",
            code="DL310",
        )
    values = []
    for name, value, half in zip(rows.columns, estimate.values, estimate.half_widths, strict=True):
        share = Interval(float(value), float(value - half), float(value + half))
        values.append(ColumnValue(name, cell_of(row[name][0]), share))
    return LocalExplanation(
        row=number,
        label=answer.name,
        scale=scale,
        estimator=estimate.estimator,
        exact=estimate.exact,
        base=estimate.empty,
        answer=estimate.full,
        completeness_error=estimate.completeness_error,
        calls=estimate.calls,
        reached_error=float(estimate.half_widths.max()),
        values=tuple(values),
        wanted_error=None if estimate.exact else wanted,
    )
