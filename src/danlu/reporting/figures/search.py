"""Figures of a hyperparameter search: its metric by trial, and by the values of each key.

In: the finished trials and the search space. Out: SVG text.
"""

import json
import statistics
from collections.abc import Sequence
from typing import Any

from danlu.artifacts.trials import Trial
from danlu.recipe.sections.tuning import LogRange, SearchSpec, is_range
from danlu.reporting.figures.svg import FAINT, FIRST, INK, SECOND, WIDTH, as_svg, new_figure
from danlu.reporting.format import format_number, shorten
from danlu.reporting.i18n import Translator

LOG_RANGE = 50.0  # values that differ by a larger factor get a logarithmic scale
BEYOND = 4.0  # times the distance from best to median; values further beyond the median are clipped
SMALL = 2.9  # inches: two side by side fill the page
MAX_CHOICES = 12  # more have no room for their names


def search_progress(
    t: Translator, trials: Sequence[Trial], best_so_far: Sequence[float | None], higher_is_better: bool
) -> str:
    """Draw every trial's value, failed trials, and the best value so far."""
    done = [trial for trial in trials if trial.value is not None]
    failed = [trial.number + 1 for trial in trials if trial.value is None]
    steps = [(trial.number + 1, best) for trial, best in zip(trials, best_so_far, strict=True) if best is not None]
    with new_figure(WIDTH, 2.7) as figure:
        axis = figure.subplots()
        shown = _clipped_values(axis, done, higher_is_better)
        axis.scatter([trial.number + 1 for trial in done], shown, s=14, color=FIRST, label=t("legend.trial"), zorder=3)
        if steps:
            axis.step(
                *zip(*steps, strict=True), where="post", color=SECOND, linewidth=1.8, label=t("legend.best so far")
            )
        if failed:
            edge = axis.get_ylim()[0 if higher_is_better else 1]
            axis.scatter(
                failed, [edge] * len(failed), marker="x", s=22, color=INK, label=t("legend.failed"), clip_on=False
            )
        axis.set(xlabel=t("axis.trial"), ylabel=done[0].metric.replace("/", " "))
        axis.xaxis.get_major_locator().set_params(integer=True)
        _finish(axis)
        figure.legend(loc="outside upper center", ncols=3)
        first, last = steps[0][1], steps[-1][1]
        told = t(
            "label.search",
            metric=done[0].metric,
            count=len(trials),
            first=format_number(first),
            last=format_number(last),
        )
        return as_svg(figure, "search", told)


def metric_by_key(
    t: Translator, key: str, searched: SearchSpec, done: Sequence[Trial], best: Trial, higher_is_better: bool
) -> str:
    """Draw the trials' values over one key of the search space."""
    with new_figure(SMALL, 2.3) as figure:
        axis = figure.subplots()
        shown = _clipped_values(axis, done, higher_is_better)
        places = _x_positions(axis, searched, [trial.values[key] for trial in done])
        axis.scatter(places, shown, s=12, color=FIRST, zorder=3)
        at = list(done).index(best)
        axis.scatter([places[at]], [shown[at]], s=70, facecolors="none", edgecolors=SECOND, linewidths=1.8, zorder=4)
        axis.set_ylabel(best.metric.replace("/", " "))
        _finish(axis)
        told = t("label.searched", metric=best.metric, count=len(done), name=key, best=value_text(best.values[key]))
        return as_svg(figure, f"search-{key.replace('.', '-')}", told)


def value_text(value: Any) -> str:
    """Format a trial's value of a key; a section such as `mlp hidden [64]`."""
    if isinstance(value, dict):
        name = value.get("name")
        parts = [f"{key} {value_text(each)}" for key, each in value.items() if key != "name"]
        return " ".join([*([str(name)] if name else []), ", ".join(parts)]).strip()
    if isinstance(value, str):
        return value
    return format_number(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _clipped_values(axis: Any, done: Sequence[Trial], higher_is_better: bool) -> list[float]:
    """Return the values to draw, outliers clipped to the edge unless the axis is logarithmic."""
    values = [trial.value for trial in done if trial.value is not None]
    if min(values) > 0 and max(values) > LOG_RANGE * min(values):
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")  # the default writes powers in TeX, which needs parse_math
        axis.yaxis.set_minor_formatter("")
        return values
    best, middle = (max if higher_is_better else min)(values), statistics.median(values)
    limit = middle + BEYOND * (middle - best)
    if middle == best:
        return values
    return [max(value, limit) if higher_is_better else min(value, limit) for value in values]


def _x_positions(axis: Any, searched: SearchSpec, values: list[Any]) -> list[float]:
    """Return x positions; choices get one position each, in the recipe's order."""
    if isinstance(searched, LogRange):
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("")
        return values
    choices: list[Any] | None = None
    if isinstance(searched, tuple):
        choices = None if is_range(searched) else list(searched)
    elif hasattr(searched, "choices"):
        choices = list(searched.choices)
    if choices is None:
        return values
    if len(choices) <= MAX_CHOICES:
        names = [shorten(value_text(choice), 18) for choice in choices]
        turned = sum(map(len, names)) > 30
        axis.set_xticks(range(len(choices)), names, rotation=30 if turned else 0, ha="right" if turned else "center")
    axis.set_xlim(-0.5, len(choices) - 0.5)
    return [float(choices.index(value)) for value in values]


def _finish(axis: Any) -> None:
    axis.grid(axis="y", color=FAINT, linewidth=0.5)
    axis.set_axisbelow(True)
