"""New rows beside what a bundle tells of its training data: columns, gaps, ranges, unseen values, drift.

In: raw rows and reference.json. Out: plain values and findings. The reference holds quantiles and shares, not rows, so
a distance between distributions of numbers is a lower bound, taken at the quantiles.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from danlu.data.audit.drift import ALARM_RATE, LEAST_DISTANCE, MIN_ROWS, chi_squared_of_counts, kolmogorov_chance
from danlu.data.audit.finding import SEVERITIES, Finding, make_finding
from danlu.data.descriptors import RawData
from danlu.data.frames import Table
from danlu.data.reading.later import ROW_ERROR
from danlu.data.reading.spelling import match
from danlu.data.reference import QUANTILES, measured

FAR = 1.0  # of the training range's width: a single value farther outside than this is no chance
MAX_UNSEEN = 20  # unseen values that are listed

Json = dict[str, Any]


@dataclass(frozen=True)
class _View:
    """Hold one column of the new rows and what training says of it.

    Attributes:
        raw: as it is written.
        values: as it is compared.
        before: its entry in reference.json.
        trained: rows of the training data.
        tests: how many columns are tested, for the rate of false alarms.
        folder: where the paths of images start.
    """

    name: str
    type: str
    raw: pl.Series
    values: pl.Series
    before: Mapping[str, Any]
    trained: int
    tests: int
    folder: Path


def compare_with_training(
    source: RawData,
    written: Table,
    columns: Sequence[Mapping[str, Any]],
    target: Sequence[str],
    reference: Mapping[str, Any] | None,
) -> Json:
    """Compare new rows with the training data of a bundle.

    Args:
        source: the rows, read as the bundle says.
        written: the same rows before their words became values, without those that stand for a missing value.
        columns: the bundle's, with name and type.
        target: columns of the target, which need not be there.
        reference: of the bundle; None where it keeps none.

    Returns:
        origin, rows, columns (missing, unreadable, unseen, outside and drift of each), missing_columns, extra_columns,
        and findings, the most severe first.
    """
    frame, known = source.frame, {str(each["name"]): str(each["type"]) for each in columns}
    missing = [name for name in known if name not in frame.columns]
    extra = [name for name in frame.columns if name not in (*known, *target, ROW_ERROR)]
    findings = [make_finding("absent-column", "error", about=name) for name in missing]
    if extra:
        findings.append(make_finding("extra-columns", "note", columns=extra))
    if reference is None:
        findings.append(make_finding("no-reference", "note"))
    shown: list[Json] = []
    before, trained = ({}, 0) if reference is None else (reference["columns"], int(reference["rows"]))
    for name, column_type in known.items():
        if name in missing or name not in before:
            continue
        raw, values = (written if name in written.columns else frame)[name], measured(frame[name], column_type)
        told, found = _compare(_View(name, column_type, raw, values, before[name], trained, len(before), source.folder))
        shown.append(told)
        findings += found
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return {
        "origin": source.origin,
        "rows": frame.height,
        "columns": shown,
        "missing_columns": missing,
        "extra_columns": extra,
        "findings": [finding.model_dump() for finding in findings],
    }


def _compare(view: _View) -> tuple[Json, list[Finding]]:
    """Compare one column."""
    told: Json = {"name": view.name, "type": view.type}
    findings: list[Finding] = []
    for look in (_gaps, _unreadable, _unseen, _outside, _drift):
        more, finding = look(view)
        told |= more
        findings += finding
    return told, findings


def _gaps(view: _View) -> tuple[Json, list[Finding]]:
    """Compare the shares of missing values."""
    rows, absent = len(view.raw), _absent(view.raw)
    share, before = absent / max(1, rows), float(view.before["missing"])
    told = {"missing": {"value": share, "reference": before}}
    gaps = round(before * view.trained)
    _, chance = chi_squared_of_counts(np.array([[absent, rows - absent], [gaps, view.trained - gaps]]))
    is_whole = absent == rows and before < 1.0
    is_alarming = rows >= MIN_ROWS and share - before >= LEAST_DISTANCE and chance * view.tests < ALARM_RATE
    if not (is_whole or is_alarming):
        return told, []
    return told, [make_finding("more-gaps", "warning", about=view.name, missing=share, before=before)]


def _absent(values: pl.Series) -> int:
    return int((values.fill_nan(None) if values.dtype.is_float() else values).null_count())


def _unreadable(view: _View) -> tuple[Json, list[Finding]]:
    """Count the values that are there and cannot be read as the column's type."""
    plain = view.raw.fill_nan(None) if view.raw.dtype.is_float() else view.raw
    unread = plain.filter(view.values.is_null() & plain.is_not_null())
    wrong = _broken_images(view) if view.type == "image" else unread
    if len(wrong) == 0:
        return {"unreadable": 0}, []
    shown = [str(value) for value in wrong.unique(maintain_order=True).head(MAX_UNSEEN).to_list()]
    figures: Json = {"count": len(wrong), "rows": len(plain), "type": view.type, "shown": shown}
    return {"unreadable": len(wrong)}, [make_finding("unreadable-values", "error", about=view.name, **figures)]


