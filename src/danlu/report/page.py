"""report.html, put together: what is in the run directory, read once, and handed to the page's template.

In: a run directory. Out: one file without scripts that loads nothing. Sentences are made in words.py, pictures in
figures.py; whatever comes from the data is escaped by the template.
"""

import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

from danlu.artifacts.files import read_json, write_text
from danlu.artifacts.lines import ALARMS, THROUGHPUT, read_lines
from danlu.artifacts.run import ENVIRONMENT, RECIPE, REPORT, RunDirectory
from danlu.report import words
from danlu.report.figures import (
    balance_bars,
    class_bars,
    confusion_matrix,
    inlined,
    number_bars,
    sparkline,
    training_curves,
)
from danlu.report.learning import learning
from danlu.report.readings import SPLITS, Json, kept_step, metric_rows, most_confused

MOST_CLASSES = 20  # drawn; more are told in a sentence and a table
MOST_ROWS = 500  # of a table of classes, so that the page stays small
MOST_COLUMNS = 30  # shown at once; the others open on demand
LR_RANGE = "lr-range.svg"
PARTS = ("train", "validation", "test")


def write_report(run: RunDirectory) -> Path:
    """Write a run's report from the files in its directory.

    Args:
        run: a trained run; one that is not evaluated yet gets a page without metrics.

    Returns:
        the page's path.

    Raises:
        ArtifactError: a file is missing or damaged, or the page cannot be written.
    """
    profile = read_json(run.path / "data" / "profile.json")
    evaluation, log = run.evaluation(), run.metrics()
    page = _render(
        title=f"danlu report - {run.path.resolve().name}",
        summary=words.summarise(profile, evaluation),
        profile=profile,
        metrics=_metrics(evaluation),
        classes=_classes(evaluation),
        curves=_curves(run, log, evaluation),
        target=_target(profile["target"]),
        balance=_balance((profile["target"] or {}).get("balanced")),
        columns=[_column(column, int(profile["rows"])) for column in profile["columns"]],
        recipe=(run.path / RECIPE).read_text(encoding="utf-8"),
        environment=_environment(read_json(run.path / ENVIRONMENT)),
    )
    path = run.path / REPORT
    write_text(path, page)
    return path


def _curves(run: RunDirectory, log: list[Json], evaluation: Json) -> Json:
    """How training went: which weights were kept, what the curves say, what was noticed, how fast it was."""
    searched = run.path / LR_RANGE
    return {
        "figure": training_curves(log),
        "kept": words.kept(kept_step(log)),
        "learned": words.learned(learning(log, evaluation)),
        "alarms": read_lines(run.path / ALARMS),
        "throughput": words.throughput(read_lines(run.path / THROUGHPUT)),
        "lr_range": inlined(searched, "lr-range", "Loss by learning rate") if searched.is_file() else "",
    }


def _render(**sections: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("danlu.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": words.number, "short": words.short}
    style = files("danlu.report").joinpath("style.css").read_text(encoding="utf-8")
    return environment.get_template("page.html.j2").render(
        style=style, most_columns=MOST_COLUMNS, most_rows=MOST_ROWS, **sections
    )


def _metrics(evaluation: Json) -> Json:
    """The table of metrics: who is judged, on what, and the rows."""
    if not evaluation:
        return {}
    baselines = evaluation.get("baselines", {})
    meanings = {name: baseline.get("meaning", "") for name, baseline in baselines.items()}
    return {"splits": SPLITS, "judged": ["model", *baselines], "meanings": meanings, "rows": metric_rows(evaluation)}


def _classes(evaluation: Json) -> Json:
    """The confusion matrix, drawn or told, and each class's figures on test."""
    test = evaluation.get("test", {})
    if "confusion" not in test:
        return {}
    pairs = most_confused(test["confusion"])
    drawn = len(test["confusion"]["labels"]) <= MOST_CLASSES
    return {
        "count": len(test["confusion"]["labels"]),
        "figure": confusion_matrix(test["confusion"]) if drawn else "",
        "sentence": words.confusions(pairs),
        "pairs": [] if drawn else pairs,
        "rows": list(test.get("classes", {}).items())[:MOST_ROWS],
    }


def _target(target: Json | None) -> Json:
    """The target's distribution: bars and a table of classes, or a histogram and its quartiles."""
    if target is None:
        return {}
    if "classes" not in target:
        drawn = number_bars(target["name"], target) if "histogram" in target else ""
        return {"name": target["name"], "figure": drawn, "spread": _spread(target), "classes": []}
    classes: dict[str, dict[str, int]] = target["classes"]
    totals = {label: sum(counts.values()) for label, counts in classes.items()}
    rows = [(label, *(counts.get(part, 0) for part in PARTS), totals[label]) for label, counts in classes.items()]
    return {
        "name": target["name"],
        "figure": class_bars(totals) if 0 < len(classes) <= MOST_CLASSES else "",
        "spread": "",
        "classes": rows,
    }


def _balance(balanced: Json | None) -> Json:
    """What was done about classes of unequal size: a sentence, bars where the counts changed, and a table."""
    if balanced is None:
        return {}
    classes, weights = balanced["classes"], balanced["weights"]
    before, after = ({label: counts[when] for label, counts in classes.items()} for when in ("before", "after"))
    return {
        "effect": balanced["effect"],
        "figure": balance_bars(before, after) if before != after and len(classes) <= MOST_CLASSES else "",
        "weighted": bool(weights),
        "rows": [(label, before[label], after[label], weights.get(label)) for label in classes],
    }


def _column(column: Json, rows: int) -> Json:
    """A row of the table of columns."""
    spread = column if "histogram" in column else column.get("characters", {})
    return {
        **column,
        "missing_share": f" ({column['missing'] / rows:.1%})" if column["missing"] and rows else "",
        "spark": sparkline(spread) if "histogram" in spread else "",
        "spread": _spread(column),
    }


def _spread(column: Json) -> str:
    """What a column's values are, in one line; nothing where the profile has not looked."""
    if "median" in column:
        low, middle, high = (words.number(column[key]) for key in ("min", "median", "max"))
        return f"{low} to {high}, median {middle}"
    if column.get("characters"):
        return f"{_spread(column['characters'])} characters"
    if "most_frequent" in column:
        told = [f"{words.short(name)} ({words.number(count)})" for name, count in column["most_frequent"][:4]]
        return ", ".join(told) + (", …" if column["unique"] > len(told) else "")
    return f"{words.short(column['first'])} to {words.short(column['last'])}" if "first" in column else ""


def _environment(environment: Json) -> list[tuple[str, str]]:
    """The environment as rows; what has parts is written in one line."""
    return [(name, _line(name, value)) for name, value in environment.items() if value is not None]


def _line(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {inner}" for key, inner in value.items())
    if isinstance(value, list):
        parts = [str(part) for part in value]
        return shlex.join(parts) if name == "command" else ", ".join(parts)
    return str(value)
