"""Explain a network that reads images or texts: methods of the table, row by row.

In: a predictor and rows as they were read. Out: an `Explanation` in the form of tables'.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import polars as pl

from danlu.core.console import info, progress
from danlu.core.imports import missing_packages
from danlu.core.seeds import Seed
from danlu.core.text import suggestion
from danlu.data.images.preprocessor import ImagePreprocessor
from danlu.errors import ArgumentError
from danlu.explanation.asked import Wanted, check_figures, checked_rows
from danlu.explanation.networks.images import ImageRows
from danlu.explanation.networks.methods import NETWORK_METHODS, TRUST, USUAL, Asked, require_captum
from danlu.explanation.networks.rows import Incomplete, NetworkRow, NetworkRows
from danlu.explanation.networks.texts import TOKENIZED
from danlu.explanation.results import Explanation, LocalExplanation
from danlu.explanation.trust_results import Trust, recommend
from danlu.recipe.sections.explanation import ExplanationMethod

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor

Warnings = list[tuple[str, str]]
ALIKE, TIMES = 0.02, 1.25  # how far apart the probabilities of a network that learned something are, at least
SAME = 1e-6  # numbers, relative
LISTED = 5
LEAST_FIDELITY = 0.7


@dataclass(frozen=True)
class NetworkRequest:
    """Hold what is to be explained.

    Attributes:
        frame: all rows of the source, as they were read.
        rows: numbers of the rows to explain, ascending.
        methods: None for the usual ones.
        label: the label, output or token; None for what is predicted.
    """

    frame: pl.DataFrame
    rows: tuple[int, ...]
    methods: Sequence[str] | None
    label: str | None
    asked: Asked


def network_rows(predictor: "Predictor", folder: Path | None) -> NetworkRows:
    """Return what makes rows of a predictor's data.

    Raises:
        ArgumentError: there is none for this kind of data.
    """
    preprocessor = predictor.preprocessor
    if isinstance(preprocessor, ImagePreprocessor):
        return ImageRows(predictor, folder)
    for kind, rows in TOKENIZED.items():
        if isinstance(preprocessor, kind):
            return rows(predictor)
    raise ArgumentError(
        f"explain: {predictor.manifest.kind} models cannot be explained; those of tables, images, texts, words, "
        "corpora and chats can",
        code="DL409",
    )


def explain_network(
    predictor: "Predictor",
    frame: pl.DataFrame,
    source: dict[str, Any],
    wanted: Wanted,
    folder: Path | None = None,
) -> Explanation:
    """Explain answers of a network; arguments are those of `explain_bundle`.

    Args:
        folder: where relative paths of images start.

    Raises:
        ArgumentError: a method is unknown or not to be had, a row is not there, or a label or figure is wrong.
        MissingExtra: a method needs captum.
        DataError: a row cannot be read.
    """
    maker = network_rows(predictor, folder)
    check_figures(wanted)
    if wanted.actionable is not None:
        raise ArgumentError("actionable: counterfactuals are of tables, and this model reads none", code="DL402")
    asked = Asked(Seed(wanted.seed), wanted.error, wanted.budget)
    request = NetworkRequest(frame, checked_rows(wanted.rows, frame.height), wanted.methods, wanted.label, asked)
    engine = predictor.engine.name
    names = _checked_names(request.methods)
    found = _explain(maker, request, names)
    for _, message in found.warnings:
        info(message)
    manifest = predictor.manifest
    return Explanation(
        manifest.digest,
        manifest.task,
        engine,
        source,
        local=found.local,
        trust=found.trust,
        recommended=recommend(found.trust),
        warnings=found.warnings,
    )


@dataclass(frozen=True)
class Found:
    """Hold what was found of rows."""

    local: tuple[LocalExplanation, ...]
    trust: tuple[Trust, ...]
    warnings: tuple[tuple[str, str], ...]


def _explain(maker: NetworkRows, request: NetworkRequest, names: Sequence[str]) -> Found:
    """Explain row by row; return results by method, then by row.

    A stop keeps whole rows.
    """
    first = next(maker.rows(request.frame[request.rows[0] : request.rows[0] + 1], request.rows[:1], request.label))
    _refuse(maker, first, names)
    methods = [name for name in names if name != TRUST]
    done: list[list[LocalExplanation]] = []
    warnings: Warnings = []
    ends: list[tuple[float, float]] = []
    frame = request.frame[list(request.rows)]
    try:
        with progress("explaining", len(request.rows), "rows") as bar:
            for row in maker.rows(frame, request.rows, request.label) if methods else ():
                ends.append(row.ends())
                one, said = _explain_row(row, methods, request.asked)
                done.append(one)
                warnings += said
                bar.advance(1)
    except KeyboardInterrupt:
        warnings.append(("stopped", f"stopped after {len(done)} of {len(request.rows)} rows"))
    local = tuple(sorted((one for row in done for one in row), key=lambda one: methods.index(one.method)))
    is_stopped = len(done) < len(request.rows) and bool(methods)
    warnings = [*_of_constant(ends, first), *warnings, *_of_results(local)]
    if TRUST not in names or is_stopped:
        return Found(local, (), tuple(warnings))
    trust, told = _measure(maker, request, first)
    return Found(local, trust, (*warnings, *told))


def _explain_row(row: NetworkRow, methods: Sequence[str], asked: Asked) -> tuple[list[LocalExplanation], Warnings]:
    found: list[LocalExplanation] = []
    warnings: Warnings = []
    for name in methods:
        try:
            found.append(row.describe(name, NETWORK_METHODS[name].explain(row, asked)))
        except Incomplete as error:
            warnings.append(("incomplete", f"{name}: {error}; not shown as {name}"))
    return found, warnings


def _measure(maker: NetworkRows, request: NetworkRequest, first: NetworkRow) -> tuple[tuple[Trust, ...], Warnings]:
    """Measure how far this network's methods can be trusted; a stop keeps whole rows."""
    from danlu.explanation.networks.trust import MOST_ROWS, Measured, measure_rows, sum_up_rows

    names = [
        name
        for name, each in NETWORK_METHODS.items()
        if each.refusal(maker, first) is None and not (each.needs_captum and missing_packages("explain"))
    ]
    numbers = request.rows[:MOST_ROWS]
    done: list[Measured] = []
    warnings: Warnings = []
    rows = maker.rows(request.frame[list(numbers)], numbers, request.label)
    try:
        with progress("measuring trust", len(numbers), "rows") as bar:
            for one in measure_rows(maker, rows, names, request.asked):
                done.append(one)
                bar.advance(1)
    except KeyboardInterrupt:
        warnings.append(("stopped", f"stopped after {len(done)} of {len(numbers)} rows of trust"))
    if not done:
        return (), warnings
    for name, why in {name: why for one in done for name, why in one.incomplete.items()}.items():
        warnings.append(("incomplete", f"{name}: {why}; not measured"))
    found = sum_up_rows(done, ("random", *first.dummies()))
    if alike := [one.method for one in found if not one.beats_dummies]:
        told = f"on these {len(done)} rows {', '.join(alike)} are not told apart from dummy values"
        warnings.append(("not-told-apart", told))
    return found, warnings


