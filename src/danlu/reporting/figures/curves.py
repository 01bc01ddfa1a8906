"""Figures of predicted probabilities: ROC, precision-recall, calibration, risk-coverage, metrics by threshold.

In: their part of evaluation.json, or the logs of several runs. Out: SVG text in the page's colours.
"""

from collections.abc import Mapping
from html import escape
from typing import Any

from danlu.reporting.figures.svg import FAINT, FIRST, INK, WIDTH, as_svg, line_style, new_figure
from danlu.reporting.format import format_number, format_percent, shorten
from danlu.reporting.i18n import Translator
from danlu.reporting.run_reader import Json, series

SQUARE = 3.3  # inches
PLOT_WIDTH, PLOT_HEIGHT = 640, 240  # pixels of the threshold plot
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 10, 40
PLOTTED = (("precision-positive", "precision"), ("recall-positive", "recall"), ("f1-positive", "f1"))


def roc_curves(t: Translator, curves: Mapping[str, Json], name: str = "roc", of: str = "") -> str:
    """Draw ROC curves, one line per class; or one per run, of the class `of`."""
    lines = {label: (each["false_positive_rate"], each["true_positive_rate"]) for label, each in curves.items()}
    label = t("label.roc", count=of or _line_count(t, lines))
    axes = (t("axis.false positive rate"), t("axis.true positive rate"))
    return _unit_square(t, name, lines, axes, label, diagonal="chance")


def precision_recall_curves(t: Translator, curves: Mapping[str, Json]) -> str:
    """Draw precision over recall, one line per class."""
    lines = {label: (each["recall"], each["precision"]) for label, each in curves.items()}
    return _unit_square(
        t, "pr", lines, (t("axis.recall"), t("axis.precision")), t("label.pr", count=_line_count(t, lines))
    )


def calibration_curve(t: Translator, curve: Json) -> str:
    """Draw accuracy over confidence; dots are sized by the samples of a bin."""
    lines = {"": (curve["confidence"], curve["accuracy"])}
    most = max(curve["count"])
    sizes = [8 + 60 * count / most for count in curve["count"]]
    told = t("label.calibration", bins=len(sizes))
    axes = (t("axis.confidence"), t("axis.right"))
    return _unit_square(t, "calibration", lines, axes, told, diagonal="perfect", sizes=sizes)


def risk_coverage_curve(t: Translator, curve: Json) -> str:
    """Draw the risk-coverage curve."""
    coverage, risk = curve["coverage"], curve["risk"]
    half = next((r for c, r in zip(coverage, risk, strict=True) if c >= 0.5), risk[-1])
    with new_figure(WIDTH, 2.4) as figure:
        axis = figure.subplots()
        axis.plot(coverage, risk, color=FIRST, linewidth=2.0)
        axis.set(xlim=(0, 1), xlabel=t("axis.coverage"), ylabel=t("axis.risk"))
        axis.set_ylim(bottom=0)
        axis.grid(axis="y", color=FAINT, linewidth=0.5)
        axis.set_axisbelow(True)
        return as_svg(
            figure, "abstention", t("label.abstention", all=format_percent(risk[-1]), half=format_percent(half))
        )


def overlaid_curves(t: Translator, metric: str, logs: Mapping[str, list[Json]]) -> str:
    """Draw one logged metric of several runs by step; empty if none has it."""
    lines = {run: series(log, metric) for run, log in logs.items()}
    lines = {run: line for run, line in lines.items() if line[0]}
    if not lines:
        return ""
    with new_figure(WIDTH + 1.2, 2.9) as figure:
        axis = figure.subplots()
        for place, (run, (steps, values)) in enumerate(lines.items()):
            axis.plot(steps, values, linewidth=1.8, label=shorten(run, 32), **line_style(place))
        axis.set(xlabel=t("axis.step"), ylabel=_metric_title(t, metric))
        axis.grid(axis="y", color=FAINT, linewidth=0.5)
        axis.set_axisbelow(True)
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        ends = [
            t("label.curve", name=run, first=format_number(y[0]), last=format_number(y[-1]))
            for run, (_, y) in lines.items()
        ]
        told = t("label.overlaid", name=_metric_title(t, metric), count=len(lines), what=t.join(ends))
        return as_svg(figure, f"overlaid-{metric.replace('/', '-')}", told)


