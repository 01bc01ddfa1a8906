"""The report's section on the network: the pictures that `danlu visualize` measured, drawn in the page's language.

In: the folder `visualize` of a run. Out: titles, sentences and figures for the template; nothing where there is none.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from danlu.artifacts.files import read_json
from danlu.artifacts.run import RunDirectory
from danlu.reporting.difference_page import confusion_section, difference_section
from danlu.reporting.figures.graph import graph_picture
from danlu.reporting.format import format_percent, shorten
from danlu.reporting.graph_page import graph_summary
from danlu.reporting.i18n import Translator
from danlu.reporting.network_pictures import DRAWERS
from danlu.reporting.run_reader import Json

FOLDER, RESULT = "visualize", "visualize.json"
NAMED = 6  # layers with dead units


def network_section(t: Translator, run: RunDirectory) -> Json:
    """Build the section on the network; empty where nothing was visualized."""
    folder = run.path / FOLDER
    if not (folder / RESULT).is_file():
        return {}
    result = read_json(folder / RESULT)
    parts = [_part(t, name, result[name], folder) for name in ("graph", *DRAWERS) if name in result]
    return {
        "parts": parts,
        "confused": confusion_section(t, result["confusion"]) if "confusion" in result else {},
        "difference": difference_section(t, result["difference"]) if "difference" in result else {},
    }


def _part(t: Translator, name: str, data: Json, folder: Path) -> Json:
    """Return one picture's title, sentences and figures."""
    if name == "graph":
        told = [graph_summary(t, data), t("graph.explained")]
        return {
            "key": "graph",
            "title": t("graph"),
            "told": told,
            "figures": [graph_picture(t, data)],
            "page": f"{FOLDER}/graph.html",
        }
    packed, arrays = folder / f"{name}.npz", dict[str, np.ndarray]()
    if packed.is_file():
        with np.load(packed, allow_pickle=False) as opened:
            arrays = {key: opened[key] for key in opened.files}
    figures = [figure.svg for figure in DRAWERS[name](t, data, arrays).values()]
    told = [t(f"look.{name}.explained"), *_said(t, name, data)]
    return {"key": f"look-{name}", "title": t(f"look.{name}"), "told": told, "figures": figures, "page": ""}


def _said(t: Translator, name: str, data: Json) -> list[str]:
    """Return what a picture's numbers say in words."""
    if name == "embeddings":
        first, second = (format_percent(round(share, 3)) for share in data["explained"])
        return [t("look.pca", first=first, second=second)]
    if name == "activations":
        return activation_sentences(t, data)
    return []


def activation_sentences(t: Translator, data: Mapping[str, Json]) -> list[str]:
    """Name dead units and saturated layers; say where there is none."""
    layers = list(data["states"].values())[-1]
    dead = [layer for layer in layers if layer["dead"]]
    saturated = [shorten(layer["name"], 60) for layer in layers if layer["is_saturated"]]
    sentences = []
    if dead:
        named = [
            t(
                "look.units",
                layer=shorten(layer["name"], 60),
                count=f"{layer['dead']:,}",
                units=t.join(map(str, layer["dead_units"][:NAMED])) + (" …" if layer["dead"] > NAMED else ""),
            )
            for layer in dead[:NAMED]
        ]
        sentences.append(t("look.dead", names=t.join(named) + (" …" if len(dead) > NAMED else "")))
    if saturated:
        sentences.append(t("look.saturated", names=t.join(saturated[:NAMED])))
    return sentences or [t("look.healthy", rows=t.count(int(str(data["rows"])), "row"))]
