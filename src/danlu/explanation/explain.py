"""Explain a bundle: the methods that are asked for, put together into one result.

In: a predictor, the bundle, rows as they were read. Out: an `Explanation`. `METHODS` lists what can be asked for; a
further method is a class in `row_methods` or `model_methods` and a line there.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from danlu.artifacts.bundle import Bundle
from danlu.core.console import info
from danlu.core.seeds import Seed
from danlu.core.text import suggestion
from danlu.data.tabular.preprocessor import TabularPreprocessor
from danlu.errors import ArgumentError
from danlu.explanation.answers import choose_answers
from danlu.explanation.asked import Wanted, check_figures, checked_rows
from danlu.explanation.curves import accumulated_effects, partial_dependence
from danlu.explanation.influence import TrainingRecord
from danlu.explanation.model_methods import CurvesOf, InteractionPairs, Permutation, SurrogateTree
from danlu.explanation.networks.explain import explain_network
from danlu.explanation.networks.methods import NETWORK_METHODS
from danlu.explanation.request import NO_TRAINING, ExplainRequest, Method, Warnings
from danlu.explanation.results import Explanation
from danlu.explanation.row_answers import RowAnswers
from danlu.explanation.row_methods import Counterfactuals, Lime, Shap, TracIn, TrustInShap
from danlu.explanation.tabular import TabularAnswers
from danlu.explanation.trust_results import recommend

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor

FIRST_ROWS = 100  # that tell a constant model


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
    return replace(explanation, recommended=recommend(explanation.trust), warnings=tuple(warnings))


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
            raise ArgumentError(f"method: no method {name!r}{suggestion(name, METHODS)}", code="DL402")
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
