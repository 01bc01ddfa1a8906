"""Render a conversation to the text that a model reads, by the chat template that comes with its tokenizer.

Templates are Jinja, and those of a model's folder or a bundle are untrusted: transformers renders them in Jinja's
immutable sandbox, which is the only place where they are ever executed.
"""

import json
import re
from collections.abc import Collection, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from danlu.data.descriptors import TokenizerFile
from danlu.data.sources.conversations import Message
from danlu.errors import DataError, Problem, RecipeError

TURN, TURN_END = "<|im_start|>", "<|im_end|>"
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# For a tokenizer without tokens for turns: its end-of-text token ends an answer.
PLAIN = (
    "{% for message in messages %}"
    "{{ '### ' + message['role'] + '\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant\n' }}{% endif %}"
)
MARKS_ANSWERS = re.compile(r"\{%-?\s*generation\s*-?%\}")  # the template itself marks the assistant's part
DATE_FUNCTION = "strftime_now"  # by which templates ask for today's date
DIRECTIVES = re.compile(r"%[-_0^#]?[A-Za-z]")
# Shadows transformers' function of that name: replaces each directive of a format by its word for the fixed date.
FIXED_DATE = (
    "{%- macro strftime_now(format) -%}{%- set told = namespace(text=format) -%}"
    "{%- for sign, word in date_words -%}{%- set told.text = told.text.replace(sign, word) -%}{%- endfor -%}"
    "{{- told.text -}}{%- endmacro -%}"
)
SHORTEST: list[Message] = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]

NOTHING: Mapping[str, Any] = {}

Span = tuple[int, int]


def choose_template(tokenizer: TokenizerFile, choice: str | None) -> TokenizerFile:
    """Add the chat template and the tokens that end an answer to the tokenizer.

    Args:
        choice: `data.chat_template`: chatml, plain, or a file.

    Raises:
        RecipeError: there is no template, or it needs tokens that the tokenizer lacks.
    """
    if choice is None:
        if tokenizer.chat_template is None:
            message = "the tokenizer has no chat template; set plain, a file, or chatml if it has the tokens"
            raise RecipeError(Problem("", "data.chat_template", message, code="DL119"))
        template = tokenizer.chat_template
    elif choice == "chatml":
        reader = tokenizer.open()
        if any(reader.token_to_id(token) is None for token in (TURN, TURN_END)):
            message = f"the tokenizer has no {TURN} and {TURN_END}, which chatml needs; set plain or a file"
            raise RecipeError(Problem("", "data.chat_template", message, code="DL119"))
        template = CHATML
    else:
        template = PLAIN if choice == "plain" else _read(choice)
    chosen = tokenizer.model_copy(update={"chat_template": template})
    return chosen.model_copy(update={"stops": _stop_tokens(chosen)})


