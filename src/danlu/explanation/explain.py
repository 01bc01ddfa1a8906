"""Explain a bundle: the methods that are asked for, put together into one result.

In: a predictor, the bundle, rows as they were read. Out: an `Explanation`. `METHODS` lists what can be asked for; a
further method is a class in a file of its own and a line there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import polars as pl

from danlu.artifacts.bundle import Bundle
from danlu.core.console import info, progress
from danlu.core.seeds import Seed
from danlu.core.text import suggestion
from danlu.data.tabular.preprocessor import TabularPreprocessor
from danlu.errors import ArgumentError
from danlu.explanation.answers import Answer, choose_answers
from danlu.explanation.asked import Wanted, check_figures, checked_rows
from danlu.explanation.counterfactuals import Search
from danlu.explanation.curves import Curve, accumulated_effects, choose_rows, partial_dependence
from danlu.explanation.influence import Influence, TrainingRecord, training_influences
from danlu.explanation.interactions import ROWS, pair_interactions
from danlu.explanation.lime import lime_rows
from danlu.explanation.local_shap import explain_rows
from danlu.explanation.networks.explain import explain_network
from danlu.explanation.networks.methods import NETWORK_METHODS
from danlu.explanation.permutation import measure_columns, permutation_measure
from danlu.explanation.results import (
    ColumnCurve,
    ColumnImportance,
    Counterfactual,
    Curves,
    Explanation,
    Interval,
    LocalExplanation,
    Overall,
    Point,
    Trust,
    cell_of,
)
from danlu.explanation.row_answers import RowAnswers
from danlu.explanation.surrogate import FEWEST_ROWS, MOST_ROWS, fit_surrogate
from danlu.explanation.tabular import TabularAnswers
from danlu.explanation.trust import Asked, measure_trust
from danlu.tasks.classification import ClassTarget

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor

FIRST_ROWS = 100  # that tell a constant model
FEW_BACKGROUND = 20
LEAST_FIDELITY = 0.7  # of a surrogate, below which its rules are not the model's
LISTED = 5  # columns that a warning names

NO_TRAINING = "needs a run, whose kept checkpoints it reads"

Warnings = list[tuple[str, str]]


@dataclass(frozen=True)
class ExplainRequest:
    """Hold what is to be explained.

    Attributes:
        frame: all rows of the source, as they were read.
        labelled: rows with the target as the model learned it; None where there are none.
        rows: numbers of the rows to explain, ascending.
        background: rows that stand for absent columns; None where the bundle keeps none.
        label: the label or output; None for what is predicted.
        error: the half width that is enough; None for a fixed number of calls.
        budget: most coalitions per row; None for the usual number.
        actionable: columns that a counterfactual may change; None for all.
        training: what the run kept of its training, or why it is not to be had.
    """

    answers: RowAnswers
    frame: pl.DataFrame
    labelled: pl.DataFrame | None
    rows: tuple[int, ...]
    background: pl.DataFrame | None
    seed: Seed
    label: str | None = None
    error: float | None = None
    budget: int | None = None
    actionable: tuple[str, ...] | None = None
    training: TrainingRecord | str = NO_TRAINING

    @cached_property
    def answer(self) -> Answer:
        """The number of an answer that explanations of the whole model are of.

        The label that is asked for, else the positive class, else what is predicted most often.
        """
        answers = self.answers
        outputs = answers.outputs(choose_rows(self.frame, answers.columns, self.seed))
        positive = answers.positive
        label = self.label if self.label is not None or positive is None else str(positive)
        found = choose_answers(answers.target, outputs, label)
        return max(sorted(set(found), key=lambda each: each.position), key=found.count)


@dataclass(frozen=True)
class Found:
    """Hold what one method found."""

    local: tuple[LocalExplanation, ...] = ()
    overall: tuple[Overall, ...] = ()
    counterfactuals: tuple[Counterfactual, ...] = ()
    trust: tuple[Trust, ...] = ()
    influence: tuple[Influence, ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()


class Method(Protocol):
    """Explain in one way.

    Attributes:
        is_usual: whether it is done unless others are asked for.
    """

    is_usual: ClassVar[bool]

    def refusal(self, request: ExplainRequest) -> str | None:
        """Say why this method cannot be had here; None where it can."""

    def explain(self, request: ExplainRequest) -> Found:
        """Explain what is asked for; a stop keeps what is done."""


class Shap:
    """Compute SHAP values of single rows."""

    is_usual: ClassVar[bool] = True

    def refusal(self, request: ExplainRequest) -> str | None:
        return None

    def explain(self, request: ExplainRequest) -> Found:
        done: list[LocalExplanation] = []
        warnings: Warnings = []
        chosen = request.frame[list(request.rows)]
        found = explain_rows(
            request.answers,
            chosen,
            list(request.rows),
            request.background,
            request.seed,
            label=request.label,
            error=request.error,
            budget=request.budget,
        )
        try:
            with progress("explaining", len(request.rows), "rows") as bar:
                for one in found:
                    done.append(one)
                    bar.advance(1)
        except KeyboardInterrupt:
            warnings.append(("stopped", f"stopped after {len(done)} of {len(request.rows)} rows"))
        if any(one.wanted_error is not None and one.reached_error > one.wanted_error for one in done):
            warnings.append(("error-not-reached", "some intervals are wider than asked for; raise the budget"))
        if request.background is None:
            warnings.append(
                ("no-background", "no rows to stand for absent columns: they follow the trees' training rows instead")
            )
        elif request.background.height < FEW_BACKGROUND:
            height = request.background.height
            warnings.append(("few-background", f"only {height} rows stand for absent columns; values depend on them"))
        return Found(local=tuple(done), warnings=tuple(warnings))


class Lime:
    """Fit local linear models of single rows."""

    is_usual: ClassVar[bool] = False

    def refusal(self, request: ExplainRequest) -> str | None:
        return None if request.background is not None else "needs the training rows that a bundle keeps"

    def explain(self, request: ExplainRequest) -> Found:
        assert request.background is not None
        done: list[LocalExplanation] = []
        warnings: Warnings = []
        chosen, numbers = request.frame[list(request.rows)], list(request.rows)
        background = request.background
        found = lime_rows(
            request.answers, chosen, numbers, background, request.seed, label=request.label, budget=request.budget
        )
        try:
            with progress("explaining", len(numbers), "rows") as bar:
                for one in found:
                    done.append(one)
                    bar.advance(1)
        except KeyboardInterrupt:
            warnings.append(("stopped", f"stopped after {len(done)} of {len(numbers)} rows"))
        bad = [str(one.row) for one in done if one.fidelity is not None and one.fidelity < LEAST_FIDELITY]
        if bad:
            named = ", ".join(bad[:LISTED]) + (" …" if len(bad) > LISTED else "")
            warnings.append(("low-fidelity", f"around row {named} no linear model gives the answers well"))
        return Found(local=tuple(done), warnings=tuple(warnings))


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
        done: list[ColumnImportance] = []
        warnings: Warnings = []
        try:
            with progress("explaining", len(request.answers.columns), "columns") as bar:
                for one in measure_columns(request.answers, measure, request.seed):
                    done.append(one)
                    bar.advance(1)
        except KeyboardInterrupt:
            warnings.append(("stopped", f"stopped after {len(done)} of {len(request.answers.columns)} columns"))
        apart = [each.name for each in done if each.differs]
        if apart:
            named = ", ".join(apart[:LISTED]) + (" …" if len(apart) > LISTED else "")
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
        done: list[ColumnCurve] = []
        warnings: Warnings = []
        try:
            with progress("explaining", len(answers.columns), "columns") as bar:
                for curve in self.curves(answers, frame, answer):
                    done.append(_column_curve(curve))
                    bar.advance(1)
        except KeyboardInterrupt:
            warnings.append(("stopped", f"stopped after {len(done)} of {len(answers.columns)} columns"))
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


class Counterfactuals:
    """Find the nearest changes of single rows that flip what is predicted."""

    is_usual: ClassVar[bool] = False

    def refusal(self, request: ExplainRequest) -> str | None:
        if not isinstance(request.answers.target, ClassTarget):
            return "needs a model that predicts one label a row"
        if request.background is None or _reference_of(request.answers) is None:
            return "needs the training rows that a bundle keeps (bundle.reference: rows)"
        return None

    def explain(self, request: ExplainRequest) -> Found:
        answers = request.answers
        kept = _reference_of(answers)
        assert kept is not None and request.background is not None
        ranges = {name: tuple(told["quantiles"]) for name, told in kept["columns"].items() if told.get("quantiles")}
        numbers = {name for name in answers.columns if request.frame[name].dtype.is_numeric()}
        if request.label is not None:
            choose_answers(answers.target, answers.outputs(request.frame[:1]), request.label)
        search = Search(
            answers,
            request.background.select(answers.columns),
            {name: places for name, places in ranges.items() if name in numbers},
            request.actionable or answers.columns,
            request.label,
        )
        found: dict[int, Counterfactual | None] = {}
        warnings: Warnings = []
        try:
            with progress("explaining", len(request.rows), "rows") as bar:
                for row in request.rows:
                    found[row] = search.find(request.frame[row : row + 1], row)
                    bar.advance(1)
        except KeyboardInterrupt:
            warnings.append(("stopped", f"stopped after {len(found)} of {len(request.rows)} rows"))
        without = [str(row) for row, one in found.items() if one is None]
        if without:
            named = ", ".join(without[:LISTED]) + (" …" if len(without) > LISTED else "")
            warnings.append(("no-counterfactual", f"no change within the training rows' ranges flips row {named}"))
        return Found(counterfactuals=tuple(one for one in found.values() if one), warnings=tuple(warnings))


def _reference_of(answers: RowAnswers) -> dict[str, Any] | None:
    """Return how the training rows were distributed, where a bundle keeps it."""
    return answers.predictor.bundle.reference() if isinstance(answers, TabularAnswers) else None


class TrustInShap:
    """Measure how far SHAP values of these rows can be trusted."""

    is_usual: ClassVar[bool] = False

    def refusal(self, request: ExplainRequest) -> str | None:
        return None if request.background is not None else "needs the training rows that a bundle keeps"

    def explain(self, request: ExplainRequest) -> Found:
        assert request.background is not None
        asked = Asked(request.background, request.seed, request.error, request.budget)
        found = measure_trust(request.answers, request.frame[list(request.rows)], asked, request.label)
        warnings: Warnings = []
        if not found.beats_dummies:
            warnings.append(
                ("not-told-apart", f"on these {found.rows} rows SHAP values are not told apart from dummy values")
            )
        return Found(trust=(found,), warnings=tuple(warnings))


class TracIn:
    """Name the training rows that taught single answers."""

    is_usual: ClassVar[bool] = False

    def refusal(self, request: ExplainRequest) -> str | None:
        return request.training if isinstance(request.training, str) else None

    def explain(self, request: ExplainRequest) -> Found:
        assert not isinstance(request.training, str)
        done: list[Influence] = []
        warnings: Warnings = []
        try:
            with progress("explaining", len(request.rows), "rows") as bar:
                for one in training_influences(request.training, list(request.rows)):
                    done.append(one)
                    bar.advance(1)
        except KeyboardInterrupt:
            warnings.append(("stopped", f"stopped after {len(done)} of {len(request.rows)} rows"))
        return Found(influence=tuple(done), warnings=tuple(warnings))


METHODS: dict[str, Method] = {
    "shap": Shap(),
    "permutation": Permutation(),
    "lime": Lime(),
    "partial-dependence": CurvesOf("partial-dependence", partial_dependence),
    "accumulated-effects": CurvesOf("accumulated-effects", accumulated_effects),
    "interactions": InteractionPairs(),
    "surrogate": SurrogateTree(),
    "counterfactual": Counterfactuals(),
    "trust": TrustInShap(),
    "tracin": TracIn(),
}


def usual_methods() -> tuple[str, ...]:
    """Return what models of tables are explained by unless others are asked for."""
    return tuple(name for name, method in METHODS.items() if method.is_usual)


def explain_bundle(
    predictor: "Predictor",
    bundle: Bundle,
    background: pl.DataFrame | None,
    frame: pl.DataFrame,
    source: dict[str, Any],
    wanted: Wanted,
    *,
    labelled: pl.DataFrame | None,
    training: TrainingRecord | str = NO_TRAINING,
    folder: Path | None = None,
) -> Explanation:
    """Explain answers of a bundle, and its model.

    Args:
        background: the bundle's reference rows, as they were read.
        frame: the source's rows, as they were read.
        source: what is said of it: `split` or `origin`, and `rows`.
        wanted: methods are of `METHODS`.
        labelled: rows with the target as the model learned it; None where there are none.
        training: what the run kept of its training, or why it is not to be had.
        folder: where relative paths of images start.

    Raises:
        ArgumentError: a method is unknown or not to be had, a row is not there, or a label or figure is wrong.
        ArtifactError: values do not add up to the answer.
    """
    if not isinstance(predictor.preprocessor, TabularPreprocessor):
        return explain_network(predictor, frame, source, wanted, folder)
    head = Explanation(bundle.manifest.digest, bundle.manifest.task, predictor.engine.name, source)
    return explain_answers(
        TabularAnswers(predictor), head, background, frame, wanted, labelled=labelled, training=training
    )


def explain_answers(
    answers: RowAnswers,
    head: Explanation,
    background: pl.DataFrame | None,
    frame: pl.DataFrame,
    wanted: Wanted,
    *,
    labelled: pl.DataFrame | None,
    training: TrainingRecord | str = NO_TRAINING,
) -> Explanation:
    """Explain whatever answers rows; arguments are those of `explain_bundle`.

    Args:
        head: what is explained, with nothing explained yet.
    """
    check_figures(wanted)
    request = ExplainRequest(
        answers,
        frame,
        labelled,
        checked_rows(wanted.rows, frame.height),
        background,
        Seed(wanted.seed),
        wanted.label,
        wanted.error,
        wanted.budget,
        _checked_columns(wanted.actionable, answers.columns),
        training,
    )
    explanation, warnings = head, [*head.warnings, *_warnings_of(request)]
    for name in _checked_methods(wanted.methods, request):
        found = METHODS[name].explain(request)
        warnings += found.warnings
        explanation = replace(
            explanation,
            local=explanation.local + found.local,
            overall=explanation.overall + found.overall,
            counterfactuals=explanation.counterfactuals + found.counterfactuals,
            trust=explanation.trust + found.trust,
            influence=explanation.influence + found.influence,
        )
        if any(code == "stopped" for code, _ in found.warnings):
            break
    for _, message in warnings:
        info(message)
    return replace(explanation, warnings=tuple(warnings))


def _checked_methods(methods: Sequence[str] | None, request: ExplainRequest) -> list[str]:
    possible = [name for name, method in METHODS.items() if method.refusal(request) is None]
    if methods is None:
        return [name for name in usual_methods() if name in possible]
    for name in methods:
        if name in NETWORK_METHODS and name not in METHODS:
            raise ArgumentError(
                f"method: {name} explains networks of images and texts; here can be had: {', '.join(possible)}",
                code="DL409",
            )
        if name not in METHODS:
            raise ArgumentError(
                f"method: no method {name!r}{suggestion(name, METHODS)} (allowed: {', '.join(METHODS)})", code="DL402"
            )
        if (why := METHODS[name].refusal(request)) is not None:
            raise ArgumentError(f"method: {name} {why}; here can be had: {', '.join(possible)}", code="DL409")
    return list(dict.fromkeys(methods))


def _checked_columns(names: Sequence[str] | None, columns: Sequence[str]) -> tuple[str, ...] | None:
    for name in names or ():
        if name not in columns:
            raise ArgumentError(
                f"actionable: the model reads no column {name!r}{suggestion(name, columns)}", code="DL402"
            )
    return None if names is None else tuple(dict.fromkeys(names))


def _warnings_of(request: ExplainRequest) -> Warnings:
    """Warn of a model that answers all rows alike."""
    background = request.background
    seen = [request.frame[:FIRST_ROWS].select(request.answers.columns)]
    if background is not None:
        seen.append(background.select(request.answers.columns))
    rows = pl.concat(seen, how="vertical_relaxed")
    outputs = request.answers.outputs(rows)
    target = request.answers.target
    first = choose_answers(target, outputs[:1], request.label)[0]
    numbers = first.of(target, outputs)
    if len(numbers) > 1 and float(np.ptp(numbers)) <= 1e-6 * max(abs(float(numbers[0])), 1e-6):
        return [("constant-model", "the model gives the same answer to every row: untrained, or nothing was learned")]
    return []
