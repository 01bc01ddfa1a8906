"""Shows what augmentation does: a contact sheet of images as PNG, or a page of texts or rows of a table as HTML.

In: some samples as they are and as several epochs change them. Out: bytes of a file that needs nothing else.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import Any

import numpy as np

from danlu.report.writing import short

CELL_INCHES = 1.5
PIXELS_AN_INCH = 110
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em}table{border-collapse:collapse;margin:0 0 2em}"
    "td,th{border:1px solid #8886;padding:.3em .6em;text-align:left;vertical-align:top}"
    "th{font-weight:600}b{color:#b3410a}:root{color-scheme:light dark}"
)


@dataclass(frozen=True)
class Version:
    """A sample as it is, or as one epoch changes it.

    Attributes:
        answer: its label or number, mixed where samples are.
        image: [side, side, channels] uint8, for images.
        fields: name to value, for texts and tables.
    """

    answer: str
    image: np.ndarray | None = None
    fields: dict[str, str] | None = None


@dataclass(frozen=True)
class Sample:
    """A training sample with its versions: the original first, then epoch after epoch."""

    name: str
    versions: tuple[Version, ...]


def contact_sheet(samples: Sequence[Sample]) -> bytes:
    """A PNG: one sample a row, the original on the left, an epoch a column."""
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
            axis.set_title(f"{heading(column)}\n{axis.get_title()}", fontsize=8)
        held = BytesIO()
        figure.savefig(held, format="png", dpi=PIXELS_AN_INCH, metadata={"Software": None})
    return held.getvalue()


def _cell(axis: Any, version: Version) -> None:
    assert version.image is not None
    gray = version.image.shape[2] == 1
    axis.imshow(version.image[:, :, 0] if gray else version.image, cmap="gray", vmin=0, vmax=255)
    axis.set_title("\n".join(short(part, 22) for part in version.answer.split(" + ")), fontsize=8)
    axis.set_xticks([])
    axis.set_yticks([])


def heading(column: int) -> str:
    """What a column of versions shows."""
    return "original" if column == 0 else f"epoch {column}"


def page(title: str, samples: Sequence[Sample]) -> bytes:
    """An HTML page: a table for each sample, a version a row; what differs from the original is bold."""
    tables = "".join(f"<h2>{escape(sample.name)}</h2>{_table(sample)}" for sample in samples)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style><h1>{escape(title)}</h1>{tables}</html>\n"
    ).encode()


def _table(sample: Sample) -> str:
    original = sample.versions[0].fields or {}
    head = "".join(f"<th>{escape(name)}</th>" for name in ("", *original, "answer"))
    rows = [f"<tr>{head}</tr>"]
    for column, version in enumerate(sample.versions):
        cells = [f"<th>{heading(column)}</th>"]
        for name, value in (version.fields or {}).items():
            cells.append(f"<td>{_marked(value, original[name])}</td>")
        cells.append(f"<td>{_marked(version.answer, sample.versions[0].answer)}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{''.join(rows)}</table>"


def _marked(value: str, original: str) -> str:
    """A value with what is new in it bold, word by word."""
    before, after = original.split(" "), value.split(" ")
    if before == after:
        return escape(value)
    from difflib import SequenceMatcher

    pieces: list[str] = []
    for kind, _, _, start, end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        words = escape(" ".join(after[start:end]))
        pieces.append(words if kind == "equal" else "<b>·</b>" if kind == "delete" else f"<b>{words}</b>")
    return " ".join(pieces)
