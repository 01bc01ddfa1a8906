"""Explain a bundle: the methods that are asked for, put together into one result.

In: a predictor, the bundle, rows as they were read. Out: an `Explanation`. `METHODS` lists what can be asked for; a
further method is a class in a file of its own and a line there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl

from danlu.artifacts.bundle import Bundle
from danlu.core.console import info, progress
from danlu.core.seeds import Seed
from danlu.core.text import suggestion
from danlu.data.tabular.preprocessor import TabularPreprocessor
from danlu.errors import ArgumentError
from danlu.explanation.answers import choose_answers
from danlu.explanation.local_shap import explain_rows
from danlu.explanation.permutation import permutation_importance
from danlu.explanation.results import Explanation, GlobalExplanation, LocalExplanation
from danlu.explanation.tabular import TabularAnswers

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor

USUAL_ROWS = 20
MOST_BACKGROUND = 100  # rows; each coalition costs so many answers
FEW_BACKGROUND = 20
LISTED = 5  # columns that a warning names

Warnings = list[tuple[str, str]]


@dataclass(frozen=True)
class ExplainRequest:
    """Hold what is to be explained.

    Attributes:
        frame: all rows of the source, as they were read.
        is_labelled: whether they have the target.
        rows: numbers of the rows to explain, ascending.
        background: rows that stand for absent columns; None where the bundle keeps none.
        label: the label or output; None for what is predicted.
        error: the half width that is enough; None for a fixed number of calls.
        budget: most coalitions per row; None for the usual number.
    """

    answers: TabularAnswers
    frame: pl.DataFrame
    is_labelled: bool
    rows: tuple[int, ...]
    background: pl.DataFrame | None
    seed: Seed
    label: str | None = None
    error: float | None = None
    budget: int | None = None


@dataclass(frozen=True)
class Found:
    """Hold what one method found."""

    local: tuple[LocalExplanation, ...] = ()
    overall: tuple[GlobalExplanation, ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()


class Method(Protocol):
    """Explain in one way."""

    def refusal(self, request: ExplainRequest) -> str | None:
        """Say why this method cannot be had here; None where it can."""

    def explain(self, request: ExplainRequest) -> Found:
        """Explain what is asked for; a stop keeps what is done."""


class Shap:
    """SHAP values of single rows."""

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


class Permutation:
    """Permutation importance of the model's columns."""

    def refusal(self, request: ExplainRequest) -> str | None:
        return None if request.is_labelled else "needs rows with the target: a run's own split"

    def explain(self, request: ExplainRequest) -> Found:
        found = permutation_importance(request.answers, request.frame, request.seed)
        apart = [each.name for each in found.columns if each.differs]
        warnings: Warnings = []
        if apart:
            named = ", ".join(apart[:LISTED]) + (" …" if len(apart) > LISTED else "")
            warnings.append(
                (
                    "correlated-columns",
                    f"plain and conditional importance differ for {named}: these columns go with others, and plain "
                    "shuffling asks for rows that do not occur",
                )
            )
        return Found(overall=(found,), warnings=tuple(warnings))


METHODS: dict[str, Method] = {"shap": Shap(), "permutation": Permutation()}


def explain_bundle(
    predictor: "Predictor",
    bundle: Bundle,
    background: pl.DataFrame | None,
    frame: pl.DataFrame,
    source: dict[str, Any],
    *,
    is_labelled: bool,
    methods: Sequence[str] | None = None,
    rows: Sequence[int] | None = None,
    label: str | None = None,
    error: float | None = None,
    budget: int | None = None,
    seed: int = 0,
) -> Explanation:
    """Explain answers of a bundle, and its model.

    Args:
        background: the bundle's reference rows, as they were read.
        frame: the source's rows, as they were read.
        source: what is said of it: `split` or `origin`, and `rows`.
        is_labelled: whether the rows have the target.
        methods: of `METHODS`; by default all that can be had here.
        rows: numbers from 0; by default the first 20.

    Raises:
        ArgumentError: a method is unknown or not to be had, a row is not there, or a label or figure is wrong.
        ArtifactError: values do not add up to the answer.
    """
    if not isinstance(predictor.preprocessor, TabularPreprocessor):
        raise ArgumentError(
            f"explain: {predictor.manifest.kind} models cannot be explained yet; tables can", code="DL409"
        )
    _check_figures(error, budget)
    request = ExplainRequest(
        TabularAnswers(predictor),
        frame,
        is_labelled,
        _checked_rows(rows, frame.height),
        None if background is None else background[:MOST_BACKGROUND],
        Seed(seed),
        label,
        error,
        budget,
    )
    explanation = Explanation(bundle.manifest.digest, bundle.manifest.task, "torch", source)
    warnings = _warnings_of(request)
    for name in _checked_methods(methods, request):
        found = METHODS[name].explain(request)
        warnings += found.warnings
        explanation = replace(
            explanation, local=explanation.local + found.local, overall=explanation.overall + found.overall
        )
        if any(code == "stopped" for code, _ in found.warnings):
            break
    for _, message in warnings:
        info(message)
    return replace(explanation, warnings=tuple(warnings))


def _checked_methods(methods: Sequence[str] | None, request: ExplainRequest) -> list[str]:
    if methods is None:
        return [name for name, method in METHODS.items() if method.refusal(request) is None]
    possible = [name for name, method in METHODS.items() if method.refusal(request) is None]
    for name in methods:
        if name not in METHODS:
            raise ArgumentError(
                f"method: no method {name!r}{suggestion(name, METHODS)} (allowed: {', '.join(METHODS)})", code="DL402"
            )
        if (why := METHODS[name].refusal(request)) is not None:
            raise ArgumentError(f"method: {name} {why}; here can be had: {', '.join(possible)}", code="DL409")
    return list(dict.fromkeys(methods))


def _checked_rows(rows: Sequence[int] | None, height: int) -> tuple[int, ...]:
    if rows is None:
        return tuple(range(min(USUAL_ROWS, height)))
    for row in rows:
        if not 0 <= row < height:
            raise ArgumentError(f"rows: no row {row}; the rows are 0 to {height - 1}", code="DL402")
    return tuple(sorted(set(rows)))


def _check_figures(error: float | None, budget: int | None) -> None:
    if error is not None and not (np.isfinite(error) and error > 0):
        raise ArgumentError(f"error: must be greater than 0, got {error:g}", code="DL402")
    if budget is not None and budget < 1:
        raise ArgumentError(f"budget: must be at least 1 call, got {budget}", code="DL402")


def _warnings_of(request: ExplainRequest) -> Warnings:
    """Warn of a model that answers all rows alike."""
    background = request.background
    seen = [request.frame[:MOST_BACKGROUND].select(request.answers.columns)]
    if background is not None:
        seen.append(background.select(request.answers.columns))
    rows = pl.concat(seen, how="vertical_relaxed")
    outputs = request.answers.outputs(rows)
    target = request.answers.predictor.target
    first = choose_answers(target, outputs[:1], request.label)[0]
    numbers = first.of(target, outputs)
    if len(numbers) > 1 and float(np.ptp(numbers)) <= 1e-6 * max(abs(float(numbers[0])), 1e-6):
        return [("constant-model", "the model gives the same answer to every row: untrained, or nothing was learned")]
    return []
