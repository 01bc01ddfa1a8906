"""Translation of findings and alarms that a run has recorded in English.

In: entries of profile.json and alarms.jsonl. Out: the same entries with translated sentences and their language.
Entries of an older or newer danlu stay in English.
"""

from danlu.core.sentences import places, recognise, sentence
from danlu.data.reasons import REASONS
from danlu.report.readings import Json
from danlu.report.tongue import Tongue


def findings(t: Tongue, profile: Json) -> list[Json]:
    """Translate the audit's findings; `line` marks cures that are a recipe line."""
    return [_finding(t, each) for each in profile["findings"]]


def alarms(t: Tongue, lines: list[Json]) -> list[Json]:
    """Translate the alarms of training."""
    return [_alarm(t, each) for each in lines]


def reason(t: Tongue, said: str) -> str:
    """Translate a reason recognized by its English template; others stay unchanged."""
    found = recognise(REASONS, said)
    return said if found is None or t.language == "en" else t(f"reason.{found[0]}", **found[1])


def _finding(t: Tongue, found: Json) -> Json:
    message, line = said(t, "finding", found, ""), " " not in found["cure"].split(":")[0]
    if message is None:
        return {**found, "language": "en", "line": line}
    return {
        **found,
        "line": line,
        "subject": said(t, "finding", found, ".subject") or found["subject"],
        "message": message,
        "cure": said(t, "finding", found, ".cure") or found["cure"],
        "language": t.language,
    }


def _alarm(t: Tongue, line: Json) -> Json:
    message, kind = said(t, "alarm", line, ""), said(t, "alarm", line, ".kind")
    if message is None or kind is None:
        return {**line, "language": "en"}
    return {**line, "message": message, "kind": kind, "language": t.language}


def said(t: Tongue, table: str, entry: Json, part: str) -> str | None:
    """Translate an entry by its key; None if the key or a value is missing."""
    key, figures = f"{entry.get('key', '')}{part}", entry.get("figures", {})
    book = t.book(f"{table}.")
    if key not in book or not places(book[key]) <= set(figures):
        return None
    return sentence({**t.book("", "split."), **book}, key, figures)
