"""Figures of many small panels with one scale each: heat maps, filters, feature maps, attention, bars, spectra, points.

In: arrays and names. Out: `Drawn` figures. Colours are safe for the colour-blind (cividis, PuOr); none stands alone.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from danlu.reporting.figures.layers import Drawn, drawn, short_layer
from danlu.reporting.figures.svg import FAINT, FIRST, INK, SERIES, WIDTH, line_style, new_figure
from danlu.reporting.format import format_number, shorten
from danlu.reporting.i18n import Translator

AMOUNT, SIGNED = "cividis", "PuOr"  # colour maps of amounts, and of values on both sides of zero
COLUMNS = 3
PANEL = 2.35  # inches
MARKS = "osv^DPX*<>"
NAMED_CLASSES = len(MARKS)  # of a scatter plot; the others are grey


def heat_maps(
    t: Translator,
    name: str,
    label: str,
    maps: Sequence[tuple[str, np.ndarray, tuple[int, int]]],
    told: tuple[str, str],
) -> Drawn:
    """Draw matrices side by side, each with its own scale.

    Args:
        maps: title, values [rows, columns], and how many rows and columns these are the averages of.
        told: what columns and rows are.
    """
    rows = -(-len(maps) // COLUMNS)
    columns = min(COLUMNS, len(maps))
    with new_figure(PANEL * columns + 0.3, (PANEL + 0.15) * rows) as figure:
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis in axes.flat[len(maps) :]:
            axis.set_axis_off()
        for axis, (title, values, (height, width)) in zip(axes.flat, maps, strict=False):
            shown = _image(axis, values)
            shown.set_extent((-0.5, width - 0.5, height - 0.5, -0.5))  # ticks count what was averaged
            axis.set_title(short_layer(title, 30), size=8)
            _scale(figure, shown, axis)
            axis.set_xlabel(told[0], size=7.5)
            axis.set_ylabel(told[1], size=7.5)
            axis.tick_params(labelsize=6.5, length=2)
            axis.locator_params(nbins=4, integer=True)
        return drawn(figure, name, label)


def image_grids(
    t: Translator, name: str, label: str, grids: Sequence[tuple[str, np.ndarray]], columns: int = 16
) -> Drawn:
    """Draw stacks of small images, a strip per layer with one scale for the strip.

    Args:
        grids: title and images, [count, height, width].
        columns: images in a line.
    """
    lines = [-(-len(images) // columns) for _, images in grids]
    with new_figure(WIDTH + 1.2, sum(0.42 * line + 0.42 for line in lines)) as figure:
        axes = figure.subplots(len(grids), 1, squeeze=False, height_ratios=[line + 0.9 for line in lines])[:, 0]
        for axis, (title, images) in zip(axes, grids, strict=True):
            shown = _image(axis, _mosaic(images, columns))
            axis.set_title(short_layer(title, 70), size=8, loc="left")
            axis.set_xticks([])
            axis.set_yticks([])
            _scale(figure, shown, axis)
            for spine in axis.spines.values():
                spine.set_visible(False)
        return drawn(figure, name, label)


def _mosaic(images: np.ndarray, columns: int) -> np.ndarray:
    """Put images beside one another with a gap, empty places as NaN."""
    count, height, width = images.shape
    rows, columns = -(-count // columns), min(columns, count)
    gap = max(1, width // 8)
    whole = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan)
    for place, image in enumerate(images):
        top, left = (height + gap) * (place // columns), (width + gap) * (place % columns)
        whole[top : top + height, left : left + width] = image
    return whole


def _image(axis: Any, values: np.ndarray) -> Any:
    """Show a matrix: values of both signs around zero in two colours, amounts in one."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low < 0 < high:
        edge = max(-low, high)
        return axis.imshow(values, cmap=SIGNED, vmin=-edge, vmax=edge, interpolation="nearest", aspect="auto")
    high = high if high > low else low + 1.0
    return axis.imshow(values, cmap=AMOUNT, vmin=low, vmax=high, interpolation="nearest", aspect="auto")


def _scale(figure: Any, shown: Any, axis: Any) -> None:
    bar = figure.colorbar(shown, ax=axis, pad=0.02, fraction=0.08, aspect=14)
    bar.ax.tick_params(labelsize=6.5, length=2)
    bar.ax.locator_params(nbins=3)
    bar.outline.set_visible(False)


