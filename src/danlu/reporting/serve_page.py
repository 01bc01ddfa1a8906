"""The page of a server, to try a model by hand: a form, the answer, its explanation, drift.

In: what a model reads, as plain values. Out: HTML that loads nothing from elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from danlu.core.language import LANGUAGES, Language
from danlu.reporting.i18n import Translator
from danlu.reporting.render import render
from danlu.reporting.run_reader import Json

POLICY = "connect-src 'self'; form-action 'none'; base-uri 'none'"  # beside what forbids everything else
WORDS = ("sending", "explaining", "failed", "explained", "meaning", "source", "compared", "few", "same")
CHAT_WORDS = ("user", "assistant", "writing", "failed", "pace")
OUTPUTS = (
    *("probability", "low", "high", "prediction_set", "tokens", "loss", "perplexity"),
    *("chosen", "rejected", "prefers_chosen"),
)
NAMES: dict[Language, str] = {"en": "English", "zh": "中文"}


@dataclass(frozen=True)
class FormField:
    """Describe a field of the form.

    Attributes:
        name: of the column.
        type: how the script reads it: number, category, datetime, image, text, `tokens` of a sentence, or `nested`,
            text that may be JSON.
        example: what stands in it at first.
        low, high: of the training values; empty where there are none.
        choices: values to choose from.
    """

    name: str
    type: str
    example: str = ""
    low: str = ""
    high: str = ""
    choices: tuple[str, ...] = ()

    @property
    def wide(self) -> bool:
        """Whether it takes the whole width of the page."""
        return self.type not in ("number", "category", "datetime")


@dataclass(frozen=True)
class ShownModel:
    """Describe the model that is tried.

    Attributes:
        name: of the model.
        task: by name.
        engine: what computes it.
        explains: whether answers can be explained.
        fields: of the form.
        chats: whether conversations can be held with it.
    """

    name: str
    task: str
    engine: str
    explains: bool
    fields: tuple[FormField, ...]
    chats: bool = False


def serve_page(t: Translator, models: Sequence[str], chosen: ShownModel | None) -> str:
    """Build the page.

    Args:
        t: the page's language.
        models: names of all that are served, for links.
        chosen: the model that is tried; None for the links alone.
    """
    other = next(each for each in LANGUAGES if each != t.language)
    return render(
        "serve.html.j2",
        t,
        parts=("page", "serve", "chat") if chosen is not None and chosen.chats else ("page", "serve"),
        title=t("serve.title.none") if chosen is None else t("serve.title", model=chosen.name),
        policy=POLICY,
        models=[{"name": each, "path": quote(each, safe="")} for each in models],
        other={"code": other, "name": NAMES[other]},
        model=chosen,
        chat=None if chosen is None else _for_chat(t, chosen),
        data=None if chosen is None else _for_script(t, chosen),
        task="" if chosen is None else t(f"task.{chosen.task}") if t.has(f"task.{chosen.task}") else chosen.task,
    )


def _for_chat(t: Translator, model: ShownModel) -> Json:
    """Return what the script of the chat needs to know."""
    return {"model": model.name, "words": {word: t(f"serve.chat.{word}") for word in CHAT_WORDS}}


def _for_script(t: Translator, model: ShownModel) -> Json:
    """Return what the script needs to know."""
    return {
        "model": model.name,
        "path": f"/predict/{quote(model.name, safe='')}",
        "columns": [{"name": field.name, "type": field.type, "wide": field.wide} for field in model.fields],
        # Places that the script fills in stay as they are.
        "words": {word: t(f"serve.word.{word}") for word in WORDS}
        | {"names": {n: t(f"serve.name.{n}") for n in OUTPUTS}},
    }
