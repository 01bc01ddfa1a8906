"""Leakage: columns that know the target, groups and times that a split separates; a test easier than reality."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from danlu.data.audit.finding import AuditContext, Finding, Severity, make_finding
from danlu.data.columns import ID_NAME, Column
from danlu.data.frames import words_to_compare

LEAKAGE_LEVEL = 0.99  # balanced accuracy of one column alone, or rank correlation, from which it is suspected
BINS = 50
FEWEST_PAIRS = 10  # rows of which a rank correlation is taken
FEWEST_GROUPS, LARGEST_GROUP = 20, 0.2


def target_leakage(view: AuditContext) -> list[Finding]:
    """Find columns that alone predict the target almost without error.

    They are often a consequence of it, not a cause.
    """
    dataset, target = view.dataset, view.dataset.target
    if not dataset.kind.has_feature_columns or target is None:
        return []
    findings: list[Finding] = []
    task, answers = dataset.task, view.train[target]
    drawn = np.random.default_rng(view.seed.derive("halves").value)
    numbers, matrix = task.numbers(answers), task.label_matrix(answers)
    for column in view.columns:
        if column.type not in ("number", "category", "datetime", "identifier") or column.unique < 2:
            continue
        values = _ordered(view.values[column.name], column)
        if numbers:
            measure, strength = "regression", _correlation(values, column, numbers)
        else:
            measure = "classification" if matrix is None else "multi-label"
            strength = _accuracy(view, values, matrix, drawn)
        if strength >= LEAKAGE_LEVEL:
            key = f"telling-column.{measure}.{'used' if column.used else 'unused'}"
            cure = f"data.columns: {{{column.name}: drop}}" if column.used else ""
            severity: Severity = "warning" if column.used else "note"
            findings.append(make_finding(key, severity, column.name, cure, target=target, strength=strength))
    return findings


def _correlation(values: pl.Series, column: Column, numbers: Sequence[pl.Series]) -> float:
    """Measure how well a column alone orders numbers to predict, in [0, 1]."""
    if column.type == "category" or values.dtype == pl.String:
        return 0.0
    return max(_rank_correlation(values, own) for own in numbers)


def _accuracy(view: AuditContext, values: pl.Series, matrix: np.ndarray | None, drawn: np.random.Generator) -> float:
    """Measure how well a column alone predicts classes in training, in [0, 1]."""
    bins = _bins(values)
    # Learned on one half and judged on the other, so that a column of many values does not score by chance.
    half = drawn.random(len(bins)) < 0.5
    if matrix is not None:
        return max((_balanced_accuracy(bins, half, given, 2) for given in matrix.T.astype(np.int64)), default=0.0)
    return _balanced_accuracy(bins, half, view.labels, len(view.classes))


def _rank_correlation(values: pl.Series, target: pl.Series) -> float:
    """Return the absolute rank correlation of two columns; 0 where it is undefined."""
    pair = pl.DataFrame({"x": values, "y": target}).drop_nulls()
    if pair.height < FEWEST_PAIRS:
        return 0.0
    correlation = pair.select(pl.corr("x", "y", method="spearman")).item()
    return 0.0 if correlation is None or np.isnan(correlation) else abs(float(correlation))


def _balanced_accuracy(bins: np.ndarray, half: np.ndarray, classes: np.ndarray, count: int) -> float:
    """Return the balanced accuracy of predicting classes by bins.

    Learned on one half of the rows and evaluated on the other.
    """
    learned = np.bincount(bins[half] * count + classes[half], minlength=(bins.max() + 1) * count).reshape(-1, count)
    shares = learned / np.maximum(learned.sum(axis=0), 1)  # rare classes count like frequent ones
    labels = classes[~half]
    right = labels[shares.argmax(axis=1)[bins[~half]] == labels]
    rows = np.bincount(labels, minlength=count)
    recalls = np.bincount(right, minlength=count)[rows > 0] / rows[rows > 0]
    return float(recalls.mean()) if len(recalls) > 1 else 0.0


def _ordered(values: pl.Series, column: Column) -> pl.Series:
    """Convert identifiers to numbers in their order.

    Each value stands there once, and its neighbours may tell.
    """
    return values.rank("dense") if column.type == "identifier" and values.dtype == pl.String else values


def _bins(values: pl.Series) -> np.ndarray:
    """Bin values by number from 0, numbers by quantiles; missing is a value."""
    if (
        values.dtype == pl.String
        or values.dtype == pl.Boolean
        or not (values.dtype.is_numeric() or values.dtype.is_temporal())
    ):
        return words_to_compare(values).fill_null("\0").rank("dense").to_numpy().astype(np.int64) - 1
    held = values.drop_nulls() if values.null_count() else values
    numbers = (held.to_physical() if held.dtype.is_temporal() else held).cast(pl.Float64).to_numpy()
    ordered = np.sort(numbers)  # the mean rank of equal numbers lies between their first and their last
    ranks = (np.searchsorted(ordered, numbers) + np.searchsorted(ordered, numbers, "right") + 1) / 2 / max(1, len(held))
    bins = np.zeros(len(values), dtype=np.int64)
    bins[values.is_not_null().to_numpy() if values.null_count() else slice(None)] = np.ceil(ranks * BINS)
    return bins


def group_leakage(view: AuditContext) -> list[Finding]:
    """Find group columns (users, documents) with rows on both sides of the split."""
    if getattr(view.splitter, "column", None) is not None:
        return []
    findings: list[Finding] = []
    rows = sum(len(part) for _, part in view.splits.items())
    for column in view.columns:
        repeated = FEWEST_GROUPS <= column.unique <= 0.5 * rows
        if not repeated or column.type not in ("identifier", "category", "number") or not ID_NAME.search(column.name):
            continue
        groups = words_to_compare(view.dataset.frame[column.name])
        train = groups.gather(view.splits.train.rows).unique()
        test = groups.gather(view.splits.test.rows).drop_nulls()
        shared = float(test.is_in(train.implode()).mean() or 0.0)  # type: ignore[arg-type]
        if shared > LARGEST_GROUP:
            cure = f"data.split.by: {{group: {column.name}}}"
            figures = {"share": shared, "column": column.name, "groups": column.unique}
            findings.append(make_finding("torn-groups", "warning", column.name, cure, **figures))
    return findings


def dates_at_random(view: AuditContext) -> list[Finding]:
    """Find date columns whose rows a random split mixes."""
    if view.splitter is None or view.splitter.name not in ("random", "stratified"):
        return []
    dates = [column.name for column in view.columns if column.type == "datetime"]
    if not dates or not view.dataset.kind.has_feature_columns:
        return []
    return [make_finding("dates-at-random", "note", dates[0], f"data.split.by: {{time: {dates[0]}}}")]
