"""The figure of a compression: each model's metric over its cost, and those that none beats in both.

In: the document of compression.json. Out: SVG text.
"""

from danlu.reporting.figures.svg import FAINT, FIRST, INK, SECOND, WIDTH, as_svg, new_figure
from danlu.reporting.format import format_number
from danlu.reporting.i18n import Translator
from danlu.reporting.run_reader import Json

LARGE_BATCH = "32"


def front_figure(t: Translator, found: Json) -> str:
    """Draw every model's metric with its interval over what it costs."""
    metric = found["budget"]["metric"]
    points = [point for point in found["points"] if metric in point.get("metrics", {})]
    is_timed = all(LARGE_BATCH in point.get("latency_ms", {}) for point in points)
    places = [point["latency_ms"][LARGE_BATCH]["p50"] if is_timed else point["size_bytes"] for point in points]
    with new_figure(WIDTH, 3.0) as figure:
        axis = figure.subplots()
        for name, colour, marker, is_front in (("front", FIRST, "o", True), ("other models", SECOND, "s", False)):
            shown = [
                (place, point["metrics"][metric])
                for place, point in sorted(zip(places, points, strict=True), key=lambda pair: pair[0])
                if point["on_front"] == is_front
            ]
            if not shown:
                continue
            xs, ys = [place for place, _ in shown], [each["value"] for _, each in shown]
            down = [max(0.0, each["value"] - each.get("low", each["value"])) for _, each in shown]
            up = [max(0.0, each.get("high", each["value"]) - each["value"]) for _, each in shown]
            axis.errorbar(
                xs,
                ys,
                yerr=[down, up],
                fmt=marker,
                color=colour,
                markersize=4,
                linewidth=0.8,
                linestyle="-" if is_front else "none",
                label=t(f"legend.{name}"),
                zorder=3,
            )
        for place, point in zip(places, points, strict=True):
            value = point["metrics"][metric]["value"]
            axis.annotate(point["id"], (place, value), xytext=(4, 4), textcoords="offset points", fontsize=8)
            if point["id"] == found["chosen"]:
                axis.scatter([place], [value], s=110, facecolors="none", edgecolors=INK, linewidths=1.5, zorder=4)
        label = t("axis.ms at a batch", size=LARGE_BATCH) if is_timed else t("axis.bytes")
        axis.set(xlabel=label, ylabel=metric)
        if min(places) > 0 and max(places) > 20 * min(places):
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_formatter("")
        axis.grid(color=FAINT, linewidth=0.5)
        axis.set_axisbelow(True)
        figure.legend(loc="outside upper center", ncols=2)
        chosen = next(point for point in points if point["id"] == found["chosen"])
        value = format_number(chosen["metrics"][metric]["value"])
        told = t("label.compression", metric=metric, count=len(points), id=found["chosen"], value=value)
        return as_svg(figure, "compression", told)
