"""Figures of training, classes and data: curves by step, bars, the confusion matrix.

In: values read from a run, and the page's language. Out: SVG text, or files. svg.py converts matplotlib's figures.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from danlu.reporting.curve_diagnosis import training_loss_at
from danlu.reporting.figures.layers import drawn
from danlu.reporting.figures.svg import FAINT, FIRST, INK, SECOND, WIDTH, as_svg, new_figure
from danlu.reporting.format import format_number, shorten
from danlu.reporting.i18n import Translator
from danlu.reporting.run_reader import Json, Kept, kept_step, series, validation_metrics

MAX_OPACITY = 0.45  # opacity of a cell's colour; above it the count is hard to read
MAX_MARKERS = 40  # points of a curve; with more, markers overlap
Form = TypeVar("Form")
LOG_RANGE = 50.0  # a loss that falls by a larger factor gets a logarithmic scale


def training_curves(t: Translator, log: list[Json]) -> str:
    """Draw training and validation loss, then each other validation metric; empty without a log."""
    return _training_curves(t, log, as_svg) or ""


def curve_files(t: Translator, log: list[Json]) -> dict[str, bytes]:
    """Draw the same as files; none without a log."""
    figure = _training_curves(t, log, drawn)
    return {} if figure is None else figure.files()


def _training_curves(t: Translator, log: list[Json], convert: Callable[[Any, str, str], Form]) -> Form | None:
    names = validation_metrics(log)
    losses = [name for name in ("train/loss", "validation/loss") if series(log, name)[0]]
    others = [name for name in names if name != "validation/loss"]
    panels = [group for group in (losses, *([name] for name in others)) if group]
    if not panels:
        return None
    kept = kept_step(log)
    with new_figure(WIDTH, 2.7 * len(panels)) as figure:
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axis, group in zip(axes, panels, strict=True):
            _curves(t, axis, log, group, kept)
        axes[-1].set_xlabel(t("axis.step"))
        return convert(figure, "curves", _curves_label(t, log, [*losses, *others], kept))


def confusion_matrix(t: Translator, confusion: Json) -> str:
    """Draw counts by class (row) and prediction (column), coloured by share of the class."""
    labels, counts = [shorten(label, 16) for label in confusion["labels"]], confusion["counts"]
    size, longest = len(labels), max(map(len, labels))
    cell = 0.62 if size <= 4 else 0.42
    room = 0.5 + 0.075 * longest
    with new_figure(cell * size + room + 0.2, cell * size + room) as figure:
        axis = figure.subplots()
        for truth, row in enumerate(counts):
            for answer, count in enumerate(row):
                if count:
                    _cell(axis, answer, truth, count, count / sum(row))
        axis.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal")
        axis.set(ylabel=t("axis.class"), xlabel=t("axis.answer"))
        axis.set_xticks(range(size), labels, rotation=90 if size > 4 or longest > 9 else 0)
        axis.set_yticks(range(size), labels)
        axis.tick_params(length=0)
        right, total = sum(counts[index][index] for index in range(size)), sum(map(sum, counts))
        return as_svg(figure, "confusion", t("label.confusion", size=size, right=right, total=total))


def class_bars(t: Translator, counts: dict[str, int]) -> str:
    """Draw the number of samples per class."""
    labels, values = [shorten(label, 20) for label in counts], list(counts.values())
    with new_figure(WIDTH, 0.5 + 0.24 * len(labels)) as figure:
        axis = figure.subplots()
        bars = axis.barh(range(len(labels)), values, color=FIRST, height=0.7)
        axis.bar_label(bars, [f"{value:,}" for value in values], padding=3)
        axis.set_yticks(range(len(labels)), labels)
        axis.set_xticks([])
        axis.spines[["bottom"]].set_visible(False)
        axis.tick_params(length=0)
        axis.margins(x=0.12)
        axis.invert_yaxis()
        told = t.join(f"{label} {value:,}" for label, value in zip(labels, values, strict=True))
        return as_svg(figure, "classes", t("label.classes", what=told))


def balance_bars(t: Translator, before: dict[str, int], after: dict[str, int]) -> str:
    """Draw training samples per class before (above) and after (below) balancing."""
    labels = [shorten(label, 20) for label in before]
    with new_figure(WIDTH, 0.8 + 0.42 * len(labels)) as figure:
        axis = figure.subplots()
        for name, counts, colour, shift in (("before", before, SECOND, -0.2), ("after", after, FIRST, 0.2)):
            places = [index + shift for index in range(len(labels))]
            bars = axis.barh(places, list(counts.values()), color=colour, height=0.36, label=t(f"legend.{name}"))
            axis.bar_label(bars, [f"{value:,}" for value in counts.values()], padding=3)
        axis.set_yticks(range(len(labels)), labels)
        axis.set_xticks([])
        axis.spines[["bottom"]].set_visible(False)
        axis.tick_params(length=0)
        axis.margins(x=0.12)
        axis.invert_yaxis()
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        pairs = zip(labels, before.values(), after.values(), strict=True)
        told = t.join(t("label.change", label=label, before=f"{was:,}", after=f"{now:,}") for label, was, now in pairs)
        return as_svg(figure, "balance", t("label.balance", what=told))


def number_bars(t: Translator, name: str, spread: Json) -> str:
    """Draw the histogram of a numeric target."""
    counts, low, high = spread["histogram"], spread["min"], spread["max"]
    width = (high - low) / len(counts) or 1.0
    with new_figure(WIDTH, 2.1) as figure:
        axis = figure.subplots()
        axis.bar([low + width * index for index in range(len(counts))], counts, width * 0.92, align="edge", color=FIRST)
        axis.set(xlabel=shorten(name, 60), ylabel=t("axis.samples"))
        known = {"low": format_number(low), "high": format_number(high), "middle": format_number(spread["median"])}
        return as_svg(figure, "target", t("label.target", name=shorten(name, 60), **known))


def sparkline(t: Translator, spread: Json) -> str:
    """Draw a column's histogram at the size of a word."""
    counts = spread["histogram"]
    tallest = max(max(counts), 1)
    bars = "".join(f"M{5 * i} 20v-{max(18 * c / tallest, 1):.0f}h4V20z" for i, c in enumerate(counts) if c)
    told = t("label.spark", low=format_number(spread["min"]), high=format_number(spread["max"]))
    return (
        f'<svg class="spark" role="img" aria-label="{told}" viewBox="0 0 {5 * len(counts)} 20"><path d="{bars}"/></svg>'
    )