def _broken_images(view: _View) -> pl.Series:
    """Return the names of the images that cannot be decoded."""
    from danlu.data.images.decode import find_unreadable, name_of

    references = view.values.drop_nulls().to_list()
    broken = [name_of(references[place], Path()) for place, _ in find_unreadable(references, view.folder)]
    return pl.Series(broken, dtype=pl.String)


def _unseen(view: _View) -> tuple[Json, list[Finding]]:
    """Count the categories that training did not have, where the reference lists them all."""
    shares = view.before.get("shares")
    if shares is None or view.before["others"] > 0:
        return {}, []
    present = view.values.drop_nulls()
    new = present.filter(match(present, list(shares)).is_null()).rename("value")
    counted = new.value_counts(name="rows").sort(["rows", "value"], descending=[True, False])
    told = {"unseen": dict(counted.head(MAX_UNSEEN).rows()), "unseen_rows": len(new)}
    if len(new) == 0:
        return told, []
    key = "nothing-seen" if len(new) == len(present) else "unseen-values"
    figures: Json = {"count": len(new), "rows": len(view.values), "shown": [f"{v} ({n:,})" for v, n in counted.rows()]}
    return told, [make_finding(key, "warning", about=view.name, **figures)]


def _outside(view: _View) -> tuple[Json, list[Finding]]:
    """Count the numbers and dates beyond the least and the largest of training."""
    quantiles = view.before.get("quantiles")
    if not quantiles or view.type == "text":
        return {}, []
    low, high, values = quantiles[0], quantiles[-1], view.values.drop_nulls()
    below, above = int((values < low).sum()), int((values > high).sum())
    words = [_readable(edge, view.type) for edge in (low, high)]
    told = {"outside": {"below": below, "above": above, "low": words[0], "high": words[1]}}
    if below + above == 0:
        return told, []
    reach = FAR * (high - low)
    far = bool(((values < low - reach) | (values > high + reach)).any())
    chance = 2 * _chance_beyond(max(below, above), len(values), view.trained)
    is_alarming = far or chance * view.tests < ALARM_RATE
    figures: Json = {"count": below + above, "rows": len(view.values), "low": str(words[0]), "high": str(words[1])}
    return told, [make_finding("outside-range", "warning" if is_alarming else "note", about=view.name, **figures)]


def _chance_beyond(count: int, rows: int, trained: int) -> float:
    """Return the probability that `count` or more new values exceed the largest of training.

    Of rows in any order: that the largest `count` of all are among the new ones.
    """
    places = np.arange(count)
    return float(np.prod((rows - places) / (rows + trained - places)))


def _readable(edge: float, column_type: str) -> float | str:
    """Return an end of a range as people know it: a date as a date."""
    if column_type != "datetime":
        return edge
    return datetime.fromtimestamp(edge, UTC).replace(tzinfo=None).isoformat(sep=" ")


def _drift(view: _View) -> tuple[Json, list[Finding]]:
    """Test whether the values are distributed as in training."""
    present = view.values.drop_nulls() if view.values.dtype != pl.Binary else view.values.clear()
    trained = round(view.trained * (1 - float(view.before["missing"])))
    if min(len(present), trained) < MIN_ROWS:
        return {"drift": None}, []
    if view.before.get("quantiles"):
        distance = _distance_at_quantiles(np.array(view.before["quantiles"]), np.sort(present.to_numpy()))
        chance = kolmogorov_chance(distance, trained, len(present))
    elif "shares" in view.before:
        distance, chance = chi_squared_of_counts(_counts(view.before, present, trained))
    else:
        return {"drift": None}, []
    told = {"drift": {"distance": distance, "p": chance}}
    if distance < LEAST_DISTANCE or chance * view.tests >= ALARM_RATE:
        return told, []
    return told, [make_finding("drifted", "warning", about=view.name, distance=distance)]


def _distance_at_quantiles(quantiles: np.ndarray, values: np.ndarray) -> float:
    """Return a lower bound of the Kolmogorov-Smirnov distance to a distribution known by its quantiles.

    At the quantile of a share p at least p lies at or below it, and at most p below it.
    """
    upto = np.searchsorted(values, quantiles, "right") / len(values)
    below = np.searchsorted(values, quantiles, "left") / len(values)
    return float(np.maximum(0.0, np.maximum(QUANTILES - upto, below - QUANTILES)).max())


def _counts(before: Mapping[str, Any], present: pl.Series, trained: int) -> np.ndarray:
    """Count each value in training and in the new rows, [2, values].

    The last column is of all that are not listed.
    """
    listed = list(before["shares"])
    found = dict(match(present, listed).drop_nulls().rename("value").value_counts(name="rows").rows())
    then = [share * trained for share in before["shares"].values()] + [before["others"] * trained]
    now = [found.get(name, 0) for name in listed]
    return np.array([then, [*now, len(present) - sum(now)]], dtype=np.float64)
