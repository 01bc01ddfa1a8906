"""Print tables and values on a terminal."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from danlu.artifacts.final_figures import figures_of, final_figures, final_split
from danlu.core.error_document import FORMAT
from danlu.core.language import LANGUAGES, console_language
from danlu.core.text import printable

FIGURE = ("value", "low", "high")


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_document(found: Mapping[str, Any]) -> None:
    """Print what a verb found as JSON, with the version of its form."""
    print_json({"format": FORMAT, **found})


def say(text: str = "") -> None:
    """Print text for people, in their language.

    What would act on the terminal, in a name of the data, is shown by its code.
    """
    print(printable(shown(text)))


def shown(text: str) -> str:
    """Return a text in the language of the terminal's user.

    In English nothing is imported for it.
    """
    if console_language() == LANGUAGES[0]:
        return text
    from danlu.reporting.console_words import translate

    return translate(text)


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows under their keys, or nothing when there are none."""
    if not rows:
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for key in rows[0]:
        table.add_column(escape(printable(shown(str(key)))), overflow="fold")
    for row in rows:
        table.add_row(*(escape(format_value(value)) for value in row.values()))
    # A pipe has no width; do not wrap rows there.
    Console(width=None if sys.stdout.isatty() else 240).print(table)


def format_value(value: Any) -> str:
    """Format a value for a table: four significant digits, empty for None."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))


def metric_rows(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Convert evaluation.json to rows: metric, its value per split, and each baseline on test."""
    final = final_split(evaluation)
    if not final_figures(evaluation):  # judged on other data
        figures = evaluation["data"].items()
        return [{"metric": name, **{key: each.get(key) for key in FIGURE}} for name, each in figures if "value" in each]
    rows: list[dict[str, Any]] = []
    for name, figure in final_figures(evaluation).items():
        if "value" not in figure:
            continue
        row = {"metric": name}
        if "validation" in evaluation:  # absent if the model was trained on all rows but the test rows
            row["validation"] = evaluation["validation"].get(name, {}).get("value")
        row[final] = figure["value"]
        for baseline, figures in evaluation["baselines"].items():
            row[f"{baseline} ({final})"] = figures_of(figures, final).get(name, {}).get("value")
        rows.append(row)
    return rows


def fold_rows(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Convert a cross-validation's figures to rows: metric, mean, deviation and interval; none without folds."""
    return [
        {
            "metric": name,
            "mean": figure["mean"],
            "deviation": figure["std"],
            "interval": f"{format_value(figure['low'])} to {format_value(figure['high'])}",
        }
        for name, figure in evaluation.get("folds", {}).get("metrics", {}).items()
    ]


def print_evaluation(evaluation: Mapping[str, Any]) -> None:
    """Print a run's figures on its splits, and those over its folds."""
    print_table(metric_rows(evaluation))
    if rows := fold_rows(evaluation):
        count = evaluation["folds"]["folds"] * evaluation["folds"]["repeats"]
        say(f"\nover {count} folds")
        print_table(rows)
