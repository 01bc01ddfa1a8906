"""The report's sections on evaluation.json, as values for the template. Nothing is recomputed.

In: the parsed evaluation. Out: figures and rows of each section; empty if a task has no such section.
"""

import json
import re
from typing import Any

from danlu.artifacts.final_figures import final_figures, final_split
from danlu.reporting.figures.bars import confusion_matrix
from danlu.reporting.figures.curves import (
    calibration_curve,
    precision_recall_curves,
    risk_coverage_curve,
    roc_curves,
    threshold_curves,
)
from danlu.reporting.format import format_bound, format_number, format_percent, format_signed, shorten
from danlu.reporting.i18n import Translator
from danlu.reporting.run_reader import ConfusedPair, Json, evaluated_splits, metric_rows, most_confused
from danlu.reporting.sections.data import MAX_CLASSES
from danlu.tasks.metric_table import METRICS

MAX_ROWS = 500  # of the class table, so that the page stays small
MAX_SLICES, MIN_SLICES = 25, 12  # most and fewest rows shown, depending on how many are worse
MAX_FOLDS = 20  # listed one by one
ERROR_NOUNS = {"confidence": "wrong answer", "labels": "row", "tags": "sentence"}  # the noun that counts worst errors
RANGE = re.compile(r"(?P<of>.*) (?P<low>\S+) to (?P<high>\S+)", re.DOTALL)  # a slice's name by a range
CLASS_SCORES = ("precision", "recall", "f1", "auroc", "average-precision")


def evaluation_sections(t: Translator, evaluation: Json, worst: Json) -> Json:
    """Build every section that is made from an evaluation."""
    test = final_figures(evaluation)
    return {
        "metrics": _metrics(t, evaluation),
        "baselines": _baselines(t, evaluation),
        "classes": _classes(t, test),
        "outputs": _outputs(test),
        "curves": _curves(t, test, evaluation),
        "thresholds": _thresholds(t, evaluation),
        "abstention": _abstention(t, test),
        "conformal": _conformal(t, evaluation),
        "slices": _slices(t, evaluation),
        "robustness": _robustness(t, evaluation),
        "worst": _worst(t, worst),
        "folds": _folds(t, evaluation),
        "looks": test_evaluations_sentence(t, evaluation["looks"]["test"]) if "looks" in evaluation else "",
    }


def _caution_key(evaluation: Json) -> str:
    """Return the key of the sentence that says what chose what."""
    if final_split(evaluation) == "validation":
        return "metrics.caution.no test"
    refits = bool((evaluation.get("folds") or {}).get("metrics"))
    plain = "metrics.caution.refit" if refits else "metrics.caution.no validation"
    return "metrics.caution" if "validation" in evaluation else plain


def _metrics(t: Translator, evaluation: Json) -> Json:
    """Build the table of metrics for the model and the baselines."""
    if not evaluation:
        return {}
    baselines = evaluation.get("baselines", {})
    told = {name: baseline_description(t, name, each.get("meaning", "")) for name, each in baselines.items()}
    how, rows, splits = evaluation.get("intervals"), metric_rows(evaluation), evaluated_splits(evaluation)
    return {
        "splits": splits,
        "caution": t(_caution_key(evaluation)),
        "has": {
            split: any(figure.value is not None for row in rows for figure in row.figures[split]) for split in splits
        },
        "judged": [t("model"), *baselines],
        "meanings": told,
        "rows": [
            {
                "name": row.name,
                "meaning": metric_description(t, row.name),
                "direction": t(row.direction) if row.direction else "",
                "figures": row.figures,
                "intervals": {split: interval_text(evaluation[split].get(row.name, {})) for split in splits},
            }
            for row in rows
        ],
        "how": how and _interval_note(t, how),
    }


def metric_description(t: Translator, name: str) -> str:
    """Describe a metric: a translation if there is one; empty for metrics of other packages."""
    if t.has(f"metric.{name}"):
        return t(f"metric.{name}")
    return METRICS[name].description if name in METRICS else ""


def baseline_description(t: Translator, name: str, english: str) -> str:
    """Describe a baseline: a translation if there is one, else the run's own text."""
    return t(f"baseline.{name}") if t.has(f"baseline.{name}") else english


