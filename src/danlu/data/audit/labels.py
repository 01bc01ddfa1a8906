"""Problems of labels: classes of unequal size, missing from a split or spelt in several ways; probable errors."""

from typing import Any

import numpy as np
import polars as pl

from danlu.data.audit.classifier import features_of, out_of_fold
from danlu.data.audit.finding import AuditContext, Finding, make_finding
from danlu.data.splits import evenly_spaced_rows
from danlu.data.tabular.categories import normalize_spelling

SKEWED = 10  # times as many samples in the largest class as in the smallest
MOST_CLASSES, MOST_ROWS, FEWEST_ROWS = 20, 4_000, 100
UNLIKELY = 0.05  # the probability of its own label under which a row is listed
LISTED = 10


def class_sizes(view: AuditContext) -> list[Finding]:
    """Find classes of very unequal size, and classes missing from a split."""
    target = view.dataset.target
    if not view.dataset.task.has_classes or target is None:
        return []
    counts = {name: _counts(part.column(target)) for name, part in view.splits.items()}
    train = counts["train"]
    findings: list[Finding] = []
    for name in ("validation", "test"):
        absent = [str(label) for label in train if label not in counts[name]]
        if absent and counts[name]:  # a recipe may have no test split
            figures = {"split": name, "shown": [repr(label) for label in absent], "classes": absent}
            findings.append(make_finding("absent-classes", "warning", target, "data.split.by: stratified", **figures))
    (small, fewest), (large, most) = (pick(train.items(), key=lambda item: item[1]) for pick in (min, max))
    if most >= SKEWED * fewest and not view.balanced:
        ends = {"large": repr(large), "most": most, "small": repr(small), "fewest": fewest}
        counted = {str(label): count for label, count in train.items()}
        findings.append(
            make_finding("skewed-classes", "note", target, "data.balance: class-weights", **ends, classes=counted)
        )
    return findings


def label_spellings(view: AuditContext) -> list[Finding]:
    """Find classes and labels whose names differ only in case and white space."""
    target = view.dataset.target
    if target is None or view.dataset.frame.schema[target] != pl.String:
        return []
    values = pl.concat([part.column(target) for _, part in view.splits.items()])
    if view.dataset.task.label_matrix(values.head(1)) is not None:
        values = values.str.json_decode(pl.List(pl.String)).explode().drop_nulls()
    elif not view.dataset.task.has_classes:
        return []
    counts = _counts(values)
    labels = sorted(counts, key=lambda label: (-counts[label], label))
    folded = normalize_spelling(pl.Series(labels, dtype=pl.String)).to_list()
    groups: dict[str, list[str]] = {}
    for label, alike in zip(labels, folded, strict=True):
        groups.setdefault(alike, []).append(label)
    variants = {names[0]: {name: counts[name] for name in names} for names in groups.values() if len(names) > 1}
    if not variants:
        return []
    shown = [" = ".join(f"{name!r} ({count:,})" for name, count in names.items()) for names in variants.values()]
    return [make_finding("label-spellings", "warning", target, shown=shown, variants=variants)]


def _counts(values: pl.Series) -> dict[Any, int]:
    return dict(values.rename("label").value_counts().rows())


def label_errors(view: AuditContext) -> list[Finding]:
    """Find probable label errors among the training rows.

    Their label is very unlikely to models that have not seen them (confident learning, Northcutt et al. 2021,
    https://arxiv.org/abs/1911.00068). A row is listed where another class is more probable than that class usually is
    for its own rows.
    """
    if not view.dataset.task.has_classes or not view.dataset.kind.has_feature_columns:
        return []
    chosen = evenly_spaced_rows(view.train.height, MOST_ROWS)
    classes, labels = len(view.classes), view.labels[chosen]
    if not (2 <= classes <= MOST_CLASSES) or len(labels) < FEWEST_ROWS or np.bincount(labels).min() < 10:
        return []
    train, seed = view.train[chosen], view.seed.derive("labels")
    chances = out_of_fold(features_of(train, view.dataset.used, seed), labels, classes, seed)
    usual = np.array([chances[labels == code, code].mean() for code in range(classes)])
    confident = np.where(chances >= usual, chances, 0.0)
    likely, own = confident.argmax(axis=1), chances[np.arange(len(labels)), labels]
    doubtful = np.flatnonzero((confident.max(axis=1) > 0) & (likely != labels) & (own < UNLIKELY))
    if len(doubtful) == 0:
        return []
    worst = doubtful[np.argsort(own[doubtful])][:LISTED]
    rows = view.sample.train.rows[chosen[worst]].tolist()
    listed = [
        {"row": row, "number": row + 1, "label": str(view.classes[labels[at]]), "likely": str(view.classes[likely[at]])}
        for row, at in zip(rows, worst, strict=True)
    ]
    about = str(view.dataset.target)
    return [make_finding("doubtful-labels", "note", about, rows=listed, count=len(doubtful), of=len(labels))]
