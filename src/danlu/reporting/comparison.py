"""A page that compares runs: the results of `danlu compare` in words and tables, and the runs' curves overlaid.

In: the run directories and the result of the compare verb. Out: one HTML file. Nothing is recomputed.
"""

from collections.abc import Mapping
from pathlib import Path

from danlu.artifacts.files import write_text
from danlu.artifacts.final_figures import final_figures
from danlu.artifacts.run import RunDirectory
from danlu.reporting.figures.curves import overlaid_curves, roc_curves
from danlu.reporting.format import format_bound, format_number, format_percent, format_signed, shorten
from danlu.reporting.i18n import Translator, get_translator
from danlu.reporting.render import render
from danlu.reporting.run_reader import Json
from danlu.reporting.sections.evaluation import difference_cell, metric_description

MAX_ROC_CLASSES = 3  # classes with overlaid ROC curves


def write_comparison(runs: Mapping[str, RunDirectory], found: Json, file: Path, language: str = "en") -> Path:
    """Write the page.

    Args:
        runs: name -> run, in the order and by the names of `found`.
        found: the result of `compare`.
        file: the output path.
        language: en or zh.

    Raises:
        ArgumentError: the language is not supported.
        ArtifactError: the page cannot be written.
    """
    t, names, differences = get_translator(language), found["runs"], found["differences"]
    page = render(
        "compare.html.j2",
        t,
        title=t("compare.title", runs=t.join(shorten(name, 40) for name in names)),
        names=names,
        against=differences[0]["against"],
        opening=comparison_opening(t, found),
        sentences=[difference_sentence(t, found, each) for each in differences],
        tests=[_mcnemar(t, each) for each in differences if "mcnemar" in each],
        rows=comparison_rows(t, found),
        others=[each["run"] for each in differences],
        curves=_training_curves(t, {name: run.metrics() for name, run in runs.items()}),
        rocs=_rocs(t, {name: run.evaluation() for name, run in runs.items()}),
        recipes=_recipe_rows(found),
    )
    write_text(file, page)
    return file


def comparison_opening(t: Translator, found: Json) -> str:
    """Say which runs are compared, on how many rows."""
    first = found["differences"][0]
    return t(
        "compare.opening",
        count=len(found["runs"]),
        rows=t.count(found["rows"], "row"),
        first=first["against"],
        confidence=format_percent(first["confidence"]),
    )


def difference_sentence(t: Translator, found: Json, each: Json) -> str:
    """Say whether a run beats the first one by the main metric."""
    metric = found["main"]["metric"]
    told = {"run": each["run"], "first": each["against"], "metric": metric}
    figure = each["metrics"].get(metric)
    if figure is None or "low" not in figure:
        return t("compare.unknown", **told)
    bounds = {"low": format_signed(figure["low"]), "high": format_signed(figure["high"])}
    told |= {"difference": format_signed(figure["value"])}
    told |= {"interval": t("interval", confidence=format_percent(each["confidence"]), **bounds)}
    if figure["low"] <= 0 <= figure["high"]:
        return t("compare.unclear", **told)
    better = (figure["value"] > 0) == found["main"]["higher_is_better"]
    return t("compare.better" if better else "compare.worse", **told)


def _mcnemar(t: Translator, each: Json) -> str:
    test = each["mcnemar"]
    alone = {"first_alone": f"{test['first_alone']:,}", "second_alone": f"{test['second_alone']:,}"}
    return t(
        "compare.mcnemar", run=each["run"], against=each["against"], p=format_bound(float(test["p_value"])), **alone
    )


def comparison_rows(t: Translator, found: Json) -> list[Json]:
    """Build a row per metric: its meaning, each run's value, each difference."""
    return [
        {
            "name": name,
            "meaning": metric_description(t, name),
            "figures": [format_number(figures.get(run)) or "–" for run in found["runs"]],
            "apart": [difference_cell(each["metrics"].get(name), name) for each in found["differences"]],
        }
        for name, figures in found["metrics"].items()
    ]


def _training_curves(t: Translator, logs: Mapping[str, list[Json]]) -> list[str]:
    """Draw every logged metric of the runs."""
    metrics = dict.fromkeys(key for log in logs.values() for line in log for key in line if "/" in key)
    return [drawn for metric in metrics if (drawn := overlaid_curves(t, metric, logs))]


def _rocs(t: Translator, evaluations: Mapping[str, Json]) -> list[tuple[str, str]]:
    """Draw ROC curves of the first classes, one line per run."""
    every = [final_figures(each).get("curves", {}).get("roc", {}) for each in evaluations.values()]
    shared = [label for label in every[0] if all(label in each for each in every)][:MAX_ROC_CLASSES]
    drawn = []
    for place, label in enumerate(shared):
        lines = {name: roc[label] for name, roc in zip(evaluations, every, strict=True)}
        drawn.append((t("compare.roc", label=shorten(label)), roc_curves(t, lines, f"roc-{place}", shorten(label))))
    return drawn


def _recipe_rows(found: Json) -> list[tuple[str, list[str]]]:
    """List the recipe keys that differ, with each run's value."""
    return [
        (row["key"], ["–" if row[name] is None else str(row[name]) for name in found["runs"]])
        for row in found["recipes"]
    ]
