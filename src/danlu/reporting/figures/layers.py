"""Figures of a network's layers, a line per layer in the order in which they run: ranges, differences, norms.

In: values as `danlu visualize` keeps them in JSON. Out: `Drawn` figures. Every figure has an axis with units.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from danlu.reporting.figures.svg import (
    DASHES,
    FAINT,
    FIRST,
    INK,
    SECOND,
    SERIES,
    THIRD,
    WIDTH,
    as_file,
    as_png,
    as_svg,
    new_figure,
)
from danlu.reporting.format import format_number, shorten
from danlu.reporting.i18n import Translator
from danlu.reporting.run_reader import Json

LINE = 0.19  # inches of a layer
CLOSEST = 0.75  # of that, for each of several lines of a layer
MOST_LINES = 60  # at full height; more become thinner, and not all are named
NAME = 40  # letters of a layer's name


@dataclass(frozen=True)
class Drawn:
    """Hold a figure for a page, and as pixels."""

    svg: str
    png: bytes

    def files(self, ending: str = "") -> dict[str, bytes]:
        """Return the figure as SVG and PNG, by the end of the file's name."""
        return {f"{ending}.svg": as_file(self.svg).encode(), f"{ending}.png": self.png}


def drawn(figure: Any, name: str, label: str) -> Drawn:
    """Convert a figure to both forms; the SVG first, since pixels change its colours."""
    svg = as_svg(figure, name, label)
    return Drawn(svg, as_png(figure))


def short_layer(name: str, most: int = NAME) -> str:
    """Shorten a layer's name at its beginning, since names differ at their ends."""
    line = shorten(name, 500)
    if len(line) <= most:
        return line
    parts = line.split(".")
    while len(parts) > 1 and len(".".join(parts)) >= most:  # a number that was cut would be another layer's
        parts = parts[1:]
    return "…" + ".".join(parts)[-(most - 1) :]


