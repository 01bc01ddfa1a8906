"""`danlu compare`: paired differences of every metric between runs tested on the same rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from danlu.api.runs import differing_keys
from danlu.artifacts.files import read_frame
from danlu.artifacts.run import RECIPE, RunDirectory
from danlu.core.seeds import Seed
from danlu.errors import ArgumentError
from danlu.evaluation.intervals import MIN_UNITS, Resampling, count_units, mcnemar_test, paired_differences
from danlu.evaluation.metrics.base import Predictions, compute_values
from danlu.evaluation.metrics.table import get_metric
from danlu.evaluation.predictions import read_predictions
from danlu.recipe.load import load_recipe
from danlu.recipe.schema import Recipe
from danlu.reporting.comparison import write_comparison


@dataclass(frozen=True)
class EvaluatedRun:
    """Hold a run and its predictions on the test split.

    Attributes:
        rows: row numbers in the data, [samples].
        labels: class labels as text.
    """

    run: RunDirectory
    recipe: Recipe
    task: str
    labels: tuple[str, ...]
    rows: np.ndarray
    predictions: Predictions

    @property
    def name(self) -> str:
        return self.run.path.name


def compare(
    runs: Sequence[str | Path], *, html: str | Path | None = None, language: str | None = None
) -> dict[str, Any]:
    """Compare runs with the first one.

    Args:
        runs: at least two run directories, evaluated on the same test rows.
        html: also write the comparison as a page into this file.
        language: of the page: en or zh; by default the one in the first run's recipe.

    Returns:
        `runs`, `rows`, `metrics` (metric -> run -> value), `recipes` (differing keys: key -> run -> value) and
        `differences`: for each run but the first, its `metrics` (value, low, high of the difference to the first run)
        and, for classification, `mcnemar`.

    Raises:
        ArgumentError: there are fewer than two runs, one is not evaluated, they were tested on different rows, or the
            language is unknown.
    """
    if len(runs) < 2:
        raise ArgumentError("compare takes two runs or more; `danlu runs` lists the runs")
    tested = [_load_evaluated(RunDirectory.open(path)) for path in runs]
    first, *others = tested
    for other in others:
        _check_comparable(first, other)
    names = [
        name
        for name in first.recipe.evaluation.metrics or ()
        if all(name in (each.recipe.evaluation.metrics or ()) for each in others)
    ]
    metrics = {name: get_metric(name) for name in names}
    figures = {_run_label(tested, each): compute_values(metrics, each.predictions) for each in tested}
    found = {
        "runs": list(figures),
        "split": "test",
        "rows": len(first.rows),
        "main": first.run.evaluation()["main"],
        "metrics": {
            name: {run: value[name] for run, value in figures.items() if np.isfinite(value[name])} for name in names
        },
        "differences": [_differences(tested, first, other, names) for other in others],
        "recipes": differing_keys([each.run for each in tested], list(figures)),
    }
    if html is not None:
        named = {_run_label(tested, each): each.run for each in tested}
        write_comparison(named, found, Path(html), language or first.recipe.evaluation.language)
    return found


def _differences(
    tested: list[EvaluatedRun], first: EvaluatedRun, other: EvaluatedRun, names: list[str]
) -> dict[str, Any]:
    options = first.recipe.evaluation
    how = Resampling(Seed(first.recipe.seed).derive("compare"), options.confidence, options.resamples or 2000)
    metrics = {name: get_metric(name) for name in names}
    enough = count_units(first.predictions) >= MIN_UNITS
    found: dict[str, Any] = {
        "run": _run_label(tested, other),
        "against": _run_label(tested, first),
        "confidence": how.confidence,
        "metrics": paired_differences(metrics, other.predictions, first.predictions, how) if enough else {},
    }
    if first.task == "classification":
        found["mcnemar"] = mcnemar_test(other.predictions, first.predictions).to_dict()
    return found


def _run_label(tested: list[EvaluatedRun], each: EvaluatedRun) -> str:
    """Return the run's folder name, or its path if two runs share the folder name."""
    names = [other.name for other in tested]
    return each.name if names.count(each.name) == 1 else str(each.run.path)


def _load_evaluated(run: RunDirectory) -> EvaluatedRun:
    evaluation, file = run.evaluation(), run.path / "predictions" / "test.parquet"
    if "version" not in evaluation or not file.is_file():
        raise ArgumentError(f"{run.path}: has no test predictions to compare; run `danlu evaluate {run.path}` first")
    answers = read_frame(file).sort("row")
    labels = tuple(evaluation.get("labels", ()))
    threshold = (evaluation.get("decision", {}).get("threshold") or {}).get("value")
    judged = read_predictions(evaluation["task"], answers, labels, threshold)
    recipe = load_recipe(run.path / RECIPE)
    return EvaluatedRun(run, recipe, evaluation["task"], labels, answers["row"].to_numpy(), judged)


def _check_comparable(first: EvaluatedRun, other: EvaluatedRun) -> None:
    """Raise ArgumentError unless both runs were tested on the same rows and labels."""
    pair = f"{first.run.path} and {other.run.path}"
    if first.task != other.task:
        raise ArgumentError(f"{pair}: cannot be compared, their tasks differ ({first.task} and {other.task})")
    if len(first.rows) != len(other.rows) or (first.rows != other.rows).any():
        both = len(np.intersect1d(first.rows, other.rows))
        raise ArgumentError(
            f"{pair}: tested on different rows ({len(first.rows):,} and {len(other.rows):,}, of which {both:,} are in "
            "both); a run must not be tested on rows it was trained on, so give both recipes the same data, split "
            "and seed, or split by a column"
        )
    if first.labels != other.labels:
        raise ArgumentError(f"{pair}: cannot be compared, their classes differ")
    if first.task == "language-modelling":
        same = np.array_equal(first.predictions.text_bytes, other.predictions.text_bytes)  # type: ignore[arg-type]
    else:
        same = np.array_equal(first.predictions.y_true, other.predictions.y_true)
    if not same:
        raise ArgumentError(
            f"{pair}: the targets of the same rows differ, so the data has changed; train one of them again"
        )