def _interval_note(t: Translator, how: Json) -> str:
    """Describe how intervals were computed, in a sentence."""
    method, by = how["method"], how["resampled_by"]
    return t(
        "metrics.interval",
        confidence=format_percent(how["confidence"]),
        method=t(f"method.{method}") if t.has(f"method.{method}") else method,
        resamples=f"{how['resamples']:,}",
        by=t("row") if by == "row" else shorten(by),
    )


def interval_text(figure: Json) -> str:
    """Format an interval for a table cell; empty if there is none."""
    return f"{format_bound(figure['low'])} – {format_bound(figure['high'])}" if "low" in figure else ""


def difference_cell(figure: Json | None, metric: str) -> Json:
    """Format a difference for a table cell.

    Args:
        figure: value, and low and high if there is an interval.
        metric: tells whether higher is better.

    Returns:
        value, interval, sure: better or worse if the interval excludes 0, apart if the metric's direction is unknown.
    """
    if figure is None:
        return {"value": "", "interval": "", "sure": ""}
    told = f"{format_signed(figure['low'])} – {format_signed(figure['high'])}" if "low" in figure else ""
    sure, known = "", METRICS.get(metric)
    if "low" in figure and (figure["low"] > 0 or figure["high"] < 0):
        sure = "apart" if known is None else ("better" if (figure["low"] > 0) == known.higher_is_better else "worse")
    return {"value": format_signed(figure["value"]), "interval": told, "sure": sure}


def _baselines(t: Translator, evaluation: Json) -> Json:
    """Build the paired differences on test: a row per metric, a column per baseline."""
    final = final_split(evaluation)
    found = {
        name: each["differences"][final]
        for name, each in evaluation.get("baselines", {}).items()
        if each.get("differences", {}).get(final)
    }
    if not found:
        return {}
    names = dict.fromkeys(name for each in found.values() for name in each)
    return {
        "confidence": format_percent(evaluation["intervals"]["confidence"]),
        "names": list(found),
        "rows": [(name, [difference_cell(each.get(name), name) for each in found.values()]) for name in names],
    }


def _classes(t: Translator, test: Json) -> Json:
    """Build the confusion matrix, drawn or in words, and the per-class table on test.

    Multi-label and tagging tasks have the table only.
    """
    each: dict[str, Json] = test.get("classes", {})
    if not each:
        return {}
    columns = [name for name in CLASS_SCORES if any(name in figures for figures in each.values())]
    return {
        "count": len(each),
        "confusion": _confusion(t, test["confusion"]) if "confusion" in test else {},
        "columns": columns,
        "rows": [
            (label, [_class_cell(figures, name) for name in columns], figures["support"])
            for label, figures in list(each.items())[:MAX_ROWS]
        ],
    }


def _outputs(test: Json) -> Json:
    """Build the table of metrics per output on test, for tasks with several numbers."""
    each: dict[str, Json] = test.get("outputs", {})
    if not each:
        return {}
    columns = list(dict.fromkeys(name for figures in each.values() for name in figures))
    rows = [
        (name, [(figures.get(key, {}).get("value"), interval_text(figures.get(key, {}))) for key in columns])
        for name, figures in list(each.items())[:MAX_ROWS]
    ]
    return {"count": len(each), "columns": columns, "rows": rows}


def _confusion(t: Translator, confusion: Json) -> Json:
    pairs = most_confused(confusion)
    drawn = len(confusion["labels"]) <= MAX_CLASSES
    return {
        "figure": confusion_matrix(t, confusion) if drawn else "",
        "sentence": confusions_sentence(t, pairs),
        "pairs": [] if drawn else pairs,
    }


def confusions_sentence(t: Translator, pairs: list[ConfusedPair]) -> str:
    """Describe the most frequent confusions in a sentence."""
    if not pairs:
        return t("confusions.none")
    told = [
        t("confusion", truth=shorten(p.truth), answer=shorten(p.answer), times=t.count(p.count, "time"))
        for p in pairs[:3]
    ]
    return t("confusions", pairs=t("between clauses").join(told))


