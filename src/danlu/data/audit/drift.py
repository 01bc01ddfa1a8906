"""Differences between the splits: column by column, and by a classifier that predicts which split a row is from."""

import math
from typing import Any

import numpy as np
import polars as pl

from danlu.data.audit.classifier import auroc, features_of, out_of_fold
from danlu.data.audit.finding import AuditContext, Finding, make_finding
from danlu.data.frames import words_to_compare
from danlu.data.splits import evenly_spaced_rows

ALARM_RATE = 1e-3  # of all tests of a check together: one in a thousand sets without drift raises an alarm
LEAST_DISTANCE = 0.1  # between distributions; less may be significant in large data, but does not matter
LEAST_AUROC, MAX_COMPARED = 0.55, 4_000
FAR = 1.0  # widths of the training range: a value farther outside is no chance
MIN_ROWS = 20  # minimum rows of a distribution


def drifting_columns(view: AuditContext) -> list[Finding]:
    """Find columns whose distribution differs between training and another split.

    By the Kolmogorov-Smirnov and the chi-squared test.
    """
    columns = [column for column in view.dataset.used if column.type in ("number", "category", "datetime")]
    parts = [name for name in ("validation", "test") if view.frames[name].height >= MIN_ROWS]
    apart: list[tuple[float, str, str]] = []
    for name in parts:
        for column in columns:
            one, other = view.train[column.name], view.frames[name][column.name]
            words = column.type == "category" or one.dtype == pl.String
            distance, chance = _chi_squared(one, other) if words else _kolmogorov_smirnov(one, other)
            if distance >= LEAST_DISTANCE and chance * len(columns) * len(parts) < ALARM_RATE:
                apart.append((distance, column.name, name))
    if not apart:
        return []
    told = [{"column": c, "split": s, "distance": d} for d, c, s in sorted(apart, reverse=True)]
    return [make_finding("drifting-columns", "warning", count=len({column for _, column, _ in apart}), columns=told)]


def far_values(view: AuditContext) -> list[Finding]:
    """Find numbers of the validation and test splits that lie far outside the training range."""
    columns = [column for column in view.dataset.used if column.type == "number"]
    found = (_far(view, name, column.name) for column in columns for name in ("validation", "test"))
    return [finding for finding in found if finding is not None]


def _far(view: AuditContext, part: str, column: str) -> Finding | None:
    """Compare a split's column with its training range; None if nothing is far outside."""
    values, known = (view.frames[name][column].drop_nulls() for name in (part, "train"))
    if min(len(values), len(known)) == 0 or known.dtype == pl.String:
        return None
    trained, tested = (np.asarray(each.cast(pl.Float64).to_numpy()) for each in (known, values))
    low, high = float(np.nanmin(trained)), float(np.nanmax(trained))
    reach = FAR * (high - low)
    count = int(((tested < low - reach) | (tested > high + reach)).sum())
    if count == 0 or reach == 0:
        return None
    told: dict[str, Any] = {
        "count": count,
        "rows": len(tested),
        "split": part,
        "low": f"{low:.4g}",
        "high": f"{high:.4g}",
    }
    return make_finding("far-values", "warning", about=column, **told)


def _kolmogorov_smirnov(one: pl.Series, other: pl.Series) -> tuple[float, float]:
    """Return the Kolmogorov-Smirnov distance and its p-value."""
    first, second = (np.sort(values.drop_nulls().cast(pl.Float64).to_numpy()) for values in map(_numeric, (one, other)))
    if min(len(first), len(second)) < MIN_ROWS:
        return 0.0, 1.0
    points = np.concatenate([first, second])
    gaps = np.searchsorted(first, points, "right") / len(first) - np.searchsorted(second, points, "right") / len(second)
    distance = float(np.abs(gaps).max())
    return distance, kolmogorov_chance(distance, len(first), len(second))


def kolmogorov_chance(distance: float, first: int, second: int) -> float:
    """Return the p-value of a Kolmogorov-Smirnov distance between samples of so many rows."""
    from scipy.special import kolmogorov

    effective = math.sqrt(first * second / (first + second))
    return float(kolmogorov((effective + 0.12 + 0.11 / effective) * distance))


def _numeric(values: pl.Series) -> pl.Series:
    return values.cast(pl.Int64) if values.dtype.is_temporal() else values


def _chi_squared(one: pl.Series, other: pl.Series) -> tuple[float, float]:
    """Return the total variation distance and the p-value of a chi-squared test."""
    words = pl.concat([words_to_compare(one), words_to_compare(other)]).fill_null("\0")
    codes = words.rank("dense").to_numpy().astype(np.int64) - 1
    parts = (codes[: len(one)], codes[len(one) :])
    return chi_squared_of_counts(np.stack([np.bincount(part, minlength=codes.max() + 1) for part in parts]))


def chi_squared_of_counts(counts: np.ndarray) -> tuple[float, float]:
    """Return the total variation distance and the p-value of a chi-squared test.

    Args:
        counts: of each value in the one sample and in the other, [2, values].
    """
    from scipy.special import chdtrc

    total, sizes = counts.sum(axis=0), counts.sum(axis=1)
    # Values too rare for the approximation are one value together.
    rare = total * sizes.min() / sizes.sum() < 5
    counts = np.column_stack([counts[:, ~rare], counts[:, rare].sum(axis=1)])
    counts = counts[:, counts.sum(axis=0) > 0]
    if counts.shape[1] < 2:
        return 0.0, 1.0
    expected = np.outer(sizes, counts.sum(axis=0)) / sizes.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    shares = counts / sizes[:, None]
    return float(np.abs(shares[0] - shares[1]).sum() / 2), float(chdtrc(counts.shape[1] - 1, statistic))


def adversarial_validation(view: AuditContext) -> list[Finding]:
    """Find out whether a classifier can tell training rows from test rows.

    Classifier two-sample test on held-out rows (Lopez-Paz & Oquab 2017, https://arxiv.org/abs/1610.06545).
    """
    if not view.dataset.kind.has_feature_columns or view.frames["test"].height < MIN_ROWS:
        return []
    test = view.frames["test"][evenly_spaced_rows(view.frames["test"].height, MAX_COMPARED // 2)]
    train = view.train[evenly_spaced_rows(view.train.height, min(MAX_COMPARED // 2, 4 * test.height))]
    names = [column.name for column in view.dataset.used]
    both = pl.concat([train.select(names), test.select(names)])
    labels = (np.arange(both.height) >= train.height).astype(np.int64)
    seed = view.seed.derive("told-apart")
    chances = out_of_fold(features_of(both, view.dataset.used, seed), labels, 2, seed)[:, 1]
    score = auroc(chances, labels == 1)
    deviation = math.sqrt((both.height + 1) / (12 * train.height * test.height))
    if score < LEAST_AUROC or (score - 0.5) / deviation < 3.3:
        return []
    return [make_finding("told-apart", "warning", auroc=score, deviation=deviation)]
