"""Whether an engine answers from an exported file as the bundle does: real rows, a row of gaps, one of new values."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from danlu.artifacts.bundle import GOLDEN, Bundle
from danlu.core.console import suppressed
from danlu.data.descriptors import Origin
from danlu.data.splits import Split
from danlu.data.tabular.preprocessor import TabularPreprocessor
from danlu.errors import ArtifactError
from danlu.exporters.answer_module import Answers
from danlu.exporters.form_inputs import Arrays, prepared_batches, torch_network
from danlu.exporters.onnx.preparation import UNSEEN, Preparation
from danlu.models.golden import PREDICTION, golden_inputs
from danlu.models.predictor import Predictor
from danlu.tasks.base import Target

Run = Callable[[Arrays], list[np.ndarray]]  # inputs of the file -> its outputs, the answers first


@dataclass
class Deviations:
    """Collect how far answers are from the bundle's, relative to answers beyond 1."""

    rows: int = 0
    largest: float = 0.0
    total: float = 0.0
    count: int = 0
    agreeing: list[bool] = field(default_factory=list)
    wrong_labels: int = 0

    def add(self, before: np.ndarray, after: np.ndarray) -> None:
        """Add answers of the same shape.

        NaN in one of them alone is infinitely far, and so is another word."""
        if before.shape != after.shape:
            raise ArtifactError(
                f"the exported file answers {list(after.shape)} where the bundle answers {list(before.shape)}",
                code="DL315",
            )
        if before.dtype.kind in "OUS":  # labels, as classifiers of other tools answer them beside the probabilities
            same = before.astype(str) == after.astype(str)
            self.largest = max(self.largest, 0.0 if same.all() else np.inf)
            return
        with np.errstate(invalid="ignore"):
            apart = np.abs(after.astype(np.float64) - before) / np.maximum(1.0, np.abs(before))
        same = (before == after) | (np.isnan(before) & np.isnan(after))
        apart = np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart))
        self.largest = max(self.largest, float(apart.max(initial=0.0)))
        self.total += float(apart.sum())
        self.count += apart.size


def proof_rows(predictor: Predictor, bundle: Bundle) -> pl.DataFrame:
    """Return the golden samples and reference rows; of tables two more.

    One has a gap in every column, the other a category in each that never occurred.

    Raises:
        ArtifactError: the bundle holds none.
    """
    columns, golden, reference = predictor.preprocessor.columns, bundle.golden(), bundle.reference_rows()
    parts = [] if golden is None else [golden_inputs(golden, columns)]
    if reference is not None and set(columns) <= set(reference.columns):
        parts.append(reference.select(columns))
    if not parts:
        raise ArtifactError(
            f"{bundle.folder}: holds no rows on which an export could be proved; evaluate the run first", code="DL301"
        )
    rows = pl.concat(parts, how="vertical_relaxed")
    if not isinstance(predictor.preprocessor, TabularPreprocessor):
        return rows
    gaps = pl.DataFrame({name: pl.Series([None], dtype=dtype) for name, dtype in rows.schema.items()})
    unseen = rows.head(1)
    for state in predictor.preprocessor.category_states:
        rows = rows.with_columns(pl.col(state.column).cast(pl.String))
        gaps = gaps.with_columns(pl.col(state.column).cast(pl.String))
        unseen = unseen.with_columns(pl.lit(UNSEEN).alias(state.column))
    return pl.concat([rows, gaps, unseen], how="vertical_relaxed")


def prove(
    predictor: Predictor,
    rows: pl.DataFrame,
    run: Run,
    answers: Answers,
    preparation: Preparation | None,
    engine: str,
    tolerance: float,
) -> dict[str, Any]:
    """Compare a file's answers with the bundle's, and return the figures of the check.

    Args:
        predictor: of the bundle.
        rows: as `proof_rows` gives them.
        run: answers the file's inputs by its own engine.
        answers: what the file has behind its network.
        preparation: what it has before; None where it takes prepared inputs.
        engine: name and version.
        tolerance: the largest deviation that is allowed.

    Raises:
        ArtifactError: the answers differ by more.
    """
    found = Deviations(rows=rows.height)
    place = Origin(GOLDEN, Path.cwd())
    if answers.predict is None:
        _compare_tokens(predictor, rows, place, run, found)
    else:
        # The first row alone, too: what fixed the number of rows would fail there.
        _compare_rows(predictor, rows, place, run, answers, preparation, found)
        with suppressed():  # what there is to say of the first row was said
            _compare_rows(predictor, rows.head(1), place, run, answers, preparation, found)
    return conclude(found, engine, tolerance)


