"""What a report shows of explanations of images and texts: maps over images, and marked words.

In: `local` of explanation.json, and values.npz. Out: figures, words with the strength of their marks, rows of tables.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from danlu.reporting.figures.attributions import attribution_maps
from danlu.reporting.figures.layers import Drawn
from danlu.reporting.format import format_bound, format_number, shorten
from danlu.reporting.i18n import Translator
from danlu.reporting.run_reader import Json

LEVELS = 5  # of a word's mark
MOST_WORDS = 10  # in a table
Arrays = Mapping[str, np.ndarray]


def is_of_pixels(one: Json) -> bool:
    """Return whether an entry of `local` is of an image."""
    return "shape" in one


def is_of_words(one: Json) -> bool:
    """Return whether an entry of `local` is of a text."""
    return not is_of_pixels(one) and bool(one["values"]) and "start" in one["values"][0]


def draw_rows(t: Translator, local: Sequence[Json], arrays: Arrays, most: int | None = None) -> dict[int, Drawn]:
    """Draw each explained image with the maps of all methods, by row.

    Args:
        most: rows that are drawn at most, the first ones.
    """
    rows: dict[int, list[Json]] = {}
    for one in local:
        if is_of_pixels(one):
            rows.setdefault(one["row"], []).append(one)
    found = {}
    for row, methods in list(rows.items())[:most]:
        maps = [(one["method"], arrays[one["array"]].astype(np.float64)) for one in methods]
        answer = f"{methods[0]['label'] or ''} {format_number(methods[0]['answer'])}".strip()
        told = t("explanation.pixels.label", row=row, methods=t.join([one["method"] for one in methods]))
        found[row] = attribution_maps(f"explanation-{row}", told, (answer, arrays[f"local/{row}/input"]), maps)
    return found


def images(t: Translator, local: Sequence[Json], arrays: Arrays, most: int) -> list[Json]:
    """Return a figure and sentences for each explained image, the first ones."""
    pictures = draw_rows(t, local, arrays, most)
    found = []
    for row, picture in pictures.items():
        of_row = [one for one in local if one["row"] == row]
        told = [_sum(t, one) for one in of_row]
        found.append({"row": row, "label": of_row[0]["label"] or "", "svg": picture.svg, "told": told})
    return found


def texts(t: Translator, local: Sequence[Json], most: int) -> list[Json]:
    """Return the marked words of the first texts, for each method."""
    found: list[Json] = []
    counts: dict[str, int] = {}
    for one in local:
        counts[one["method"]] = counts.get(one["method"], 0) + 1
        if not is_of_words(one) or counts[one["method"]] > most:
            continue
        ordered = sorted(one["values"], key=lambda each: -abs(each["value"]))[:MOST_WORDS]
        found.append(
            {
                "row": one["row"],
                "method": one["method"],
                "label": shorten(one["label"] or "", 60),
                "about": one.get("about", ""),
                "told": _sum(t, one),
                "words": _marked(one["values"]),
                "rows": [(shorten(each["name"], 60), format_number(each["value"]), _between(each)) for each in ordered],
                "count": len(one["values"]),
            }
        )
    return found


def _marked(values: Sequence[Json]) -> list[Json]:
    """Return words with what stands between them, and how strongly each is marked."""
    largest = max(abs(each["value"]) for each in values)
    found, end = [], values[0]["start"]
    for each in values:
        level = round(LEVELS * abs(each["value"]) / largest) if largest > 0 else 0
        sign = "for" if each["value"] > 0 else "against"
        gap = " " if each["start"] > end else ""
        mark = f"{sign}{level}" if level else ""
        found.append({"gap": gap, "text": each["name"], "mark": mark, "value": format_number(each["value"])})
        end = each["end"]
    return found


def _sum(t: Translator, one: Json) -> str:
    """Say what is explained, and whether the values add up to it."""
    figures: dict[str, Any] = {
        "method": f"{one['method']} ({one['layer']})" if "layer" in one else one["method"],
        "scale": t(f"explanation.scale.{one['scale']}"),
        "answer": format_number(one["answer"]),
        "base": format_number(one["base"]),
    }
    if one["completeness_error"] is not None:
        error = format_number(one["completeness_error"])
        return t("explanation.network.complete", **figures, error=error)
    if one["fidelity"] is not None:
        return t("explanation.network.lime", **figures, fidelity=format_number(one["fidelity"]))
    return t("explanation.network.plain", **figures)


def _between(figure: Json) -> str:
    if figure["low"] is None or figure["low"] == figure["high"]:
        return "–"
    return f"{format_bound(figure['low'])} … {format_bound(figure['high'])}"
