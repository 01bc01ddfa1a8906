"""What a run wrote down in English, findings and alarms, said in the page's language.

In: entries of profile.json and alarms.jsonl. Out: the same with sentences to show and the language that they are in.
An entry of an older danlu, or of a newer one, stays in English.
"""

from danlu.core.sentences import places, recognise, sentence
from danlu.data.reasons import REASONS
from danlu.report.readings import Json
from danlu.report.tongue import Tongue


def findings(t: Tongue, profile: Json) -> list[Json]:
    """What the audit found; `line` is whether the cure is a line of the recipe and no advice in words."""
    return [_finding(t, each) for each in profile["findings"]]


def alarms(t: Tongue, lines: list[Json]) -> list[Json]:
    """What was noticed while training."""
    return [_alarm(t, each) for each in lines]


def reason(t: Tongue, said: str) -> str:
    """Why data was taken as it is, known again by its English template; as it stands where that is not ours."""
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
    """What is said under an entry's key; None where it has none that is known, or a figure lacks."""
    key, figures = f"{entry.get('key', '')}{part}", entry.get("figures", {})
    book = t.book(f"{table}.")
    if key not in book or not places(book[key]) <= set(figures):
        return None
    return sentence({**t.book("", "split."), **book}, key, figures)
