"""Explain a network that reads images or texts: methods of the table, row by row.

In: a predictor and rows as they were read. Out: an `Explanation` in the form of tables'.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import polars as pl

from danlu.core.console import info, progress
from danlu.core.seeds import Seed
from danlu.core.text import suggestion
from danlu.data.images.preprocessor import ImagePreprocessor
from danlu.errors import ArgumentError
from danlu.explanation.asked import Wanted, check_figures, checked_rows
from danlu.explanation.networks.images import ImageRows
from danlu.explanation.networks.methods import NETWORK_METHODS, USUAL, Asked, require_captum
from danlu.explanation.networks.rows import Incomplete, NetworkRow, NetworkRows
from danlu.explanation.networks.texts import TOKENIZED
from danlu.explanation.results import Explanation, LocalExplanation
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
    local, warnings = _explain(maker, request)
    for _, message in warnings:
        info(message)
    manifest = predictor.manifest
    return Explanation(manifest.digest, manifest.task, engine, source, local=tuple(local), warnings=tuple(warnings))


def _explain(maker: NetworkRows, request: NetworkRequest) -> tuple[list[LocalExplanation], Warnings]:
    """Explain row by row; return results by method, then by row.

    A stop keeps whole rows.
    """
    names = _checked_names(request.methods)
    found: dict[str, list[LocalExplanation]] = {name: [] for name in names}
    warnings: Warnings = []
    ends: list[tuple[float, float]] = []
    first = next(maker.rows(request.frame[request.rows[0] : request.rows[0] + 1], request.rows[:1], request.label))
    _refuse(maker, first, names)
    frame = request.frame[list(request.rows)]
    try:
        with progress("explaining", len(request.rows), "rows") as bar:
            for row in maker.rows(frame, request.rows, request.label):
                ends.append(row.ends())
                for name in names:
                    try:
                        found[name].append(row.describe(name, NETWORK_METHODS[name].explain(row, request.asked)))
                    except Incomplete as error:
                        warnings.append(("incomplete", f"{name}: {error}; not shown as {name}"))
                bar.advance(1)
    except KeyboardInterrupt:
        warnings.append(("stopped", f"stopped after {max(len(ends) - 1, 0)} of {len(request.rows)} rows"))
    local = [one for each in found.values() for one in each]
    return local, [*_of_constant(ends, first), *warnings, *_of_results(local)]


def _checked_names(methods: Sequence[str] | None) -> list[str]:
    """Return the methods that are asked for, each once."""
    known = [*NETWORK_METHODS, *get_args(ExplanationMethod)]
    for name in methods or ():
        if name not in known:
            raise ArgumentError(
                f"method: no method {name!r}{suggestion(name, known)} (allowed: {', '.join(NETWORK_METHODS)})",
                code="DL402",
            )
    return list(dict.fromkeys(USUAL if methods is None else methods))


def _refuse(maker: NetworkRows, first: NetworkRow, names: Sequence[str]) -> None:
    """Raise ArgumentError for a method that cannot be had, MissingExtra without captum."""
    for name in names:
        method = NETWORK_METHODS.get(name)
        why = "explains models of tables" if method is None else method.refusal(maker, first)
        if why is not None:
            possible = [other for other, each in NETWORK_METHODS.items() if each.refusal(maker, first) is None]
            raise ArgumentError(f"method: {name} {why}; here can be had: {', '.join(possible)}", code="DL409")
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
