"""Translation of findings and alarms that a run has recorded in English.

In: entries of profile.json and alarms.jsonl. Out: the same entries with translated sentences and their language. In
English they stay as the run has them; so do entries of an older or newer danlu in every language.
"""

from danlu.core.text import format_message, match_message, placeholders
from danlu.data.messages import REASONS
from danlu.reporting.i18n import Translator
from danlu.reporting.run_reader import Json


def translate_findings(t: Translator, profile: Json) -> list[Json]:
    """Translate the audit's findings; `line` marks cures that are a recipe line."""
    return [_finding(t, each) for each in profile["findings"]]


def translate_alarms(t: Translator, lines: list[Json]) -> list[Json]:
    """Translate the alarms of training."""
    return [_alarm(t, each) for each in lines]


def translate_reason(t: Translator, said: str) -> str:
    """Translate a reason recognized by its English template; others stay unchanged."""
    found = match_message(REASONS, said)
    return said if found is None or t.language == "en" else t(f"reason.{found[0]}", **found[1])


def _finding(t: Translator, found: Json) -> Json:
    message, line = translate_entry(t, "finding", found, ""), " " not in found["cure"].split(":")[0]
    if message is None:
        return {**found, "language": "en", "line": line}
    return {
        **found,
        "line": line,
        "subject": translate_entry(t, "finding", found, ".subject") or found["subject"],
        "message": message,
        "cure": translate_entry(t, "finding", found, ".cure") or found["cure"],
        "language": t.language,
    }


def _alarm(t: Translator, line: Json) -> Json:
    message, kind = translate_entry(t, "alarm", line, ""), translate_entry(t, "alarm", line, ".kind")
    if message is None or kind is None:
        return {**line, "language": "en"}
    return {**line, "message": message, "kind": kind, "language": t.language}


def translate_entry(t: Translator, table: str, entry: Json, part: str) -> str | None:
    """Translate an entry by its key; None if the key or a value is missing."""
    key, values = f"{entry.get('key', '')}{part}", entry.get("figures", {})
    templates = t.entries(f"{table}.")
    if key not in templates or not placeholders(templates[key]) <= set(values):
        return None
    splits = {f"split.{name}": text for name, text in t.entries("split.").items()}
    return format_message({**splits, **templates}, key, values)
