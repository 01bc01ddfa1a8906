"""A picture of lines, words and boxes as pixels: the few elements of SVG that the graph's picture is made of.

In: the SVG of `graph_picture`, with colours of a file. Out: a PNG on white. Other SVG is drawn by its own library.
"""

import re
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

from danlu.reporting.figures.svg import FILE_COLOURS, PIXELS_AN_INCH, file_fonts, new_figure

POINTS = 72.0  # of an inch, which is how matplotlib measures
STEP = re.compile(r"([MHVlz])([^MHVlz]*)")


def lines_png(svg: str) -> bytes:
    """Draw an SVG of `path`, `rect`, `circle` and `text` as a PNG."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Circle, Polygon, Rectangle

    root = ElementTree.fromstring(svg)  # noqa: S314 - danlu wrote it
    _, _, width, height = (float(each) for each in root.attrib["viewBox"].split())
    size = float(root.get("font-size", "12"))
    with new_figure(width / POINTS, height / POINTS) as figure:
        figure.set_layout_engine("none")
        plane = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        plane.set_axis_off()
        for element in root:
            tag, known = element.tag.rpartition("}")[2], element.attrib
            fill = _colour(known.get("fill", "currentColor"))
            if tag == "path":
                points = _points(known["d"])
                if fill is None:
                    plane.add_line(Line2D(*zip(*points, strict=True), color=_colour(known["stroke"]), linewidth=1))
                else:
                    plane.add_patch(Polygon(points, color=fill, linewidth=0))
            elif tag == "rect":
                x, y, wide, high = (float(known[name]) for name in ("x", "y", "width", "height"))
                plane.add_patch(Rectangle((x, y), wide, high, color=fill, linewidth=0))
            elif tag == "circle":
                plane.add_patch(Circle((float(known["cx"]), float(known["cy"])), float(known["r"]), color=fill))
            else:
                _write(plane, element, fill, size)
        content = BytesIO()
        figure.savefig(content, format="png", dpi=PIXELS_AN_INCH, facecolor="#ffffff", metadata={"Software": None})
    return content.getvalue()


def _write(plane: Any, element: ElementTree.Element, fill: str | None, size: float) -> None:
    known = element.attrib
    plane.text(
        float(known["x"]),
        float(known["y"]),
        element.text or "",
        color=fill,
        fontsize=size * 0.92,  # DejaVu's letters are wider than those of the page
        fontfamily=file_fonts(),
        fontweight="bold" if "font-weight" in known else "normal",
        ha={"end": "right", "middle": "center"}.get(known.get("text-anchor", ""), "left"),
        va="baseline",
        clip_on=True,
    )


def _colour(named: str) -> str | None:
    return None if named == "none" else FILE_COLOURS.get(named, named)


def _points(path: str) -> list[tuple[float, float]]:
    """Return the corners of a path that goes straight."""
    points: list[tuple[float, float]] = []
    x = y = 0.0
    for command, numbers in STEP.findall(path):
        given = [float(each) for each in re.findall(r"-?[\d.]+", numbers)]
        if command == "M":
            x, y = given
        elif command == "H":
            (x,) = given
        elif command == "V":
            (y,) = given
        elif command == "l":
            x, y = x + given[0], y + given[1]
        points.append((x, y))
    return points