def threshold_curves(t: Translator, table: Json, positive: str) -> str:
    """Draw precision, recall and F1 by threshold, with a line that the page's script moves."""
    parts = [
        f'<svg class="figure" role="img" viewBox="0 0 {PLOT_WIDTH} {PLOT_HEIGHT}" '
        f'style="width: {PLOT_WIDTH}px; min-width: 24rem" '
        f'aria-label="{escape(t("label.thresholds", positive=shorten(positive)))}">'
    ]
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = _place(share, share)
        parts += [
            f'<path d="M{LEFT} {y:.1f}H{PLOT_WIDTH - RIGHT}" stroke="var(--faint)" stroke-width="0.7"/>',
            f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{share:g}</text>',
            f'<text class="tick" x="{x:.1f}" y="{PLOT_HEIGHT - BOTTOM + 16}" text-anchor="middle">{share:g}</text>',
        ]
    for colour, (column, _) in zip(("first", "second", "third"), PLOTTED, strict=True):
        drawn = _polyline(table["threshold"], table[column])
        parts.append(f'<path d="{drawn}" fill="none" stroke="var(--{colour})" stroke-width="2"/>')
    middle = (LEFT + PLOT_WIDTH - RIGHT) / 2
    told = escape(t("axis.threshold"))
    parts += [
        f'<text class="tick" x="{middle:.0f}" y="{PLOT_HEIGHT - 6}" text-anchor="middle">{told}</text>',
        f'<path id="threshold-mark" d="M{LEFT} {TOP}V{PLOT_HEIGHT - BOTTOM}" data-span="{_span()}" '
        'stroke="currentColor" stroke-width="1.5"/></svg>',
    ]
    return "".join(parts)


def _span() -> int:
    """Return the distance of the mark between thresholds 0 and 1."""
    return PLOT_WIDTH - LEFT - RIGHT


def _place(x: float, y: float) -> tuple[float, float]:
    return LEFT + _span() * x, TOP + (PLOT_HEIGHT - TOP - BOTTOM) * (1 - y)


def _polyline(xs: list[float], ys: list[float | None]) -> str:
    """Build a path through the points, broken where a value is undefined."""
    drawn, begun = [], False
    for x, y in zip(xs, ys, strict=True):
        if y is not None:
            across, down = _place(x, y)
            drawn.append(f"{'L' if begun else 'M'}{across:.1f} {down:.1f}")
        begun = y is not None
    return "".join(drawn)


def _unit_square(
    t: Translator,
    name: str,
    lines: Mapping[str, tuple[list[float], list[float]]],
    axes: tuple[str, str],
    label: str,
    diagonal: str = "",
    sizes: list[float] | None = None,
) -> str:
    """Draw curves in the unit square."""
    below = 0.0 if len(lines) <= 1 else 0.2 * ((len(lines) + 1) // 2)
    with new_figure(SQUARE, SQUARE + below) as figure:
        axis = figure.subplots()
        if diagonal:
            axis.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":", label=t(f"legend.{diagonal}"))
        for place, (told, (x, y)) in enumerate(lines.items()):
            axis.plot(x, y, linewidth=1.8, label=shorten(told, 18) if len(lines) > 1 else None, **line_style(place))
        if sizes is not None:
            ((x, y),) = lines.values()
            axis.scatter(x, y, s=sizes, color=FIRST, linewidths=0)
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=axes[0], ylabel=axes[1], aspect="equal")
        axis.grid(color=FAINT, linewidth=0.5)
        axis.set_axisbelow(True)
        if diagonal or len(lines) > 1:
            figure.legend(loc="outside lower center", ncols=2 if len(lines) > 1 else 1)
        return as_svg(figure, name, label)


def _line_count(t: Translator, lines: Mapping[str, Any]) -> str:
    return next(iter(lines)) if len(lines) == 1 else t.count(len(lines), "class")


def _metric_title(t: Translator, metric: str) -> str:
    """Return a metric's title, `validation loss` for `validation/loss`."""
    split, _, name = metric.partition("/")
    return (
        f"{t('legend.training') if split == 'train' else t.split(split)} {t('axis.loss') if name == 'loss' else name}"
    )
