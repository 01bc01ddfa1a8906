"""The files that a picture becomes: SVG, PNG, pages, JSON and arrays, and the list of all in a folder.

In: how pictures are measured. Out: files. What is drawn of what was measured is decided in `reporting`.
"""

from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from danlu.artifacts.files import json_bytes, translate_write_errors, write_bytes, write_json
from danlu.experiment.visualization import Measured
from danlu.reporting.i18n import Translator
from danlu.reporting.sections.network import RESULT

Json = dict[str, Any]
FORMAT = 1


def write_pictures(
    t: Translator, title: str, rows: int, pictures: Mapping[str, Callable[[], Measured]], folder: Path
) -> Json:
    """Measure and draw pictures into a folder, and list them in its `visualize.json`.

    Args:
        t: the language of the pictures.
        title: the model's name.
        rows: that the network is run on.
        pictures: how each is measured.
        folder: exists or is made.

    Returns:
        as `danlu visualize --json` prints it.
    """
    found, files = draw_pictures(t, title, pictures, folder)
    result = {"format": FORMAT, "model": title, "rows": rows, "files": files, **found}
    write_json(folder / RESULT, result)
    return result


def draw_pictures(
    t: Translator, title: str, pictures: Mapping[str, Callable[[], Measured]], folder: Path
) -> tuple[Json, list[Json]]:
    """Measure and draw pictures into a folder.

    Args:
        t: the language of the pictures.
        title: the model's name.
        pictures: how each is measured.
        folder: exists or is made.

    Returns:
        what was measured under each picture's name, and the entries of the files.
    """
    with translate_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    found: Json = {}
    files: list[Json] = []
    for name, measure in pictures.items():
        measured = measure()
        found[name] = measured.data
        files += write_picture(t, folder, name, title, measured)
    return found, files


def write_picture(t: Translator, folder: Path, name: str, title: str, measured: Measured) -> list[Json]:
    """Draw and write what was measured; return the entries of the files."""
    from danlu.reporting.network_pictures import DRAWERS

    contents: dict[str, bytes] = {}
    if name in PAGES:
        contents = PAGES[name](t, title, measured.data)
    else:
        for ending, figure in DRAWERS[name](t, measured.data, measured.arrays).items():
            contents |= figure.files(ending)
    contents[".json"] = json_bytes(measured.data)
    if measured.arrays:
        packed = BytesIO()
        np.savez_compressed(packed, **measured.arrays)  # type: ignore[arg-type]
        contents[".npz"] = packed.getvalue()
    for ending, content in contents.items():
        write_bytes(folder / f"{name}{ending}", content)
    return [
        {"picture": name, "path": str(folder / f"{name}{ending}"), "bytes": len(content)}
        for ending, content in contents.items()
    ]


def _graph_files(t: Translator, title: str, graph: Json) -> dict[str, bytes]:
    from danlu.reporting.figures.graph import graph_picture
    from danlu.reporting.figures.line_png import lines_png
    from danlu.reporting.figures.svg import as_file
    from danlu.reporting.graph_page import graph_page
    from danlu.reporting.model_explorer import model_explorer_graph

    svg = as_file(graph_picture(t, graph))
    return {
        ".html": graph_page(t, title, graph).encode(),
        ".svg": svg.encode(),
        ".png": lines_png(svg),
        ".model-explorer.json": json_bytes(model_explorer_graph(title, graph)),
    }


def _difference_files(t: Translator, title: str, difference: Json) -> dict[str, bytes]:
    from danlu.reporting.difference_page import difference_page
    from danlu.reporting.figures.layers import difference_lines

    page = {".html": difference_page(t, title, difference).encode()}
    return {**page, **difference_lines(t, difference).files()} if difference["layers"] else page


def _curve_files(t: Translator, title: str, curves: Json) -> dict[str, bytes]:
    from danlu.reporting.figures.bars import curve_files

    return curve_files(t, curves["log"])


def _confusion_files(t: Translator, title: str, confusion: Json) -> dict[str, bytes]:
    from danlu.reporting.difference_page import confusion_page

    return {".html": confusion_page(t, title, confusion).encode()}


# Pictures that are a page, or are drawn by another section's figures.
PAGES: dict[str, Callable[[Translator, str, Json], dict[str, bytes]]] = {
    "graph": _graph_files,
    "difference": _difference_files,
    "curves": _curve_files,
    "confusion": _confusion_files,
}