def conclude(found: Deviations, engine: str, tolerance: float) -> dict[str, Any]:
    """Return the figures of a check.

    Raises:
        ArtifactError: a deviation is above the tolerance, or a label of the file is another.
    """
    check = {
        "engine": engine,
        "rows": found.rows,
        "max_deviation": found.largest if np.isfinite(found.largest) else None,
        "mean_deviation": found.total / max(1, found.count) if np.isfinite(found.total) else None,
        "agreement": float(np.mean(found.agreeing)) if found.agreeing else 1.0,
        "tolerance": tolerance,
    }
    if found.wrong_labels:
        raise ArtifactError(
            f"{engine} gives another label than its own probabilities in {found.wrong_labels} of {found.rows} rows; "
            "nothing was written",
            code="DL315",
        )
    if not found.largest <= tolerance:
        raise ArtifactError(
            f"{engine} answers otherwise than the bundle: off by {found.largest:.2g} on {found.rows} rows (allowed "
            f"{tolerance:g}); nothing was written; --tolerance sets what is allowed",
            code="DL315",
        )
    return check


def _compare_rows(
    predictor: Predictor,
    rows: pl.DataFrame,
    place: Origin,
    run: Run,
    answers: Answers,
    preparation: Preparation | None,
    found: Deviations,
) -> None:
    before = predictor.raw_outputs(Split.of(rows), place)
    if answers.is_calibrated:
        before = predictor.target.calibrate(before)
    if preparation is not None:
        given: Iterator[Arrays] = iter([preparation.feed(rows, place.name)])
    else:
        given = (inputs for inputs, _ in prepared_batches(predictor, rows, place))
    outputs = [np.concatenate(parts) for parts in zip(*(run(inputs) for inputs in given), strict=True)]
    after = answers.undo(outputs[0])
    found.add(before, after)
    finished = [each.astype(before.dtype) for each in (before, after)]
    if not answers.is_calibrated:
        finished = [predictor.target.calibrate(each) for each in finished]
    other = compare_decisions(found, predictor.target, *finished)
    if len(outputs) > 1:  # the label, which is that of the file's own probabilities
        pairs = zip(other[PREDICTION].to_list(), outputs[1].tolist(), strict=True)
        found.wrong_labels += sum(str(said) != str(given) for said, given in pairs)


def compare_decisions(found: Deviations, target: Target, before: np.ndarray, after: np.ndarray) -> pl.DataFrame:
    """Note which rows are decided alike, and return the predictions of the answers after.

    Args:
        found: takes the notes.
        target: decides.
        before, after: calibrated outputs.
    """
    decided, other = target.decode(before), target.decode(after)
    if PREDICTION in decided.columns and not decided.schema[PREDICTION].is_float():
        pairs = zip(decided[PREDICTION].to_list(), other[PREDICTION].to_list(), strict=True)
        found.agreeing += [one == another for one, another in pairs]
    return other


def _compare_tokens(predictor: Predictor, rows: pl.DataFrame, place: Origin, run: Run, found: Deviations) -> None:
    """Compare the logits of tokens that are no padding, and the likeliest of each."""
    network = torch_network(predictor)
    for part in (rows, rows.head(1)):
        for inputs, _ in prepared_batches(predictor, part, place):
            with torch.inference_mode():
                before = network(**{name: torch.from_numpy(values) for name, values in inputs.items()}).numpy()
            after = run(inputs)[0]
            mask = inputs.get("attention_mask")
            there = np.ones(before.shape[:2], dtype=bool) if mask is None else mask.astype(bool)
            found.add(before[there], after[there])
            found.agreeing += (before[there].argmax(axis=-1) == after[there].argmax(axis=-1)).tolist()
