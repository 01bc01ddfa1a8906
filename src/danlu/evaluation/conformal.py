"""Prediction sets and intervals by split conformal prediction, and their coverage on test.

Angelopoulos and Bates 2021, https://arxiv.org/abs/2107.07511. In: rows that the model was not trained on, with their
predictions. Out: the quantiles that the bundle keeps, and plain values for evaluation.json. A class's score is 1 - its
probability; a number's is the absolute error.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from danlu.errors import DataError
from danlu.evaluation.intervals import Resampling, values_with_intervals
from danlu.metrics.base import Metric, Predictions, mean_statistic, ratio
from danlu.recipe.sections.evaluation import Conformal
from danlu.tasks.base import ConformalTarget
from danlu.tasks.calibrations import ConformalQuantiles
from danlu.tasks.classification import ClassTarget
from danlu.tasks.table import task_of

KEY = "evaluation.intervals"  # of the recipe


def required_rows(coverage: float) -> int:
    """Return the fewest calibration rows for a finite quantile: 9 for 0.9, 19 for 0.95."""
    share = Fraction(str(coverage))
    return math.ceil(share / (1 - share))


def too_few_rows(coverage: float, rows: int, of: str) -> str | None:
    """Say how many rows are needed; None if there are enough.

    Args:
        coverage: the share of new rows that should be covered.
        rows: number of calibration rows.
        of: their name in the sentence, as `the validation split`.
    """
    needed = required_rows(coverage)
    if rows >= needed:
        return None
    return (
        f"{of} has {rows:,} row{'' if rows == 1 else 's'}, and a coverage of {coverage:g} needs at least {needed:,}: "
        "with fewer, a set would hold every class and an interval every number; give more rows or a lower coverage"
    )


def conformal_quantile(scores: np.ndarray, coverage: float) -> float:
    """Return the ceil((n + 1) * coverage)-th smallest of n scores.

    Raises:
        DataError: there are too few scores.
    """
    if told := too_few_rows(coverage, len(scores), "the calibration"):
        raise DataError(f"{KEY}: {told}", code="DL118")
    rank = math.ceil((len(scores) + 1) * Fraction(str(coverage)))
    return float(np.partition(scores, rank - 1)[rank - 1])


def fit_conformal(options: Conformal, target: ConformalTarget, predictions: Predictions) -> ConformalTarget:
    """Return the target with the quantiles of some predictions.

    Args:
        options: the coverage, and whether it holds within each class.
        target: with its calibration, which the predictions had.
        predictions: of rows that the model was not trained on and that are not the test split.

    Raises:
        DataError: there are too few of them.
    """
    scores = task_of(target).nonconformity(predictions)
    if options.by == "class" and isinstance(target, ClassTarget):
        members = [scores[predictions.y_true == position] for position in range(len(target.labels))]
    else:
        members = [scores]
    quantiles = tuple(conformal_quantile(each, options.coverage) for each in members)
    found = ConformalQuantiles(coverage=options.coverage, by=options.by, rows=len(scores), quantiles=quantiles)
    return target.model_copy(update={"conformal": found})


def conformal_figures(
    target: ConformalTarget, test: Predictions, how: Resampling | None, calibrated_on: str, split: str = "test"
) -> dict[str, Any]:
    """Compute coverage and size of the test split's sets or intervals.

    Args:
        target: with its quantiles.
        test: the predictions of the test split.
        how: None for no intervals of these figures.
        calibrated_on: a word for the rows that gave the quantiles.
        split: under which the figures are returned.
    """
    kept = target.conformal
    assert kept is not None
    told: dict[str, Any] = {
        "method": "split conformal",
        "coverage": kept.coverage,
        "by": kept.by,
        "calibrated_on": calibrated_on,
        "rows": kept.rows,
    }
    if not isinstance(target, ClassTarget):
        task = task_of(target)
        figures = _test_figures(task.covered(target, test), test, how)
        width = float(task.interval_widths(target, test).mean())
        return {**told, "quantile": kept.quantiles[0], split: {**figures, "width": {"value": width}}}
    names = [str(label) for label in target.labels]
    sets = target.prediction_sets(test.y_pred)
    covered, sizes = sets[np.arange(len(test)), test.y_true], sets.sum(axis=1)
    told |= (
        {"quantiles": dict(zip(names, kept.quantiles, strict=True))}
        if kept.by == "class"
        else {"quantile": kept.quantiles[0]}
    )
    figures = _test_figures(covered, test, how, {"size": sizes})
    figures["sizes"] = np.bincount(sizes, minlength=len(names) + 1).tolist()
    figures["classes"] = {
        name: {"coverage": float(covered[rows].mean()), "support": int(rows.sum())}
        for name, rows in ((name, test.y_true == position) for position, name in enumerate(names))
        if rows.any()
    }
    return {**told, split: figures}


def _test_figures(
    covered: np.ndarray, test: Predictions, how: Resampling | None, others: Mapping[str, np.ndarray] | None = None
) -> dict[str, Any]:
    """Return the share of covered rows and the means of other columns."""
    columns = {"coverage": covered, **(others or {})}
    metrics = {name: _mean_of(column) for name, column in columns.items()}
    return dict(values_with_intervals(metrics, test, how))


def _mean_of(column: np.ndarray) -> Metric:
    """Return the metric that is the mean of a column of the same samples."""
    return Metric("", mean_statistic(lambda _: column.astype(np.float64)), ratio, True, "")