def _class_cell(figures: Json, name: str) -> tuple[Any, str]:
    interval = figures.get("intervals", {}).get(name)
    return figures.get(name), f"{format_bound(interval[0])} – {format_bound(interval[1])}" if interval else ""


def _curves(t: Translator, test: Json, evaluation: Json) -> Json:
    """Draw the ROC, precision-recall and calibration curves."""
    curves = test.get("curves")
    if not curves:
        return {}
    decision = evaluation.get("decision") or {}
    told = decision.get("calibration") or {"method": "none"}
    done = {
        "method": told["method"],
        "where": _fitted_on(t, decision),
        "before": format_number(told.get("log_loss_before")),
    }
    done["after"] = format_number(told.get("log_loss_after"))
    return {
        "roc": roc_curves(t, curves["roc"]) if curves.get("roc") else "",
        "pr": precision_recall_curves(t, curves["precision_recall"]) if curves.get("precision_recall") else "",
        "calibration": calibration_curve(t, curves["calibration"]) if curves["calibration"]["count"] else "",
        "calibrated": t("calibration.none") if told["method"] == "none" else t("calibration.done", **done),
    }


def _fitted_on(t: Translator, decision: Json) -> str:
    return t(f"fitted.{decision.get('fitted_on', 'validation')}")


def _thresholds(t: Translator, evaluation: Json) -> Json:
    """Build the table behind the threshold explorer, and its starting position."""
    table = final_figures(evaluation).get("thresholds")
    if not table:
        return {}
    decision = evaluation.get("decision") or {}
    used, where = decision.get("threshold"), _fitted_on(t, decision)
    value = used["value"] if used else 0.5
    start = min(range(len(table["threshold"])), key=lambda place: abs(table["threshold"][place] - value))
    counts = ("threshold", "true_positives", "false_positives", "false_negatives", "true_negatives")
    names = [name for name in table if name not in counts]
    return {
        "figure": threshold_curves(t, table, evaluation["labels"][1]),
        "labels": evaluation["labels"],
        "table": table,
        "json": json.dumps(table, separators=(",", ":")),
        "names": names,
        "counts": counts[1:],
        "start": start,
        "used": t("thresholds.chosen", value=format_number(value), where=where) if used else t("thresholds.likelier"),
    }


def _abstention(t: Translator, test: Json) -> Json:
    curve = test.get("abstention")
    if not curve or len(curve["coverage"]) < 2:
        return {}
    return {"figure": risk_coverage_curve(t, curve), "area": format_number(curve["area"])}


def _conformal(t: Translator, evaluation: Json) -> Json:
    """Build the coverage and size of prediction sets or intervals on test."""
    told = evaluation.get("conformal")
    if not told:
        return {}
    test, is_set = told["test"], "size" in told["test"]
    asked, where = format_percent(told["coverage"]), t(f"fitted.{told['calibrated_on']}")
    sentences = [t("conformal.sets" if is_set else "conformal.intervals", coverage=asked)]
    sentences.append(t("conformal.calibrated", rows=t.count(told["rows"], "row"), where=where))
    if told["by"] == "class":
        sentences.append(t("conformal.by class"))
    size = ("size", t("conformal.size")) if is_set else ("width", t("conformal.width"))
    return {
        "explained": t.join_sentences(sentences),
        "rows": [
            (name, test[key]["value"], interval_text(test[key]))
            for key, name in (("coverage", t("conformal.coverage")), size)
            if key in test
        ],
        "classes": [
            (label, figures["coverage"], figures["support"])
            for label, figures in list(test.get("classes", {}).items())[:MAX_ROWS]
        ],
        "count": len(test.get("classes", {})),
        "sizes": [(size, count) for size, count in enumerate(test.get("sizes", ())) if count],
    }


def _slices(t: Translator, evaluation: Json) -> Json:
    """Build the table of the worst slices of the test split."""
    slices = evaluation.get("slices") or {}
    if not slices.get("found"):
        return {}
    metric, most = slices["metric"], max(MIN_SLICES, min(MAX_SLICES, sum(each["worse"] for each in slices["found"])))
    rows = [
        {**each, "told": slice_name(t, each), "apart": difference_cell(each, metric)}
        for each in _with_value(slices["found"])
    ]
    return {
        "metric": metric,
        "sentence": slices_sentence(t, evaluation),
        "rows": rows[:most],
        "count": len(rows),
    }


