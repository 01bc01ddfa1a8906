"""Compare evaluated runs on the test rows that they share.

In: run directories with predictions. Out: `EvaluatedRun`s, checked to be comparable, and their paired differences.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from danlu.artifacts.files import read_frame, read_json
from danlu.artifacts.final_figures import final_split
from danlu.artifacts.ownership import RECIPE
from danlu.artifacts.run import RunDirectory
from danlu.artifacts.run_recipe import load_run_recipe
from danlu.core.seeds import Seed
from danlu.errors import ArgumentError
from danlu.evaluation.intervals import MIN_UNITS, Resampling, count_units, mcnemar_test, paired_differences
from danlu.evaluation.predictions import read_predictions
from danlu.metrics.base import Predictions, compute_values
from danlu.recipe.schema import Recipe
from danlu.tasks.base import Task
from danlu.tasks.metric_table import get_metric
from danlu.tasks.table import get_task


@dataclass(frozen=True)
class EvaluatedRun:
    """Hold a run and its predictions on the test split.

    Attributes:
        rows: row numbers in the data, [samples].
        labels: class labels as text.
    """

    run: RunDirectory
    recipe: Recipe
    task: Task
    labels: tuple[str, ...]
    rows: np.ndarray
    predictions: Predictions

    @property
    def name(self) -> str:
        return self.run.path.name


def compare_evaluated_runs(tested: list[EvaluatedRun]) -> dict[str, Any]:
    """Compare runs with the first one: metrics of all, paired differences, differing recipe keys.

    Raises:
        ArgumentError: they were not tested on the same rows.
    """
    first, *others = tested
    for other in others:
        check_comparable(first, other)
    names = [
        name
        for name in first.recipe.evaluation.metrics or ()
        if all(name in (each.recipe.evaluation.metrics or ()) for each in others)
    ]
    metrics = {name: get_metric(name) for name in names}
    values = {run_label(tested, each): compute_values(metrics, each.predictions) for each in tested}
    return {
        "runs": list(values),
        "split": final_split(first.run.evaluation()),
        "rows": len(first.rows),
        "main": first.run.evaluation()["main"],
        "metrics": {
            name: {run: value[name] for run, value in values.items() if np.isfinite(value[name])} for name in names
        },
        "differences": [_compare_with_first(tested, first, other, names) for other in others],
        "recipes": differing_keys([each.recipe for each in tested], list(values)),
    }


def _compare_with_first(
    tested: list[EvaluatedRun], first: EvaluatedRun, other: EvaluatedRun, names: list[str]
) -> dict[str, Any]:
    options = first.recipe.evaluation
    how = Resampling(Seed(first.recipe.seed).derive("compare"), options.confidence, options.resamples or 2000)
    metrics = {name: get_metric(name) for name in names}
    enough = count_units(first.predictions) >= MIN_UNITS
    found: dict[str, Any] = {
        "run": run_label(tested, other),
        "against": run_label(tested, first),
        "confidence": how.confidence,
        "metrics": paired_differences(metrics, other.predictions, first.predictions, how) if enough else {},
    }
    if first.task.has_classes:
        found["mcnemar"] = mcnemar_test(other.predictions, first.predictions).to_dict()
    return found


def run_label(tested: list[EvaluatedRun], each: EvaluatedRun) -> str:
    """Return the run's folder name, or its path if two runs share the folder name."""
    names = [other.name for other in tested]
    return each.name if names.count(each.name) == 1 else str(each.run.path)


def load_evaluated_run(run: RunDirectory) -> EvaluatedRun:
    """Read the predictions of a run on its test split.

    Raises:
        ArgumentError: it has none.
    """
    evaluation = run.evaluation()
    file = run.predictions(f"{final_split(evaluation)}.parquet")
    if "version" not in evaluation or not file.is_file():
        raise ArgumentError(
            f"{run.path}: has no test predictions to compare; run `danlu evaluate {run.path}` first", code="DL407"
        )
    answers = read_frame(file).sort("row")
    labels = tuple(evaluation.get("labels", ()))
    threshold = (evaluation.get("decision", {}).get("threshold") or {}).get("value")
    task = get_task(evaluation["task"])
    judged = read_predictions(task, answers, labels, threshold)
    recipe = load_run_recipe(run.path / RECIPE)
    return EvaluatedRun(run, recipe, task, labels, answers["row"].to_numpy(), judged)


def check_comparable(first: EvaluatedRun, other: EvaluatedRun) -> None:
    """Raise ArgumentError unless both runs were tested on the same rows and labels."""
    pair = f"{first.run.path} and {other.run.path}"
    if first.task != other.task:
        raise ArgumentError(
            f"{pair}: cannot be compared, their tasks differ ({first.task} and {other.task})", code="DL407"
        )
    same_rows = np.array_equal(first.rows, other.rows)
    if same_rows and _targets(first.recipe) != _targets(other.recipe):
        told = " and ".join(", ".join(_targets(each.recipe)) for each in (first, other))
        raise ArgumentError(f"{pair}: cannot be compared, their targets differ ({told})", code="DL407")
    if same_rows and first.labels == other.labels:
        if first.task.same_truth(first.predictions, other.predictions):
            return
        raise ArgumentError(
            f"{pair}: the targets of the same rows differ, so the data has changed; train one of them again",
            code="DL407",
        )
    (origin, columns), (other_origin, other_columns) = _describe_data(first), _describe_data(other)
    if columns != other_columns:
        raise ArgumentError(
            f"{pair}: cannot be compared, their data are not the same ({origin} and {other_origin}, whose columns "
            "differ); train both on one data set",
            code="DL407",
        )
    if same_rows:
        raise ArgumentError(f"{pair}: cannot be compared, their classes differ", code="DL407")
    both = len(np.intersect1d(first.rows, other.rows))
    raise ArgumentError(
        f"{pair}: tested on different rows ({len(first.rows):,} and {len(other.rows):,}, of which {both:,} are in "
        "both); a run must not be tested on rows it was trained on, so give both recipes the same data, split and "
        "seed, or split by a column",
        code="DL407",
    )


def _describe_data(run: EvaluatedRun) -> tuple[str, set[str]]:
    """Return place and column names of a run's data, its target among them."""
    known = read_json(run.run.path / "data" / "profile.json")
    return known["origin"], {*(column["name"] for column in known["columns"]), *_targets(run.recipe)}


def _targets(recipe: Recipe) -> tuple[str, ...]:
    """Return the names of the target columns."""
    target = recipe.data.target
    return target if isinstance(target, tuple) else (str(target),)


def differing_keys(recipes: list[Recipe], names: list[str]) -> list[dict[str, Any]]:
    """Return the recipe keys that differ, one column per recipe."""
    tables = [_flatten(recipe) for recipe in recipes]
    rows: list[dict[str, Any]] = []
    for key in dict.fromkeys(key for table in tables for key in table):
        values = [table.get(key) for table in tables]
        if any(value != values[0] for value in values):
            rows.append({"key": key, **dict(zip(names, values, strict=True))})
    return rows


def _flatten(recipe: Recipe) -> dict[str, Any]:
    """Flatten a recipe to `section.key -> value`."""
    flat: dict[str, Any] = {}

    def walk(value: Any, key: str) -> None:
        if isinstance(value, dict) and value:
            for name, inner in value.items():
                walk(inner, f"{key}.{name}" if key else str(name))
        else:
            flat[key] = value

    walk(recipe.model_dump(mode="json"), "")
    return flat