def bar_panels(t: Translator, name: str, label: str, panels: Sequence[tuple[str, np.ndarray, int]]) -> Drawn:
    """Draw one-dimensional tensors as bars.

    Args:
        panels: title, values, and how many numbers the tensor has; each bar is the mean of neighbours if more.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    with new_figure(3.3 * columns + 0.2, 1.35 * rows) as figure:
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis in axes.flat[len(panels) :]:
            axis.set_axis_off()
        for axis, (title, values, count) in zip(axes.flat, panels, strict=False):
            width = count / len(values)
            middles = (np.arange(len(values)) + 0.5) * width - 0.5  # of the units that a bar stands for, from 0
            axis.bar(middles, values, width * 0.85, color=FIRST)
            axis.axhline(0, color=INK, linewidth=0.6)
            axis.set_title(short_layer(title, 44), size=8, loc="left")
            axis.tick_params(labelsize=7, length=2)
            axis.locator_params(axis="y", nbins=3)
            axis.locator_params(axis="x", nbins=6, integer=True)
            axis.set_xlim(-0.5, count - 0.5)
        figure.supxlabel(t("axis.unit"), size=8)
        figure.supylabel(t("axis.weight"), size=8)
        return drawn(figure, name, label)


def spectra(t: Translator, name: str, label: str, lines: Sequence[tuple[str, Sequence[float]]]) -> Drawn:
    """Draw singular values, largest first, a line per layer; over the share of their number."""
    with new_figure(WIDTH + 1.6, 3.0) as figure:
        axis = figure.subplots()
        for place, (title, values) in enumerate(lines):
            shares = np.linspace(0, 1, len(values)) if len(values) > 1 else np.zeros(1)
            axis.plot(shares, np.maximum(values, 1e-12), linewidth=1.4, label=short_layer(title), **line_style(place))
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("")
        axis.set(xlabel=t("axis.rank"), ylabel=t("axis.singular"))
        axis.grid(axis="y", color=FAINT, linewidth=0.5)
        axis.set_axisbelow(True)
        figure.legend(loc="outside right upper", fontsize=7)
        return drawn(figure, name, label)


def scatter(
    t: Translator, name: str, label: str, points: np.ndarray, classes: Sequence[str], axes_names: tuple[str, str]
) -> Drawn:
    """Draw points by class, the most frequent with marks and colours of their own.

    Args:
        points: [rows, 2].
        classes: of the rows; empty for none.
        axes_names: of the two directions.
    """
    counts = Counter(classes)
    few = len(counts) <= NAMED_CLASSES
    named = sorted(counts) if few else [each for each, _ in counts.most_common(NAMED_CLASSES)]
    of_row = np.array(list(classes) or [""] * len(points), dtype=object)
    with new_figure(WIDTH + 1.6, 3.9) as figure:
        axis = figure.subplots()
        rest = ~np.isin(of_row, named)
        if rest.any():
            told = None if not counts else t("legend.others", count=len(counts) - len(named))
            axis.scatter(*points[rest].T, s=9, color=FAINT, label=told, linewidths=0)
        for place, each in enumerate(named):
            if not each and len(named) == 1:
                continue
            chosen = of_row == each
            axis.scatter(
                *points[chosen].T,
                s=16,
                marker=MARKS[place],
                color=SERIES[place % len(SERIES)],
                label=shorten(each, 22),
                alpha=0.75,
                linewidths=0,
            )
        axis.set(xlabel=axes_names[0], ylabel=axes_names[1])
        axis.grid(color=FAINT, linewidth=0.5)
        axis.set_axisbelow(True)
        if counts:
            figure.legend(loc="outside right upper", fontsize=8)
        return drawn(figure, name, label)


def landscape(t: Translator, name: str, places: Sequence[float], losses: np.ndarray) -> Drawn:
    """Draw the loss on a plane through the weights, the network in the middle."""
    finite = np.where(np.isfinite(losses), losses, np.nan)
    middle = losses[len(places) // 2, len(places) // 2]
    label = t("label.landscape", middle=format_number(float(middle)), most=format_number(float(np.nanmax(finite))))
    with new_figure(WIDTH, 4.0) as figure:
        axis = figure.subplots()
        from matplotlib.colors import LogNorm

        low, high = float(np.nanmin(finite)), float(np.nanmax(finite))
        norm = LogNorm(low, high) if low > 0 and high > 30 * low else None
        shown = axis.pcolormesh(places, places, finite, cmap=AMOUNT, norm=norm, shading="nearest", rasterized=True)
        bar = figure.colorbar(shown, ax=axis, label=t("axis.loss"))
        bar.ax.yaxis.set_major_formatter("{x:g}")
        bar.ax.yaxis.set_minor_formatter("")
        axis.plot([0], [0], marker="o", markersize=7, markerfacecolor="#ffffff", markeredgecolor=INK)
        axis.set(xlabel=t("axis.direction", number=1), ylabel=t("axis.direction", number=2), aspect="equal")
        axis.locator_params(nbins=5)
        return drawn(figure, name, label)


def token_maps(t: Translator, name: str, label: str, layers: Sequence[np.ndarray], tokens: Sequence[str]) -> Drawn:
    """Draw attention, a line of heads per layer, on one scale for all.

    Args:
        layers: [heads, queries, keys] each.
        tokens: names of the places, where they are known and few enough to be read.
    """
    heads = max(len(layer) for layer in layers)
    most = max(float(layer.max()) for layer in layers) or 1.0
    side = 1.0 if heads > 2 else 2.2
    named = bool(tokens) and len(tokens) <= 24 and heads <= 2
    with new_figure(side * heads + 1.4, (side + 0.3) * len(layers) + (0.6 if named else 0.1)) as figure:
        axes = figure.subplots(len(layers), heads, squeeze=False)
        for row, layer in enumerate(layers):
            for head, axis in enumerate(axes[row]):
                if head >= len(layer):
                    axis.set_axis_off()
                    continue
                shown = axis.imshow(layer[head], cmap=AMOUNT, vmin=0, vmax=most, interpolation="nearest")
                axis.set_title(t("attention.head", number=head + 1) if row == 0 else "", size=7.5)
                if named:
                    axis.set_xticks(range(len(tokens)), tokens, rotation=90, size=6)
                    axis.set_yticks(range(len(tokens)), tokens, size=6)
                else:  # places are counted
                    axis.tick_params(labelsize=6, length=2)
                    axis.locator_params(nbins=4, integer=True)
                axis.tick_params(labelleft=head == 0)
                if head == 0:
                    axis.set_ylabel(t("attention.layer", number=row + 1), size=7.5)
        bar = figure.colorbar(shown, ax=list(axes.flat), fraction=0.03, pad=0.02, label=t("axis.attention"))
        bar.ax.tick_params(labelsize=7)
        return drawn(figure, name, label)
