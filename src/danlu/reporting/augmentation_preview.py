"""Previews of augmentation: a contact sheet of images as PNG, or a page of texts or table rows as HTML.

In: some samples, unchanged and as several epochs augment them. Out: bytes of a self-contained file.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import Any

import numpy as np

from danlu.reporting.format import shorten

CELL_INCHES = 1.5
PIXELS_AN_INCH = 110
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em}table{border-collapse:collapse;margin:0 0 2em}"
    "td,th{border:1px solid #8886;padding:.3em .6em;text-align:left;vertical-align:top}"
    "th{font-weight:600}b{color:#b3410a}:root{color-scheme:light dark}"
)


@dataclass(frozen=True)
class SampleVersion:
    """Hold a sample, unchanged or as one epoch augments it.

    Attributes:
        answer: its label or number, mixed if samples are mixed.
        image: [side, side, channels] uint8, for images.
        fields: name to value, for texts and tables.
    """

    answer: str
    image: np.ndarray | None = None
    fields: dict[str, str] | None = None


@dataclass(frozen=True)
class AugmentedSample:
    """Hold a training sample with its versions: the original first, then epoch after epoch."""

    name: str
    versions: tuple[SampleVersion, ...]


def contact_sheet(samples: Sequence[AugmentedSample]) -> bytes:
    """Draw a PNG: a row per sample, the original left, then an epoch per column."""
    import matplotlib
    from matplotlib.figure import Figure

    columns = len(samples[0].versions)
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        matplotlib.rcdefaults()
        matplotlib.rcParams["text.parse_math"] = False  # a class may be called "$x"
        figure = Figure(figsize=(CELL_INCHES * columns, CELL_INCHES * 1.2 * len(samples)), layout="constrained")
        grid = figure.subplots(len(samples), columns, squeeze=False)
        for axes, sample in zip(grid, samples, strict=True):
            for column, (axis, version) in enumerate(zip(axes, sample.versions, strict=True)):
                _cell(axis, version)
                if column == 0:
                    axis.set_ylabel(sample.name, fontsize=8)
        for column, axis in enumerate(grid[0]):
            axis.set_title(f"{column_heading(column)}\n{axis.get_title()}", fontsize=8)
        held = BytesIO()
        figure.savefig(held, format="png", dpi=PIXELS_AN_INCH, metadata={"Software": None})
    return held.getvalue()


def _cell(axis: Any, version: SampleVersion) -> None:
    assert version.image is not None
    gray = version.image.shape[2] == 1
    axis.imshow(version.image[:, :, 0] if gray else version.image, cmap="gray", vmin=0, vmax=255)
    axis.set_title("\n".join(shorten(part, 22) for part in version.answer.split(" + ")), fontsize=8)
    axis.set_xticks([])
    axis.set_yticks([])


def column_heading(column: int) -> str:
    """Return the heading of a column of versions."""
    return "original" if column == 0 else f"epoch {column}"


def augmentation_page(title: str, samples: Sequence[AugmentedSample]) -> bytes:
    """Build an HTML page: a table per sample, a row per version, changes in bold."""
    tables = "".join(f"<h2>{escape(sample.name)}</h2>{_table(sample)}" for sample in samples)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style><h1>{escape(title)}</h1>{tables}</html>\n"
    ).encode()


def _table(sample: AugmentedSample) -> str:
    original = sample.versions[0].fields or {}
    head = "".join(f"<th>{escape(name)}</th>" for name in ("", *original, "answer"))
    rows = [f"<tr>{head}</tr>"]
    for column, version in enumerate(sample.versions):
        cells = [f"<th>{column_heading(column)}</th>"]
        for name, value in (version.fields or {}).items():
            cells.append(f"<td>{_highlight_changes(value, original[name])}</td>")
        cells.append(f"<td>{_highlight_changes(version.answer, sample.versions[0].answer)}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{''.join(rows)}</table>"


def _highlight_changes(value: str, original: str) -> str:
    """Mark the words that differ from the original in bold."""
    before, after = original.split(" "), value.split(" ")
    if before == after:
        return escape(value)
    from difflib import SequenceMatcher

    pieces: list[str] = []
    for change, _, _, start, end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        words = escape(" ".join(after[start:end]))
        pieces.append(words if change == "equal" else "<b>·</b>" if change == "delete" else f"<b>{words}</b>")
    return " ".join(pieces)
