"""Columns that carry little, or less than they could: constant, empty, skewed, spelt in several ways."""

import numpy as np
import polars as pl

from danlu.data.audit.finding import Finding, View, some
from danlu.data.columns import Column
from danlu.data.tabular.categories import fold_spelling

ALMOST_ALL, MOSTLY = 0.995, 0.5
SKEWED = 10.0  # third standardised moment; an exponential distribution has 2
MANY_VALUES = 50


def idle_columns(view: View) -> list[Finding]:
    """Columns that are (almost) the same everywhere, or mostly missing."""
    found: list[Finding] = []
    for column in view.columns:
        rows = view.dataset.frame.height
        if column.missing > MOSTLY * rows:
            share = column.missing / rows
            found.append(_note(column, f"is missing in {share:.0%} of the rows", _drop(column), missing=share))
        elif column.unique == 1:
            found.append(_note(column, "is the same in every row, so it tells nothing; it is left out", ""))
        elif column.used and column.type in ("number", "category"):
            values = view.train[column.name].drop_nulls()
            largest = max(values.rename("value").value_counts()["count"].to_list(), default=0)
            if len(values) and largest >= ALMOST_ALL * len(values):
                share = largest / len(values)
                found.append(_note(column, f"is the same in {share:.1%} of the rows", _drop(column), share=share))
    return found


def spellings(view: View) -> list[Finding]:
    """Categories whose values differ only in case and white space."""
    found: list[Finding] = []
    for column in view.dataset.used:
        if column.type != "category" or view.dataset.frame.schema[column.name] != pl.String:
            continue
        words = view.train[column.name].drop_nulls().unique(maintain_order=True)
        groups = pl.DataFrame({"word": words, "folded": fold_spelling(words)}).group_by("folded", maintain_order=True)
        variants = [group["word"].to_list() for _, group in groups if group.height > 1]
        if variants:
            shown = some([" = ".join(map(repr, group)) for group in variants])
            found.append(
                Finding(
                    severity="warning",
                    subject=column.name,
                    message=f"has values that differ only in case and white space: {shown}",
                    cure="data.clean.categories: merge",
                    figures={"variants": variants},
                )
            )
    return found


def shapes(view: View) -> list[Finding]:
    """Numbers of extreme skew, infinite values, numbers written as words, and categories of very many values."""
    found: list[Finding] = []
    worded: list[str] = []
    for column in view.dataset.used:
        values = view.train[column.name].drop_nulls()
        if column.type == "category":
            if column.unique > MANY_VALUES and column.unique > 0.05 * view.train.height:
                message = f"has {column.unique:,} values, few rows for each"
                found.append(_note(column, message, f"data.columns: {{{column.name}: {{encode: target}}}}"))
        elif column.type == "number" and values.dtype == pl.String:
            worded.append(column.name)
            found += _number(column, values.str.strip_chars().cast(pl.Float64, strict=False).drop_nulls().to_numpy())
        elif column.type == "number" and values.dtype.is_numeric():
            found += _number(column, values.cast(pl.Float64).to_numpy())
    if worded:
        message = f"{some(worded)} hold numbers written as words; they are read as numbers"
        found.append(Finding(severity="note", subject="numbers as words", message=message))
    return found


def _number(column: Column, values: np.ndarray) -> list[Finding]:
    found: list[Finding] = []
    infinite = int(np.isinf(values).sum())
    if infinite:
        found.append(_note(column, f"is infinite in {infinite:,} rows, which count as missing", "", infinite=infinite))
    values = np.clip(values[np.isfinite(values)], -1e100, 1e100)
    spread = values.std() if len(values) > 2 else 0.0
    if spread > 0 and len(np.unique(values)) > 2:
        skew = float((((values - values.mean()) / spread) ** 3).mean())
        if abs(skew) > SKEWED:
            message = f"is very skewed ({skew:.0f}); a few values outweigh all others"
            found.append(_note(column, message, f"data.columns: {{{column.name}: {{scale: log1p}}}}", skew=skew))
    return found


def _drop(column: Column) -> str:
    return f"data.columns: {{{column.name}: drop}}" if column.used else ""


def _note(column: Column, message: str, cure: str, **figures: float) -> Finding:
    return Finding(severity="note", subject=column.name, message=message, cure=cure, figures=figures)
