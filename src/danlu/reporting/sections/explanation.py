"""The report's section on explanations: what `danlu explain RUN -o RUN/explanation` found, in the page's language.

In: `explanation/explanation.json` of a run. Out: sentences and rows of tables for the template; nothing without it.
"""

from typing import Any

import numpy as np

from danlu.artifacts.files import read_json
from danlu.artifacts.run import RunDirectory
from danlu.reporting.format import format_bound, format_number, shorten
from danlu.reporting.i18n import Translator
from danlu.reporting.run_reader import Json
from danlu.reporting.sections.network_explanations import images, is_of_pixels, is_of_words, texts

FOLDER, DOCUMENT, ARRAYS = "explanation", "explanation.json", "values.npz"
MOST_COLUMNS, MOST_LOCAL = 15, 10
NAMED = ("shap", "lime", "random", "input-magnitude", "edges")
Row = tuple[str, ...]


def explanation_section(t: Translator, run: RunDirectory) -> Json:
    """Build the section on explanations; empty where nothing was explained."""
    file = run.path / FOLDER / DOCUMENT
    if not file.is_file():
        return {}
    found = read_json(file)
    overall = {each["method"]: each for each in found["global"]}
    networks = [one for one in found["local"] if is_of_pixels(one) or is_of_words(one)]
    shap = [] if networks else [one for one in found["local"] if one["method"] == "shap"]
    return {
        "images": _images(t, run, networks),
        "texts": texts(t, networks, MOST_LOCAL),
        "warnings": [each["message"] for each in found["warnings"]],
        "importance": _importance(overall["permutation"]) if "permutation" in overall else [],
        "metric": overall.get("permutation", {}).get("metric", ""),
        "summary": _summary(shap),
        "explained": t.count(len(shap), "row"),
        "local": [_local(one) for one in shap[:MOST_LOCAL]],
        "rules": _rules(t, overall["surrogate"]) if "surrogate" in overall else {},
        "counterfactuals": [_counterfactual(t, each) for each in found["counterfactuals"][:MOST_LOCAL]],
        "influence": [_influence(t, each) for each in found.get("influence", ())][:MOST_LOCAL],
        "trust": [_trust(t, each) for each in found["trust"] if "infidelity" in each],
        "most": MOST_COLUMNS,
    }


def _images(t: Translator, run: RunDirectory, local: list[Json]) -> list[Json]:
    file = run.path / FOLDER / ARRAYS
    if not file.is_file() or not any(is_of_pixels(one) for one in local):
        return []
    with np.load(file, allow_pickle=False) as arrays:
        return images(t, local, arrays, MOST_LOCAL)


def _between(figure: Json) -> str:
    if figure["low"] is None or figure["low"] == figure["high"]:
        return "–"
    return f"{format_bound(figure['low'])} … {format_bound(figure['high'])}"


def _importance(found: Json) -> list[Row]:
    """Return the most important columns, with their conditional importance beside."""
    ordered = sorted(found["columns"], key=lambda each: -each["value"])[:MOST_COLUMNS]
    return [
        (
            each["name"],
            format_number(each["value"]),
            _between(each),
            format_number(each["conditional"]["value"]),
            _between(each["conditional"]),
        )
        for each in ordered
    ]


def _summary(shap: list[Json]) -> list[Row]:
    """Return the columns with the largest mean size of their values."""
    if not shap:
        return []
    sizes: dict[str, list[float]] = {}
    apart: dict[str, int] = {}
    for one in shap:
        for each in one["values"]:
            sizes.setdefault(each["name"], []).append(abs(each["value"]))
        for name in one["told_apart"]:
            apart[name] = apart.get(name, 0) + 1
    means = {name: float(np.mean(values)) for name, values in sizes.items()}
    ordered = sorted(means, key=lambda name: (-means[name], name))[:MOST_COLUMNS]
    return [(name, format_number(means[name]), f"{apart.get(name, 0)} / {len(shap)}") for name in ordered]


def _local(one: Json) -> Json:
    ordered = sorted(one["values"], key=lambda each: -abs(each["value"]))[:MOST_COLUMNS]
    rows = [(each["name"], _cell(each["input"]), format_number(each["value"]), _between(each)) for each in ordered]
    return {
        "row": one["row"],
        "label": one["label"] or "",
        "answer": format_number(one["answer"]),
        "base": format_number(one["base"]),
        "scale": one["scale"],
        "count": len(one["values"]),
        "rows": rows,
    }


def _rules(t: Translator, found: Json) -> Json:
    rows = [(t.join(each["if"]), format_number(each["value"]), f"{each['rows']:,}") for each in found["rules"]]
    fidelity = found["fidelity"]
    return {"fidelity": format_number(fidelity["value"]), "interval": _between(fidelity), "rows": rows}


def _counterfactual(t: Translator, found: Json) -> Row:
    changes = [f"{name}: {_cell(was)} → {_cell(now)}" for name, (was, now) in found["changes"].items()]
    return (str(found["row"]), t.join(changes), str(found["prediction"]))


def _influence(t: Translator, found: Json) -> Row:
    """Return a row, and the training rows for and against its answer, by number."""
    sides = [t.join([str(each["row"]) for each in found[side]]) or "–" for side in ("helped", "hindered")]
    return (str(found["row"]), *sides)


def _trust(t: Translator, found: Json) -> Json:
    figures = {name: found[name] for name in ("infidelity", "stability", "randomisation") if found[name] is not None}
    rows = [(t(f"explanation.{name}"), format_number(each["value"]), _between(each)) for name, each in figures.items()]
    for name, each in found["dummies"].items():
        rows.append((t("explanation.dummy", method=_method(t, name)), format_number(each["value"]), _between(each)))
    removal = found.get("removal") or {}
    for name, each in removal.get("areas", {}).items():
        rows.append((t("explanation.removed", method=_method(t, name)), format_number(each["value"]), _between(each)))
    ranks = [t.join([_method(t, name) for name in group]) for group in removal.get("ranks", ())]
    return {
        "title": t("explanation.trust", method=_method(t, found["method"])),
        "beats": found["beats_dummies"],
        "rows": rows,
        "ranks": t("explanation.ranks", ranks=" > ".join(ranks)) if ranks else "",
    }


def _method(t: Translator, name: str) -> str:
    """Return a method's or a dummy's name as people read it; abbreviations in capitals."""
    return t(f"explanation.values.{name}") if name in NAMED else name.replace("-", " ")


def _cell(value: Any) -> str:
    return format_number(value) if isinstance(value, float | int) and not isinstance(value, bool) else shorten(value)
