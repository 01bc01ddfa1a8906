"""Columns that carry little, or less than they could: constant, empty, skewed, spelt in several ways; broken images."""

import numpy as np
import polars as pl

from danlu.data.audit.finding import AuditContext, Finding, make_finding
from danlu.data.columns import Column
from danlu.data.frames import present
from danlu.data.images.decode import find_suspicious
from danlu.data.images.gray_levels import learn_gray_levels
from danlu.data.messages import reason
from danlu.data.sources.image_files import SUFFIXES, TEXT_SUFFIXES, advice_for, decodable_formats
from danlu.data.tabular.categories import normalize_spelling
from danlu.errors import DataError

ALMOST_ALL, MOSTLY = 0.995, 0.5
SKEWED = 10.0  # third standardised moment; an exponential distribution has 2
MANY_VALUES = 50
LARGE = 1e100  # beyond, cubes are infinite


def constant_columns(view: AuditContext) -> list[Finding]:
    """Find columns that are (almost) constant, or mostly missing."""
    findings: list[Finding] = []
    for column in view.columns:
        rows = view.dataset.frame.height
        if column.reason == reason("in-messages"):  # read with the messages, and not left out
            continue
        if column.missing > MOSTLY * rows:
            share = column.missing / rows
            findings.append(_note("mostly-missing", column, _drop(column), missing=share))
        elif column.unique == 1:
            findings.append(_note("constant", column))
        elif column.used and column.type in ("number", "category"):
            values = present(view.values[column.name])
            largest = _largest_count(values)
            if len(values) and largest >= ALMOST_ALL * len(values):
                share = largest / len(values)
                findings.append(_note("nearly-constant", column, _drop(column), share=share))
    return findings


def inconsistent_spelling(view: AuditContext) -> list[Finding]:
    """Find categories whose values differ only in case and white space."""
    findings: list[Finding] = []
    schema = view.dataset.frame.schema
    for column in view.dataset.used:
        if column.type != "category" or schema[column.name] != pl.String:
            continue
        words = view.values[column.name].drop_nulls().unique(maintain_order=True)
        groups = pl.DataFrame({"word": words, "folded": normalize_spelling(words)}).group_by(
            "folded", maintain_order=True
        )
        variants = [group["word"].to_list() for _, group in groups if group.height > 1]
        if variants:
            shown = [" = ".join(map(repr, group)) for group in variants]
            cure = "data.clean.categories: merge"
            findings.append(make_finding("spellings", "warning", column.name, cure, shown=shown, variants=variants))
    return findings


def column_shapes(view: AuditContext) -> list[Finding]:
    """Find extreme skew, infinite values, numbers stored as strings, and high-cardinality categories."""
    findings: list[Finding] = []
    worded: list[str] = []
    for column in view.dataset.used:
        values = present(view.values[column.name])
        if column.type == "category":
            if column.unique > MANY_VALUES and column.unique > 0.05 * view.train.height:
                cure = f"data.columns: {{{column.name}: {{encode: target}}}}"
                findings.append(_note("many-values", column, cure, values=column.unique))
        elif column.type == "number" and values.dtype == pl.String:
            worded.append(column.name)
            findings += _number(column, values.str.strip_chars().cast(pl.Float64, strict=False).drop_nulls().to_numpy())
        elif column.type == "number" and values.dtype.is_numeric():
            findings += _number(column, values.cast(pl.Float64).to_numpy())
    if worded:
        findings.append(make_finding("numbers-as-words", "note", columns=worded))
    return findings


def _number(column: Column, values: np.ndarray) -> list[Finding]:
    findings: list[Finding] = []
    finite = np.isfinite(values)
    if not finite.all():
        infinite = int(np.isinf(values).sum())
        if infinite:
            findings.append(_note("infinite", column, infinite=infinite))
        values = values[finite]
    if len(values) <= 2:
        return findings
    ordered = np.sort(values)
    if ordered[0] < -LARGE or ordered[-1] > LARGE:
        values = np.clip(values, -LARGE, LARGE)
    away = values - values.mean()
    spread = np.sqrt((away * away).mean())
    if spread > 0 and np.count_nonzero(ordered[1:] != ordered[:-1]) > 1:
        skew = float(((away / spread) ** 3).mean())
        if abs(skew) > SKEWED:
            findings.append(_note("skewed", column, f"data.columns: {{{column.name}: {{scale: log1p}}}}", skew=skew))
    return findings


def _largest_count(values: pl.Series) -> int:
    """Return how often the commonest value occurs, if more than half of all are it; 0 without any."""
    if values.dtype.is_float() and len(values):
        numbers = values.to_numpy()
        middle = np.partition(numbers, len(numbers) // 2)[len(numbers) // 2]  # the commonest of more than half is it
        return int(np.count_nonzero(numbers == middle))
    return max(values.rename("value").value_counts()["count"].to_list(), default=0)


def _drop(column: Column) -> str:
    return f"data.columns: {{{column.name}: drop}}" if column.used else ""


def _note(key: str, column: Column, cure: str = "", **figures: float) -> Finding:
    return make_finding(key, "note", column.name, cure, **figures)


def broken_images(view: AuditContext) -> list[Finding]:
    """Find images that training would refuse.

    Damage inside a file may escape this quick look.
    """
    if not view.dataset.kind.refers_to_files:
        return []
    frames = view.frames.values()
    references = [value for frame in frames for value in frame[view.dataset.content].to_list()]
    broken = find_suspicious(references, view.dataset.folder)
    if not broken:
        return []
    return [
        make_finding(
            "broken-images",
            "error",
            mend="data.clean.broken: skip",
            broken=len(broken),
            looked_at=len(references),
            first=broken[0][1],
            images=[reason for _, reason in broken],
        )
    ]


def unread_files(view: AuditContext) -> list[Finding]:
    """Find files of the source folder that were not read; texts are no loss."""
    counts = view.dataset.form.unread
    if not counts:
        return []
    lost = {suffix for suffix in counts if suffix not in TEXT_SUFFIXES}
    named = [f"{count:,} {suffix or '-'}" for suffix, count in counts.items()]
    stray = any(SUFFIXES.get(suffix) in decodable_formats() for suffix in counts)
    return [
        make_finding(
            "unread-files",
            "warning" if lost else "note",
            mend=advice_for(lost) or ("put each image into the folder of its class" if stray else ""),
            files=sum(counts.values()),
            suffixes=named,
            counts=counts,
        )
    ]


def doubtful_encoding(view: AuditContext) -> list[Finding]:
    """Say that the text may be of another encoding, with what it would read."""
    form = view.dataset.form
    if not form.other_encodings:
        return []
    return [
        make_finding(
            "doubtful-encoding",
            "warning",
            mend=f"data.encoding: {form.encoding}",
            encoding=form.encoding,
            shown=[f"{name} {read!r} ({chosen!r})" for name, (chosen, read) in form.other_encodings.items()],
            readings={name: list(pair) for name, pair in form.other_encodings.items()},
        )
    ]


def gray_range(view: AuditContext) -> list[Finding]:
    """Say which values of 16-bit gray become black and white, if learned."""
    if not view.dataset.kind.refers_to_files:
        return []
    try:
        levels = learn_gray_levels(view.splits.train.column(view.dataset.content).to_list(), view.dataset.folder)
    except DataError:  # found by `broken_images`
        return []
    if levels is None:
        return []
    return [make_finding("gray-range", "note", view.dataset.content, low=levels[0], high=levels[1])]
