"""The page of a server: what its form shows of a bundle, and in which language.

In: opened bundles by name. Out: HTML and headers. How a page looks is decided in `danlu.reporting`.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from danlu.core.language import LANGUAGES, Language
from danlu.data.reference import trained_ranges
from danlu.reporting.format import format_number
from danlu.reporting.i18n import Translator
from danlu.reporting.sections.findings import translate_findings
from danlu.reporting.serve_page import FormField, ShownModel, serve_page
from danlu.serving.answering import Served
from danlu.serving.schema import InputColumn

MOST_CHOICES = 200
# To be sent with the page, which says the rest itself.
HEADERS = {
    "content-security-policy": "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
Json = dict[str, Any]


def choose_language(asked: str | None, accepted: str) -> Language:
    """Return the language of a page.

    Args:
        asked: of the address, `?lang=zh`; None where it says nothing.
        accepted: the header Accept-Language.
    """
    for known in LANGUAGES:
        if asked == known:
            return known
    return "zh" if accepted.strip().lower().startswith("zh") else "en"


def page(models: Mapping[str, Served], name: str | None, language: Language, chatting: Collection[str] = ()) -> str:
    """Build the page of a model.

    Args:
        models: all that are served.
        name: the model; None for the only one, or for the list of several.
        language: of the page.
        chatting: models with which conversations can be held.
    """
    chosen = name if name is not None or len(models) != 1 else next(iter(models))
    shown = None if chosen is None else _shown(chosen, models[chosen], chosen in chatting)
    return serve_page(Translator(language), list(models), shown)


def drift_in(report: Json, language: Language) -> Json:
    """Return a report of drift whose findings have a `text` in one language."""
    translated = translate_findings(Translator(language), {"findings": report["findings"]})
    texts = [f"{each['subject']}: {each['message']}" for each in translated]
    found = [{**finding, "text": text} for finding, text in zip(report["findings"], texts, strict=True)]
    return {**report, "findings": found}


def _shown(name: str, served: Served, chats: bool) -> ShownModel:
    """Return what the form shows; of training data only what the bundle tells in sums."""
    reference = served.predictor.bundle.reference() or {}
    told, ranges = reference.get("columns", {}), trained_ranges(reference)
    fields = tuple(
        _field(served, column, told.get(column.name, {}), ranges.get(column.name)) for column in served.columns
    )
    return ShownModel(name, served.predictor.manifest.task, served.engine, served.is_explainable, fields, chats)


def _field(
    served: Served, column: InputColumn, told: Mapping[str, Any], trained: tuple[float, float] | None
) -> FormField:
    if column.type == "category":
        choices = tuple(told.get("shares", {}))[:MOST_CHOICES]
        return FormField(column.name, column.type, example=next(iter(choices), ""), choices=choices)
    if trained is None or column.type not in ("number", "datetime"):
        return FormField(column.name, _kind(served, column))
    middle = told["quantiles"][len(told["quantiles"]) // 2]
    if column.type == "number":
        low, high = (format_number(edge) for edge in trained)
        return FormField(column.name, column.type, f"{middle:.6g}", low, high)
    low, high = (_date(edge, column) for edge in trained)
    return FormField(column.name, column.type, _date(middle, column), low, high)


def _kind(served: Served, column: InputColumn) -> str:
    """Return how a field is read: words, JSON of messages, or the column's own type."""
    kind = served.predictor.kind
    if kind.answers_each_word:
        return "tokens"
    is_message = not (kind.has_feature_columns or kind.shows_pictures or kind.content_is_text)
    return "nested" if is_message else column.type


def _date(seconds: float, column: InputColumn) -> str:
    """Return a moment as the training file wrote dates."""
    return datetime.fromtimestamp(seconds, UTC).strftime(column.reading.format or "%Y-%m-%d")