def slices_sentence(t: Translator, evaluation: Json) -> str:
    """Say whether some slices of the test split are worse; empty without slices."""
    slices = evaluation.get("slices") or {}
    if not slices.get("found"):
        return ""
    worse = [each for each in slices["found"] if each["worse"]]
    if not worse:
        return t("slices.none", count=slices["looked_at"], metric=slices["metric"])
    first = worse[0]
    return t(
        "slices.worse",
        worse=len(worse),
        count=slices["looked_at"],
        slice=slice_name(t, first),
        metric=slices["metric"],
        value=format_number(first["value"]),
        rest=format_number(first["rest"]),
    )


def slice_name(t: Translator, each: Json) -> str:
    """Describe the samples of a slice in the page's language."""
    told, column = str(each["slice"]), shorten(each["column"], 40)
    if each["kind"] == "missing":
        return t("slice.missing", column=column)
    found = RANGE.fullmatch(told)
    if each["kind"] == "category" or found is None:
        return shorten(told, 80)
    return t(f"slice.{each['kind']}", of=column, column=column, low=found["low"], high=found["high"])


def _robustness(t: Translator, evaluation: Json) -> Json:
    """Build the metrics on perturbed rows: a row per metric, a column per perturbation."""
    told = evaluation.get("robustness") or {}
    if not told.get("found"):
        return {}
    found = told["found"]
    return {
        "sentence": t("robustness.explained", rows=t.count(told["rows"], "row")),
        "versions": [{"name": t(f"perturbation.{each['name']}"), "options": _options(each)} for each in found],
        "rows": [
            (name, figure["value"], [_perturbed_cell(each, name) for each in found])
            for name, figure in told["plain"].items()
        ],
    }


def _perturbed_cell(perturbation: Json, name: str) -> tuple[float | None, Json]:
    """Return a metric on a perturbed version, and its difference."""
    return perturbation["metrics"].get(name, {}).get("value"), difference_cell(
        perturbation["differences"].get(name), name
    )


def _options(perturbation: Json) -> str:
    """Describe a perturbation's strength, such as `std 0.2`."""
    return ", ".join(
        f"{key} {format_number(value)}"
        for key, value in perturbation.items()
        if key not in ("name", "metrics", "differences")
    )


def _with_value(found: list[Json]) -> list[Json]:
    """Put each slice's difference under `value`, as metrics have it, and its metric under `own`."""
    return [{**each, "own": each["value"], "value": each["difference"]} for each in found]


def _worst(t: Translator, worst: Json) -> Json:
    """Build the worst errors and a sentence that explains the selection."""
    if not worst:
        return {}
    counted = {"count": t.count(worst["count"], ERROR_NOUNS[worst["by"]])} if worst["by"] in ERROR_NOUNS else {}
    return {**worst, "sentence": t(f"worst.{worst['by']}", **counted)}


def _folds(t: Translator, evaluation: Json) -> Json:
    """Build the table of metrics over the folds."""
    folds = evaluation.get("folds")
    if not folds:
        return {}
    beyond, times = folds.get("out_of_fold", {}), t.count(folds["repeats"], "time")
    more = ["folds.refit"] if folds.get("final") == "refit" else []
    more += ["folds.nested"] if "searched" in folds else []
    explained = t("folds.explained", folds=folds["folds"], times=times, by=folds["by"])
    return {
        "explained": t.join_sentences([explained, *map(t, more)]),
        "rows": [
            {
                **each,
                "name": name,
                "interval": interval_text(each),
                "out": beyond.get(name, {}).get("value"),
                "out_interval": interval_text(beyond.get(name, {})),
                "each": ", ".join(map(format_bound, each["values"][:MAX_FOLDS])),
            }
            for name, each in folds["metrics"].items()
        ],
    }


def test_evaluations_sentence(t: Translator, count: int) -> str:
    """Say how often the test split was evaluated, and what follows."""
    return t("looks.once") if count == 1 else t("looks.several", count=count)
