"""Duplicates, exact or near: within a split, across splits, with contradicting labels."""

from typing import Any

import numpy as np
import polars as pl

from danlu.data.audit.finding import AuditContext, Finding, Severity, make_finding
from danlu.data.frames import is_duplicated, isin, row_hashes
from danlu.data.splits import evenly_spaced_rows

NEAR = 0.9  # similarity from which two texts or images count as copies
LONGEST_SHOWN = 60  # characters


def repeated_rows(view: AuditContext) -> list[Finding]:
    """Find validation and test rows that also stand in training, and duplicates within it."""
    inputs = row_hashes(view.dataset.frame, [column.name for column in view.dataset.used])
    train = np.sort(inputs[view.splits.train.rows])
    findings: list[Finding] = []
    for name, part in (("validation", view.splits.validation), ("test", view.splits.test)):
        shared = int(isin(inputs[part.rows], train).sum())
        if shared:
            severity: Severity = "error" if shared > 0.2 * len(part) else "warning"
            figures: dict[str, Any] = {"split": name, "rows": shared, "of": len(part), "share": shared / len(part)}
            findings.append(make_finding("repeated-rows", severity, mend="data.clean.duplicates: drop", **figures))
    within = int((train[1:] == train[:-1]).sum())
    if within:
        figures = {"split": "train", "rows": within, "of": len(view.splits.train)}
        findings.append(make_finding("repeated-within", "note", mend="data.clean.duplicates: drop", **figures))
    return findings


def contradicting_labels(view: AuditContext) -> list[Finding]:
    """Find rows with equal inputs and different classes.

    No model can be right about all of them.
    """
    target = view.dataset.target
    if not view.dataset.task.has_classes or target is None:
        return []
    kept = np.concatenate([part.rows for _, part in view.splits.items()])
    hashes = row_hashes(view.dataset.frame, [column.name for column in view.dataset.used])[kept]
    again = is_duplicated(hashes)
    pairs = pl.DataFrame({"inputs": hashes[again], "label": view.dataset.frame[target].gather(kept[again])})
    groups = pairs.group_by("inputs").agg(pl.col("label").n_unique().alias("labels"), pl.len().alias("rows"))
    rows = int(groups.filter(pl.col("labels") > 1)["rows"].sum())
    if rows == 0:
        return []
    share = rows / len(kept)
    severity: Severity = "warning" if share > 0.01 else "note"
    return [make_finding("contradictions", severity, rows=rows, of=len(kept), target=target, share=share)]


def near_copies(view: AuditContext) -> list[Finding]:
    """Find validation and test texts or images nearly equal to one in training."""
    kind, folder = view.dataset.kind, view.dataset.folder
    if kind.has_feature_columns:
        return []
    content, most = view.dataset.content, kind.max_compared_rows
    whole = sum(frame.height for frame in view.frames.values())
    frames = {
        name: frame[evenly_spaced_rows(frame.height, most * frame.height // whole + 1)]
        for name, frame in view.frames.items()
    }
    values = [value for frame in frames.values() for value in frame[content].to_list()]
    if not kind.can_compare(values, folder):
        return []  # broken images are another check's
    groups = kind.near_duplicates(values, folder, NEAR)
    sizes = np.cumsum([0, *(frame.height for frame in frames.values())])
    train = np.unique(groups[: sizes[1]])
    # Equal rows are another check's; of files, two equal ones have two names, so they count here.
    exact = set() if kind.refers_to_files else {str(value) for value in values[: sizes[1]]}
    findings: list[Finding] = []
    for index, name in ((1, "validation"), (2, "test")):
        rows = range(sizes[index], sizes[index + 1])
        copies = [row for row in rows if groups[row] in train and str(values[row]) not in exact]
        if copies:
            findings.append(
                make_finding(
                    kind.near_copies_finding,
                    "warning",
                    mend="data.clean.duplicates: near",
                    split=name,
                    rows=len(copies),
                    compared=len(rows),
                    shown=[_shown(values[row]) for row in copies],
                )
            )
    return findings


def _shown(value: str | bytes) -> str:
    if isinstance(value, bytes):
        return "an image given as bytes"
    return repr(value if len(value) < LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}…")
