"""The methods that explain a table's model as a whole, as `explain` lists them."""

from collections.abc import Callable, Iterator
from typing import ClassVar

import polars as pl

from danlu.explanation.answers import Answer
from danlu.explanation.curves import Curve, choose_rows
from danlu.explanation.interactions import ROWS, pair_interactions
from danlu.explanation.intervals import Interval
from danlu.explanation.overall import ColumnCurve, Curves, Point
from danlu.explanation.permutation import measure_columns, permutation_measure
from danlu.explanation.request import LEAST_FIDELITY, ExplainRequest, Found, Warnings, gather, name_first
from danlu.explanation.results import cell_of
from danlu.explanation.row_answers import RowAnswers
from danlu.explanation.surrogate import FEWEST_ROWS, MOST_ROWS, fit_surrogate


class Permutation:
    """Measure permutation importance of the model's columns."""

    is_usual: ClassVar[bool] = True

    def refusal(self, request: ExplainRequest) -> str | None:
        if request.labelled is None:
            return "needs rows with the target"
        return None if request.labelled.height > 1 else "needs at least 2 rows with the target"

    def explain(self, request: ExplainRequest) -> Found:
        assert request.labelled is not None
        measure = permutation_measure(request.answers, request.labelled, request.seed, label=request.label)
        warnings: Warnings = []
        found = measure_columns(request.answers, measure, request.seed)
        done = gather(found, len(request.answers.columns), "columns", warnings)
        apart = [each.name for each in done if each.differs]
        if apart:
            named = name_first(apart)
            warnings.append(
                (
                    "correlated-columns",
                    f"plain and conditional importance differ for {named}: these columns go with others, and plain "
                    "shuffling asks for rows that do not occur",
                )
            )
        return Found(overall=(measure.result(done),), warnings=tuple(warnings))


class CurvesOf:
    """Compute curves over all columns."""

    is_usual: ClassVar[bool] = False

    def __init__(self, name: str, curves: Callable[[RowAnswers, pl.DataFrame, Answer], Iterator[Curve]]) -> None:
        self.name, self.curves = name, curves

    def refusal(self, request: ExplainRequest) -> str | None:
        return None

    def explain(self, request: ExplainRequest) -> Found:
        answer, answers = request.answer, request.answers
        frame = choose_rows(request.frame, answers.columns, request.seed)
        warnings: Warnings = []
        curves = map(_column_curve, self.curves(answers, frame, answer))
        done = gather(curves, len(answers.columns), "columns", warnings)
        scale = "probability" if answer.is_probability else "number"
        found = Curves(self.name, answer.name, scale, frame.height, tuple(done))
        return Found(overall=(found,), warnings=tuple(warnings))


def _column_curve(curve: Curve) -> ColumnCurve:
    ends = zip(curve.places.to_list(), curve.values.tolist(), curve.half_widths.tolist(), strict=True)
    points = [Point(cell_of(place), Interval(value, value - half, value + half)) for place, value, half in ends]
    return ColumnCurve(curve.name, tuple(points), curve.single)


class InteractionPairs:
    """Measure the H statistic of pairs of columns."""

    is_usual: ClassVar[bool] = False

    def refusal(self, request: ExplainRequest) -> str | None:
        return None if len(request.answers.columns) > 1 else "needs at least 2 columns"

    def explain(self, request: ExplainRequest) -> Found:
        answer, answers = request.answer, request.answers
        frame = choose_rows(request.frame, answers.columns, request.seed, ROWS)
        return Found(overall=(pair_interactions(answers, frame, answer, request.seed),))


class SurrogateTree:
    """Fit a small tree in place of the model."""

    is_usual: ClassVar[bool] = False

    def refusal(self, request: ExplainRequest) -> str | None:
        return None if request.frame.height >= FEWEST_ROWS else f"needs at least {FEWEST_ROWS} rows"

    def explain(self, request: ExplainRequest) -> Found:
        answer, answers = request.answer, request.answers
        frame = choose_rows(request.frame, answers.columns, request.seed, MOST_ROWS)
        numbers = answer.of(answers.target, answers.outputs(frame))
        found = fit_surrogate(frame, numbers, answer.name, request.seed)
        warnings: Warnings = []
        if found.fidelity.value < LEAST_FIDELITY:
            share = f"{max(found.fidelity.value, 0.0):.0%}"
            warnings.append(("low-fidelity", f"the surrogate tree gives only {share} of the answers' variance"))
        return Found(overall=(found,), warnings=tuple(warnings))
