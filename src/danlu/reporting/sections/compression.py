"""The report's section on compression: what `danlu compress` found, in the page's language.

In: `compression.json` of a run. Out: sentences, rows of tables and figures for the template; nothing without it.
"""

from danlu.artifacts.files import read_json
from danlu.artifacts.run import RunDirectory
from danlu.recipe.sections.compression import step_label
from danlu.reporting.difference_page import difference_section
from danlu.reporting.figures.compression import front_figure
from danlu.reporting.format import format_bound, format_number, format_percent, format_signed
from danlu.reporting.i18n import Translator
from danlu.reporting.run_reader import Json
from danlu.reporting.sections.evaluation import slice_name

DOCUMENT = "compression.json"
BATCHES = ("1", "32")
BYTES_A_MIB = 2**20
MOST_FIELDS = 8  # of a row


def compression_section(t: Translator, run: RunDirectory) -> Json:
    """Build the section on compression; empty where nothing was compressed."""
    file = run.path / DOCUMENT
    if not file.is_file():
        return {}
    found = read_json(file)
    metric = found.get("budget", {}).get("metric", "")
    return {
        "told": _promise(t, found),
        "cpu": t("compression.cpu", name=found["cpu"]["name"], features=", ".join(found["cpu"]["features"]) or "?"),
        "metric": metric,
        "batches": BATCHES if metric else (),
        "points": [_point(t, point, found) for point in found["points"]],
        "figure": front_figure(t, found) if metric else "",
        "gains": [row for point in found["points"] for row in _gains(point)],
        "rolled_back": [(_label(each["step"]), each["why"]) for each in found["rolled_back"]],
        "beside": _beside(t, found) if "beside" in found else {},
    }


def _promise(t: Translator, found: Json) -> str:
    """Say what was promised, and on which rows."""
    if "budget" not in found:
        return t("compression.steps")
    budget, rows = found["budget"], found["rows"]
    searched, accepted = (t.count(rows[each], "row") for each in ("searched", "accepted"))
    said = [
        t(
            "compression.kept" if budget["kept"] else "compression.not kept",
            id=found["chosen"],
            metric=budget["metric"],
            drop=format_number(budget["max_drop"]),
            confidence=format_percent(budget["confidence"]),
            rows=accepted,
        )
    ]
    if "smallest_drop" in budget:
        said.append(t("compression.few", smallest=format_number(budget["smallest_drop"])))
    said.append(t("compression.halves", searched=searched, accepted=accepted))
    return t.join_sentences(said)


def _point(t: Translator, point: Json, found: Json) -> Json:
    """Return the cells of a model."""
    metric = point.get("metrics", {}).get(found.get("budget", {}).get("metric", ""))
    drop, memory = point.get("drop"), point.get("peak_memory_bytes")
    return {
        "id": point["id"],
        "is_chosen": point["id"] == found["chosen"],
        "on_front": point["on_front"] and "budget" in found,
        "steps": ", ".join(_label(step) for step in point["steps"]) or t("compression.original"),
        "engine": point["engine"],
        "metric": _with_interval(metric),
        "drop": ("", "") if drop is None else _drop(t, drop),
        "flipped": point.get("flipped"),
        "size": point["size_bytes"],
        "memory": None if memory is None else round(memory / BYTES_A_MIB),
        "latency": [_latency(point, size) for size in BATCHES],
        "speedup": [_with_interval(point.get("speedup", {}).get(size)) for size in BATCHES],
    }


def _drop(t: Translator, drop: Json) -> tuple[str, str]:
    high = drop.get("high")
    return format_bound(drop["value"]), "" if high is None else t("compression.most", bound=format_bound(high))


def _with_interval(figure: Json | None) -> tuple[str, str]:
    """Return a figure and its interval."""
    if figure is None:
        return "", ""
    low, high = figure.get("low"), figure.get("high")
    has_width = low is not None and low != high
    return format_number(figure["value"]), f"{format_bound(low)} … {format_bound(high)}" if has_width else ""


def _latency(point: Json, size: str) -> tuple[str, str]:
    times = point.get("latency_ms", {}).get(size)
    return ("", "") if times is None else (format_bound(times["p50"]), format_bound(times["p99"]))


def _gains(point: Json) -> list[tuple[str, str, str, str, str]]:
    """Return what each step of a model gained."""
    return [
        (
            point["id"],
            _label(step),
            format_bound(step["gain"]["latency"]["value"]),
            format_signed(step["gain"]["metric"]["value"]),
            format_percent(round(step["gain"]["size"]["value"], 3)),
        )
        for step in point["steps"][-1:]  # those before are the last ones of other models
        if step["gain"]
    ]


def _label(step: Json) -> str:
    """Return a step's name with the option that says how much, as prune=0.5."""
    name = step.get("name") or next(key for key in step if key != "gain")
    return step_label(str(name), step if "name" in step else step[name])


def _beside(t: Translator, found: Json) -> Json:
    """Return what the chosen model changes on test rows."""
    beside = found["beside"]
    value, bound = _drop(t, beside["drop"])
    return {
        "told": t(
            "compression.beside.told",
            rows=t.count(beside["rows"], "row"),
            id=found["chosen"],
            metric=found["budget"]["metric"],
            drop=value,
            bound=bound or "–",
        ),
        "slices": [
            (
                t("compression.class", label=each["slice"]) if each["kind"] == "class" else slice_name(t, each),
                each["size"],
                format_bound(each["value"]),
                format_bound(each["rest"]),
                f"{format_signed(each['low'])} … {format_signed(each['high'])}",
                each["worse"],
            )
            for each in beside["slices"]
        ],
        "flips": [{**each, "fields": list(each["fields"].items())[:MOST_FIELDS]} for each in beside["flips"]],
        "difference": difference_section(t, beside["layers"]) if beside["layers"] else {},
    }