def by_layer(
    t: Translator,
    name: str,
    label: str,
    layers: Sequence[str],
    axis_name: str,
    draw: Callable[[Any], None],
    marked: Sequence[int] = (),
    lines: int = 1,
) -> Drawn:
    """Draw values by layer, from the first at the top to the last.

    Args:
        t: the language.
        name: of the figure, for its ids.
        label: describes it to who cannot see it.
        layers: names, in order.
        axis_name: what the axis shows, with its unit.
        draw: draws on the axis, layer `k` at height `k`.
        marked: layers that are pointed out.
        lines: drawn beside one another for each layer.
    """
    count = len(layers)
    step = max(1, -(-count // MOST_LINES))
    with new_figure(WIDTH + 1.6, 0.75 + LINE * max(1.0, lines * CLOSEST) * min(count, MOST_LINES)) as figure:
        axis = figure.subplots()
        draw(axis)
        named = sorted({*range(0, count, step), *(marked if step == 1 else ())})
        axis.set_yticks(named, [short_layer(layers[place]) for place in named], size=7.5)
        for place, tick in zip(named, axis.get_yticklabels(), strict=True):
            if place in marked:
                tick.set_fontweight("bold")
        axis.set(ylim=(count - 0.4, -0.6), xlabel=axis_name)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", color=FAINT, linewidth=0.5)
        axis.set_axisbelow(True)
        if axis.get_legend_handles_labels()[0]:
            figure.legend(loc="outside upper center", ncols=3)
        return drawn(figure, name, label)


def range_lines(
    t: Translator, name: str, series: Mapping[str, Sequence[Json]], axis_name: str, marked: Sequence[str] = ()
) -> Drawn:
    """Draw each layer's distribution: 1 to 99 %, 25 to 75 %, and the median.

    Args:
        t: the language.
        name: of the figure.
        series: several states of the network, as checkpoints, each with its layers: `name` and `quantiles`, five.
        axis_name: what is distributed.
        marked: layers that are pointed out.
    """
    first = next(iter(series.values()))
    layers = [str(layer["name"]) for layer in first]

    def draw(axis: Any) -> None:
        apart = 0.62 / len(series)
        for number, (state, lines) in enumerate(series.items()):
            colour, at = SERIES[number % len(SERIES)], {str(line["name"]): line for line in lines}
            for place, layer in enumerate(layers):
                if layer not in at:
                    continue
                low, lower, middle, upper, high = at[layer]["quantiles"]
                height = place + apart * (number - (len(series) - 1) / 2)
                told = state if place == 0 and len(series) > 1 else None
                axis.plot([low, high], [height] * 2, color=colour, linewidth=0.9, linestyle=DASHES[number % 2])
                axis.plot([lower, upper], [height] * 2, color=colour, linewidth=max(1.5, 5.0 / len(series)), label=told)
                axis.plot([middle], [height], marker="|", color=INK, markersize=5, markeredgewidth=1.2)
        axis.axvline(0, color=INK, linewidth=0.6)
        edges = [abs(value) for lines in series.values() for line in lines for value in line["quantiles"]]
        typical = sorted(edge for edge in edges if edge > 0)
        if typical and max(edges) > 50 * typical[len(typical) // 2]:  # a few wide layers would hide the others
            axis.set_xscale("symlog", linthresh=typical[len(typical) // 2])
            axis.xaxis.set_major_formatter("{x:g}")

    widest = max(first, key=lambda line: line["quantiles"][4] - line["quantiles"][0])
    label = t("label.ranges", layers=t.count(len(layers), "layer"), widest=shorten(widest["name"], 60))
    places = [layers.index(layer) for layer in marked if layer in layers]
    return by_layer(t, name, label, layers, axis_name, draw, places, len(series))


def difference_lines(t: Translator, difference: Json) -> Drawn:
    """Draw signal to noise by layer; equal layers stand at the right edge."""
    layers, threshold = difference["layers"], difference["threshold_db"]
    known = [layer["snr_db"] for layer in layers if layer["snr_db"] is not None]
    edge = max([threshold + 20, *(min(value, 150.0) + 10 for value in known)])

    def draw(axis: Any) -> None:
        groups: dict[str, list[tuple[int, float]]] = {"under": [], "over": [], "equal": []}
        for place, layer in enumerate(layers):
            value = layer["snr_db"]
            group = "equal" if value is None else "under" if value < threshold else "over"
            groups[group].append((place, edge if value is None else value))
        marks = {"under": (SECOND, "v"), "over": (FIRST, "o"), "equal": (THIRD, "s")}
        for group, points in groups.items():
            if not points:
                continue
            colour, mark = marks[group]
            axis.hlines([p for p, _ in points], 0, [v for _, v in points], color=colour, linewidth=1.0, alpha=0.5)
            axis.plot(
                *([v for _, v in points], [p for p, _ in points]),
                linestyle="",
                marker=mark,
                markersize=4.5,
                color=colour,
                label=t(f"difference.{group}"),
            )
        axis.axvline(threshold, color=INK, linewidth=1.0, linestyle=":", label=t("difference.threshold"))
        axis.axvline(0, color=INK, linewidth=0.6)

    first = difference["first_below"]
    names = [str(layer["name"]) for layer in layers]
    told = t("label.difference", layers=t.count(len(layers), "layer"), first=shorten(first or "–", 60))
    marked = [names.index(first)] if first in names else []
    return by_layer(t, "difference", told, names, t("axis.snr"), draw, marked)


def value_bars(t: Translator, name: str, label: str, values: Mapping[str, float], axis_name: str) -> Drawn:
    """Draw one bar per layer."""

    def draw(axis: Any) -> None:
        axis.barh(range(len(values)), list(values.values()), color=FIRST, height=0.7)

    return by_layer(t, name, label, list(values), axis_name, draw)


def largest_of(values: Mapping[str, float]) -> tuple[str, str]:
    """Return the layer of the largest value, and the value as text."""
    name = max(values, key=lambda key: values[key])
    return shorten(name, 60), format_number(values[name])