def _checked_names(methods: Sequence[str] | None) -> list[str]:
    """Return the methods that are asked for, each once."""
    known, of_tables = [*NETWORK_METHODS, TRUST], get_args(ExplanationMethod)
    for name in methods or ():
        if name not in known and name not in of_tables:
            raise ArgumentError(f"method: no method {name!r}{suggestion(name, known)}", code="DL402")
    return list(dict.fromkeys(USUAL if methods is None else methods))


def _refuse(maker: NetworkRows, first: NetworkRow, names: Sequence[str]) -> None:
    """Raise ArgumentError for a method that cannot be had, MissingExtra without captum."""
    for name in names:
        if name == TRUST:
            continue
        method = NETWORK_METHODS.get(name)
        why = "explains models of tables" if method is None else method.refusal(maker, first)
        if why is not None:
            possible = [other for other, each in NETWORK_METHODS.items() if each.refusal(maker, first) is None]
            raise ArgumentError(f"method: {name} {why}; here can be had: {', '.join([*possible, TRUST])}", code="DL409")
        require_captum(name)


def _of_constant(ends: Sequence[tuple[float, float]], first: NetworkRow) -> Warnings:
    """Warn of a network that answers all rows, and nothing, about alike."""
    numbers = [number for both in ends for number in both]
    if not numbers:
        return []
    low, high = min(numbers), max(numbers)
    is_probability = first.readout.scale == "probability"
    alike = ALIKE if is_probability else SAME * max(abs(low), abs(high), SAME)
    if high - low > alike or (is_probability and high > TIMES * low):
        return []
    said = f"{low:.4g} to {high:.4g}" if high > low else f"{low:.4g}"
    return [
        (
            "constant-model",
            f"the model gives nearly the same answer to every row and to nothing ({said}): untrained, or nothing was "
            "learned",
        )
    ]


def _of_results(local: Sequence[LocalExplanation]) -> Warnings:
    """Warn of wide intervals and of local models that do not fit."""
    warnings: Warnings = []
    if any(one.wanted_error is not None and one.reached_error > one.wanted_error for one in local):
        warnings.append(("error-not-reached", "some intervals are wider than asked for; raise the budget"))
    bad = [str(one.row) for one in local if one.fidelity is not None and one.fidelity < LEAST_FIDELITY]
    if bad:
        named = ", ".join(bad[:LISTED]) + (" …" if len(bad) > LISTED else "")
        warnings.append(("low-fidelity", f"around row {named} no linear model gives the answers well"))
    return warnings