def check_template_file(choice: str | None) -> None:
    """Raise unless a template file can be read and writes a question with its answer.

    Needs no tokenizer: special tokens have names of the form `<eos_token>` here.

    Args:
        choice: `data.chat_template`; what is no file passes.

    Raises:
        RecipeError: the file cannot be read.
        DataError: it is no Jinja template, or cannot write a conversation.
    """
    if choice in (None, "chatml", "plain"):
        return
    special = {name: f"<{name}>" for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
    text = _read(str(choice))
    tokenizer = TokenizerFile(
        json_text='{"added_tokens": []}', pad=0, end=0, vocabulary=1, chat_template=text, special=special
    )
    written, spans = render_answers(tokenizer, SHORTEST)
    if not any(SHORTEST[-1]["content"] in written[start:end] for start, end in spans):
        raise DataError(
            f"data.chat_template: {choice} leaves out what the assistant says; write each message's content",
            code="DL119",
        )


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{file} is not chatml, plain or a readable file ({error})"
        raise RecipeError(Problem("", "data.chat_template", message, code="DL119")) from None


def render(
    tokenizer: TokenizerFile, messages: list[Message], answer_next: bool, variables: Mapping[str, Any] = NOTHING
) -> str:
    """Render a conversation to text.

    Args:
        answer_next: whether the text ends where the assistant's next turn begins.
        variables: what the template is told besides the messages, as `tools`.

    Raises:
        DataError: the template refuses it, as many refuse roles in an unusual order.
    """
    return _render(tokenizer, messages, answer_next=answer_next, variables=variables)[0]


def render_answers(
    tokenizer: TokenizerFile,
    messages: list[Message],
    variables: Mapping[str, Any] = NOTHING,
    silent: Collection[int] = (),
) -> tuple[str, list[Span]]:
    """Render a conversation to text, with the spans of the assistant's turns.

    A span includes the token that ends its turn. Where the template does not mark answers itself, an answer is the
    difference to the text before it. White space after the token that ends a turn belongs to the next turn.

    Args:
        variables: what the template is told besides the messages, as `tools`.
        silent: places of the assistant's messages that are not learned.
    """
    assert tokenizer.chat_template is not None
    if MARKS_ANSWERS.search(tokenizer.chat_template):
        text, spans = _render(tokenizer, messages, answer_next=False, marked=True, variables=variables)
        if spans:
            return text, _without_silent(spans, messages, silent)
    whole = render(tokenizer, messages, answer_next=False, variables=variables)
    spans = []
    for place, message in enumerate(messages):
        if message["role"] != "assistant" or place in silent:
            continue
        before = render(tokenizer, messages[:place], answer_next=True, variables=variables)
        until = render(tokenizer, messages[: place + 1], answer_next=False, variables=variables)
        if not whole.startswith(until.rstrip()) or not until.startswith(before):
            # Some templates render past answers differently from the last one; then only the last is certain.
            continue
        spans.append((len(before), len(until.rstrip()) if _ends_with_token(tokenizer, until) else len(until)))
    if not spans:
        raise DataError(
            "the chat template writes a conversation otherwise when it goes on, so the assistant's part cannot be "
            "told; mark it with {% generation %} in the template, or name another one with data.chat_template",
            code="DL119",
        )
    return whole, spans


def _without_silent(spans: list[Span], messages: list[Message], silent: Collection[int]) -> list[Span]:
    """Return the marked spans of the answers that are learned."""
    if not silent:
        return spans
    places = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    if len(places) != len(spans):
        raise DataError(
            f"the chat template marks {len(spans)} parts of {len(places)} answers with {{% generation %}}, so it "
            "cannot be told which of them the row leaves out",
            code="DL119",
        )
    return [span for place, span in zip(places, spans, strict=True) if place not in silent]


def _ends_with_token(tokenizer: TokenizerFile, text: str) -> bool:
    """Return whether a text ends with an added token, as an end of turn.

    White space after it is ignored.
    """
    return text.rstrip().endswith(_added_tokens(tokenizer.json_text))


@lru_cache(maxsize=4)  # parsing it for each turn of each conversation would take longer than all else
def _added_tokens(json_text: str) -> tuple[str, ...]:
    """Return the tokens added to a tokenizer's vocabulary."""
    return tuple(token["content"] for token in json.loads(json_text)["added_tokens"])


def _render(
    tokenizer: TokenizerFile,
    messages: list[Message],
    answer_next: bool,
    marked: bool = False,
    variables: Mapping[str, Any] = NOTHING,
) -> tuple[str, list[Span]]:
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    given: dict[str, Any] = {**tokenizer.special, **variables, "add_generation_prompt": answer_next}
    template = str(tokenizer.chat_template)
    if tokenizer.date is not None and asks_for_date(tokenizer):
        given["date_words"] = _date_words(template, tokenizer.date)
        template = FIXED_DATE + template
    write: Any = render_jinja_template  # its annotation says it returns one text
    try:
        texts, spans = write([messages], chat_template=template, return_assistant_tokens_mask=marked, **given)
    except (TemplateError, TypeError, ValueError, KeyError, OverflowError) as error:
        roles = ", ".join(message["role"] for message in messages)
        raise DataError(f"the chat template cannot write a conversation of {roles}: {error}", code="DL119") from error
    return texts[0], spans[0] if marked else []


def asks_for_date(tokenizer: TokenizerFile) -> bool:
    """Return whether the chat template writes today's date."""
    return tokenizer.chat_template is not None and DATE_FUNCTION in tokenizer.chat_template


def _date_words(template: str, date: str) -> list[list[str]]:
    """Return the directives of a template's dates with their words, in order of replacement."""
    day, percent = datetime.fromisoformat(date), "\0"  # no text of a template holds this character
    signs = sorted(set(DIRECTIVES.findall(template)))
    return [["%%", percent], *([sign, day.strftime(sign)] for sign in signs), [percent, "%"]]


def _stop_tokens(tokenizer: TokenizerFile) -> tuple[int, ...]:
    """Return the tokens that end an answer.

    The end of text, and the template's end of turn.
    """
    text, spans = render_answers(tokenizer, SHORTEST)
    reader = tokenizer.open()
    last = reader.encode(text[: spans[-1][1]], add_special_tokens=False).ids[-1:]
    ends = [token for token in last if token in reader.get_added_tokens_decoder()]
    return tuple(dict.fromkeys((*tokenizer.stops, tokenizer.end, *ends)))
