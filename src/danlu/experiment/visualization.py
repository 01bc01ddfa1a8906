"""The pictures of a network: which there are, what each needs, and the files that it becomes.

In: a `Subject`. Out: files in a folder, and the JSON that `danlu visualize --json` prints. Measuring is done by
`inspection`, drawing by `reporting`; a picture is one line of `PICTURES`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.artifacts.files import json_bytes, translate_write_errors, write_bytes
from danlu.core.console import info
from danlu.errors import ArgumentError
from danlu.reporting.i18n import Translator

if TYPE_CHECKING:
    from danlu.inspection.subject import Subject

Json = dict[str, Any]
FORMAT = 1
RESULT = "visualize.json"
GRAPH_ROWS = 1


@dataclass(frozen=True)
class Drawing:
    """Hold what one picture becomes.

    Attributes:
        files: content by the end of the file's name: `.svg`, `-filters.png`.
        data: what was measured, as JSON.
    """

    files: Mapping[str, bytes]
    data: Json


@dataclass(frozen=True)
class Picture:
    """Describe a picture of a network.

    Attributes:
        draw: measures and draws.
        lacks: says what a subject lacks for it; empty where nothing.
    """

    draw: "Callable[[Translator, Subject], Drawing]"
    lacks: "Callable[[Subject], str]" = lambda subject: ""


def draw_graph(t: Translator, subject: "Subject") -> Drawing:
    """Trace, replay and draw the network's structure."""
    from danlu.inspection.graph import build_graph
    from danlu.reporting.figures.graph import graph_picture
    from danlu.reporting.figures.svg import as_file
    from danlu.reporting.graph_page import graph_page

    graph = build_graph(subject.network, subject.inputs(GRAPH_ROWS)).as_json()
    page, picture = graph_page(t, subject.name, graph), as_file(graph_picture(t, graph))
    return Drawing({".html": page.encode(), ".svg": picture.encode()}, graph)


PICTURES: dict[str, Picture] = {
    "graph": Picture(draw_graph),
}


def draw_pictures(t: Translator, subject: "Subject", names: Sequence[str], folder: Path, is_asked: bool) -> Json:
    """Draw pictures into a folder and return what was written.

    Args:
        t: the language of the pictures.
        subject: what is looked at.
        names: of the pictures, keys of `PICTURES`.
        folder: exists or is made.
        is_asked: whether the user named them; a picture that is not there for this model is then an error.

    Returns:
        `files`, and for `graph` the graph.

    Raises:
        ArgumentError: a picture was asked for that this model cannot have.
    """
    missing = {name: why for name in names if (why := PICTURES[name].lacks(subject))}
    if missing and is_asked:
        name, why = next(iter(missing.items()))
        raise ArgumentError(f"--only {name}: {subject.name} {why}", code="DL409")
    with translate_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files: list[Json] = []
    result: Json = {"format": FORMAT, "model": subject.name, "rows": len(subject.dataset), "files": files}
    for name in names:
        if name in missing:
            info(f"no {name}: {subject.name} {missing[name]}")
            continue
        drawing = PICTURES[name].draw(t, subject)
        result[name] = drawing.data
        files += write_drawing(folder, name, drawing)
    return result


def write_drawing(folder: Path, name: str, drawing: Drawing) -> list[Json]:
    """Write the files of a picture, what was measured beside them; return their entries."""
    contents = {**drawing.files, ".json": json_bytes(drawing.data)}
    for ending, content in contents.items():
        write_bytes(folder / f"{name}{ending}", content)
    return [
        {"picture": name, "path": str(folder / f"{name}{ending}"), "bytes": len(content)}
        for ending, content in contents.items()
    ]