def _curves(t: Translator, axis: Any, log: list[Json], names: Sequence[str], kept: Kept | None) -> None:
    """Draw one panel: the curves, and the step of the kept weights."""
    everything: list[float] = []
    for name in names:
        steps, values = series(log, name)
        everything += values
        if name == "train/loss":
            axis.plot(steps, values, color=SECOND, linewidth=0.9, label=t("legend.training"))
        else:
            mark = "o" if len(steps) <= MAX_MARKERS else ""
            axis.plot(
                steps, values, color=FIRST, linewidth=2.0, marker=mark, markersize=3.5, label=t("legend.validation")
            )
    steps, validation = series(log, "validation/loss")
    training = training_loss_at(log, steps)
    if "train/loss" in names and "validation/loss" in names and training is not None:
        axis.fill_between(steps, training, validation, color=FIRST, alpha=0.12, linewidth=0, label=t("legend.gap"))
    if names[0].endswith("/loss") and 0 < LOG_RANGE * min(everything) < max(everything):
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")  # the default writes powers in TeX, which needs parse_math
        axis.yaxis.set_minor_formatter("")
    if kept is not None:
        axis.axvline(kept.step, color=INK, linewidth=1.0, linestyle=":", label=t("legend.kept", step=f"{kept.step:,}"))
    metric = names[0].partition("/")[2]
    axis.set_ylabel(t("axis.loss") if metric == "loss" else metric)
    axis.grid(axis="y", color=FAINT, linewidth=0.5)
    axis.set_axisbelow(True)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)


def _curves_label(t: Translator, log: list[Json], names: Sequence[str], kept: Kept | None) -> str:
    told = []
    for name in names:
        _, values = series(log, name)
        told.append(
            t(
                "label.curve",
                name=name.replace("/", " "),
                first=format_number(values[0]),
                last=format_number(values[-1]),
            )
        )
    best = t("label.kept", step=f"{kept.step:,}") if kept else ""
    return t("label.curves", what=t.join(told)) + best


def _cell(axis: Any, column: int, row: int, count: int, share: float) -> None:
    from matplotlib.patches import Rectangle

    colour = FIRST if column == row else SECOND
    opacity = round(MAX_OPACITY * (0.15 + 0.85 * share), 3)
    axis.add_patch(Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, color=colour, alpha=opacity, linewidth=0))
    axis.text(column, row, f"{count:,}", ha="center", va="center", size=9 if count < 1000 else 7)
