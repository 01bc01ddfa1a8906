"""The structure of a network as SVG: a line per layer in the order in which they run, what flows beside them.

In: a graph as `danlu visualize --json` has it. Out: SVG text. Modules are closed until the picture can be read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from danlu.reporting.format import format_number, shorten
from danlu.reporting.i18n import Translator
from danlu.reporting.run_reader import Json

MOST_LINES = 60
LINE, LANE, INDENT = 22, 8, 12  # pixels: height of a line, between lanes, of a level
MOST_LANES = 14  # further ones share the outermost
NAME, TYPE, SHAPE, COUNT = 250, 180, 190, 90  # widths of the columns
UNITS = ("", "k", "M", "G", "T")


@dataclass(frozen=True)
class Line:
    """Hold one line of the picture: a node, or a module with its nodes."""

    id: str
    name: str
    type: str
    level: int
    outputs: Sequence[Sequence[int]]
    parameters: int
    nodes: frozenset[str]
    is_open: bool = False


def graph_picture(t: Translator, graph: Json) -> str:
    """Draw a graph as an SVG element of the page."""
    lines = fitting_lines(graph)
    nets, straight, lanes = _routes(lines, graph["edges"])
    margin = (min(lanes, MOST_LANES) + 1) * LANE + 16
    width, height = margin + NAME + TYPE + SHAPE + COUNT, LINE * (len(lines) + 1) + 8
    names = t.join(shorten(line.name) for line in lines[:12])
    told = escape(t("label.graph", lines=len(lines), names=names), quote=True)
    drawn = [
        f'<svg class="figure" role="img" viewBox="0 0 {width} {height}" style="width: {width}px; min-width: '
        f'{0.7 * width:.0f}px" aria-label="{told}" font-size="12">'
    ]
    x = margin - 8
    columns = (margin + NAME, margin + NAME + TYPE, width - 8)
    heads = (t("graph"), t("type"), t("graph.outputs"), t("graph.parameters"))
    for place, (at, head) in enumerate(zip((margin, *columns), heads, strict=True)):
        anchor = "end" if place == len(columns) else "start"
        drawn.append(f'<text x="{at}" y="15" fill="var(--quiet)" text-anchor="{anchor}">{escape(head)}</text>')
    for start, end in straight:
        drawn.append(f'<path d="M{x} {_middle(start)}V{_middle(end)}" fill="none" stroke="var(--quiet)"/>')
    for start, ends, lane in nets:
        across = x - 11 - LANE * min(lane, MOST_LANES - 1)
        for end in ends:
            path = f"M{x} {_middle(start)}H{across}V{_middle(end)}H{x - 4}"
            tip = f"M{x - 9} {_middle(end) - 3.5}l6 3.5l-6 3.5z"
            drawn.append(f'<path d="{path}" fill="none" stroke="var(--first)"/><path d="{tip}" fill="var(--first)"/>')
    failed = graph["failed_at"]
    for row, line in enumerate(lines):
        met = failed["shapes"] if failed and line.nodes == {failed["node"]} else []
        drawn += _line(line, row, x, margin, columns, [each["shape"] for each in met])
    return "".join([*drawn, "</svg>"])


def _line(
    line: Line, row: int, x: int, margin: int, columns: tuple[int, int, int], met: list[list[int]]
) -> Iterator[str]:
    """Draw one line, with the shapes that do not fit where the network fails."""
    base = _middle(row) + 4
    if met:
        width = columns[2] - margin + 16
        yield f'<rect x="{margin - 8}" y="{_middle(row) - 10}" width="{width}" height="20" fill="var(--note)"/>'
    if not line.is_open:
        yield f'<circle cx="{x}" cy="{_middle(row)}" r="3" fill="currentColor"/>'
    shown = shorten(line.name, max(8, (NAME - INDENT * line.level) // 8))
    bold = ' font-weight="600"' if len(line.nodes) > 1 else ""
    yield f'<text x="{margin + INDENT * line.level}" y="{base}" fill="currentColor"{bold}>{escape(shown)}</text>'
    yield f'<text x="{columns[0]}" y="{base}" fill="var(--quiet)">{escape(shorten(line.type, 24))}</text>'
    if line.is_open:
        return
    shapes = " ↔ ".join(shapes_text([shape]) for shape in met) if met else shapes_text(line.outputs)
    yield f'<text x="{columns[1]}" y="{base}" fill="var(--quiet)">{shorten(shapes, 28)}</text>'
    if line.parameters:
        count = scaled(line.parameters)
        yield f'<text x="{columns[2]}" y="{base}" fill="currentColor" text-anchor="end">{count}</text>'


def shapes_text(shapes: Sequence[Sequence[int]]) -> str:
    """Format shapes: `4×16, 4`."""
    return ", ".join("×".join(map(str, shape)) or "1" for shape in shapes) or "–"


def scaled(value: float, unit: str = "") -> str:
    """Format a count with three digits and a prefix: `23.5M`."""
    place = 0
    while abs(value) >= 1000 and place < len(UNITS) - 1:
        value, place = value / 1000, place + 1
    return f"{format_number(float(f'{value:.3g}'))} {UNITS[place]}{unit}".strip()


def fitting_lines(graph: Json, most: int = MOST_LINES) -> list[Line]:
    """Return the lines with as many levels open as fit; one level always is."""
    levels = {module["id"]: 0 for module in graph["modules"]}
    for module in graph["modules"]:
        levels[module["id"]] = 0 if module["parent"] is None else levels[module["parent"]] + 1
    fitting = _lines(graph, 1)
    for depth in range(2, max(levels.values(), default=0) + 2):
        opened = _lines(graph, depth)
        if len(opened) > most:
            break
        fitting = opened
    return fitting


def _lines(graph: Json, depth: int) -> list[Line]:
    """Return the lines where modules of fewer than `depth` levels are open."""
    parents = {module["id"]: module["parent"] for module in graph["modules"]}
    modules = {module["id"]: module for module in graph["modules"]}
    lines: dict[str, Line] = {}
    for node in graph["nodes"]:
        chain, at = list[str](), node["module"]
        while at is not None and parents[at] is not None:
            chain.insert(0, at)
            at = parents[at]
        for level, module in enumerate(chain[:depth]):
            key, own = f"m:{module}", modules[module]
            known = lines.get(key) or Line(module, own["name"], own["type"], level, own["outputs"], 0, frozenset())
            total, inside = known.parameters + node["parameters"], known.nodes | {node["id"]}
            lines[key] = Line(
                module, own["name"], own["type"], level, own["outputs"], total, inside, is_open=level < depth - 1
            )
        if len(chain) < depth:
            own_line = Line(
                node["id"],
                node["name"],
                node["type"],
                len(chain),
                node["outputs"],
                node["parameters"],
                frozenset({node["id"]}),
            )
            lines[f"n:{node['id']}"] = own_line
    return list(lines.values())


def _routes(
    lines: Sequence[Line], edges: Sequence[Sequence[str]]
) -> tuple[list[tuple[int, list[int], int]], list[tuple[int, int]], int]:
    """Give every line that is read further down a lane; return lanes, short ways, count."""
    rows = {node: row for row, line in enumerate(lines) if not line.is_open for node in line.nodes}
    closed = [row for row, line in enumerate(lines) if not line.is_open]
    following = dict(pairwise(closed))
    reads: dict[int, set[int]] = {}
    for source, target in edges:
        start, end = rows[source], rows[target]
        if start != end:
            reads.setdefault(start, set()).add(end)
    straight = [(start, following[start]) for start, ends in sorted(reads.items()) if following.get(start) in ends]
    nets = [(start, sorted(ends - {following.get(start, -1)})) for start, ends in sorted(reads.items())]
    busy: list[list[tuple[int, int]]] = []
    routed: list[tuple[int, list[int], int]] = []
    spans = [(min(start, *ends), max(start, *ends), start, ends) for start, ends in nets if ends]
    for low, high, start, ends in sorted(spans, key=lambda span: (span[1] - span[0], span[0])):
        lane = 0
        while lane < len(busy) and any(a < high and low < b for a, b in busy[lane]):
            lane += 1
        if lane == len(busy):
            busy.append([])
        busy[lane].append((low, high))
        routed.append((start, ends, lane))
    return routed, straight, len(busy)


def _middle(row: int) -> float:
    return LINE * (row + 1) + LINE / 2
