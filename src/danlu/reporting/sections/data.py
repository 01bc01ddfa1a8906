"""The report's section on data: the target, class balance, the columns. Out: values for the template."""

from danlu.reporting.figures.bars import balance_bars, class_bars, number_bars, sparkline
from danlu.reporting.format import format_number, shorten
from danlu.reporting.i18n import Translator
from danlu.reporting.run_reader import Json
from danlu.reporting.sections.findings import translate_reason

MAX_CLASSES = 20  # that are drawn; more are listed in a sentence and a table
PARTS = ("train", "validation", "test")


def data_section(t: Translator, profile: Json) -> Json:
    """Build the section on data."""
    return {
        "target": _target(t, profile["target"]),
        "balance": _balance(t, (profile["target"] or {}).get("balanced")),
        "task": t(f"task.{profile['task']}"),
        "task_reason": translate_reason(t, profile["task_reason"]),
        "dropped": [(translate_reason(t, why), count) for why, count in profile["dropped"].items()],
        "columns": [_column(t, column, int(profile["rows"])) for column in profile["columns"]],
    }


def _target(t: Translator, target: Json | None) -> Json:
    """Describe the target's distribution: bars and a class table, or a histogram of each number."""
    if target is None:
        return {}
    if "classes" not in target:
        outputs = target.get("outputs", {target["name"]: target})
        numbers = [_number(t, *each) for each in outputs.items()]
        return {"name": ", ".join(outputs), "numbers": numbers, "figure": "", "classes": []}
    classes: dict[str, dict[str, int]] = target["classes"]
    totals = {label: sum(counts.values()) for label, counts in classes.items()}
    rows = [(label, *(counts.get(part, 0) for part in PARTS), totals[label]) for label, counts in classes.items()]
    return {
        "name": target["name"],
        "numbers": [],
        "figure": class_bars(t, totals) if 0 < len(classes) <= MAX_CLASSES else "",
        "classes": rows,
    }


def _number(t: Translator, name: str, figures: Json) -> Json:
    """Describe a numeric target: a histogram, and its quartiles in words."""
    drawn = number_bars(t, name, figures) if "histogram" in figures else ""
    return {"name": name, "figure": drawn, "spread": spread_text(t, figures)}


def _balance(t: Translator, balanced: Json | None) -> Json:
    """Describe class balancing: a sentence, bars if the counts changed, and a table."""
    if balanced is None:
        return {}
    classes, weights = balanced["classes"], balanced["weights"]
    before, after = ({label: counts[when] for label, counts in classes.items()} for when in ("before", "after"))
    return {
        "effect": translate_reason(t, balanced["effect"]),
        "figure": balance_bars(t, before, after) if before != after and len(classes) <= MAX_CLASSES else "",
        "weighted": bool(weights),
        "rows": [(label, before[label], after[label], weights.get(label)) for label in classes],
    }


def _column(t: Translator, column: Json, rows: int) -> Json:
    """Build a row of the table of columns."""
    drawn = column if "histogram" in column else column.get("characters", {})
    return {
        **column,
        "reason": translate_reason(t, column["reason"]),
        "missing_share": f" ({column['missing'] / rows:.1%})" if column["missing"] and rows else "",
        "spark": sparkline(t, drawn) if "histogram" in drawn else "",
        "spread": spread_text(t, column),
    }


def spread_text(t: Translator, column: Json) -> str:
    """Describe a column's values on one line; empty if the profile has none."""
    if "median" in column:
        low, middle, high = (format_number(column[key]) for key in ("min", "median", "max"))
        return t("spread", low=low, middle=middle, high=high)
    if column.get("characters"):
        return t("spread.characters", spread=spread_text(t, column["characters"]))
    if "most_frequent" in column:
        told = [f"{shorten(name)} ({format_number(count)})" for name, count in column["most_frequent"][:4]]
        return t.join(told) + (f"{t('between')}…" if column["unique"] > len(told) else "")
    return t("range", low=shorten(column["first"]), high=shorten(column["last"])) if "first" in column else ""
