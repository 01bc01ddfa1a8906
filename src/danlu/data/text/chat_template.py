"""Render a conversation to the text that a model reads, by the chat template that comes with its tokenizer.

Templates are Jinja, and those of a model's folder or a bundle are untrusted: transformers renders them in Jinja's
immutable sandbox, which is the only place where they are ever executed.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from string import ascii_letters
from typing import Any

from danlu.core.console import info
from danlu.core.text import suggestion
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
BEGIN = "{{ bos_token }}"  # before danlu's own templates, where the tokenizer begins texts so
MARKS_ANSWERS = re.compile(r"\{%-?\s*generation\s*-?%\}")  # the template itself marks the assistant's part
DATE_FUNCTION = "strftime_now"  # by which templates ask for today's date
DRAWS = re.compile(r"\|\s*random\b|\blipsum\s*\(")  # all that Jinja draws by chance
DIRECTIVES = re.compile(r"%[-_0^#]?[A-Za-z]")
# Shadows transformers' function of that name: replaces each directive of a format by its word for the fixed date.
FIXED_DATE = (
    "{%- macro strftime_now(format) -%}{%- set told = namespace(text=format) -%}"
    "{%- for sign, word in date_words -%}{%- set told.text = told.text.replace(sign, word) -%}{%- endfor -%}"
    "{{- told.text -}}{%- endmacro %}\n"  # a template begins behind this line, and keeps its own white space
)
SHORTEST: list[Message] = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
BEGINNING = re.compile(r"\W{1,8}\w?|[^a-zA-Z]")
MOST_BEGINNINGS = 200  # that are tried
CONTINUED = "\U000fffff"  # stands where a begun answer goes on; Unicode assigns it to nothing
REACH = 16  # characters of a header that a token may join with an answer

NOTHING: Mapping[str, Any] = {}

Span = tuple[int, int]


def choose_template(tokenizer: TokenizerFile, choice: str | None, beginnings: Iterable[str] = ()) -> TokenizerFile:
    """Add the chat template and the tokens that end an answer to the tokenizer.

    Args:
        choice: `data.chat_template`: chatml, plain, a file, or the name of one of the tokenizer's templates.
        beginnings: with which answers begin: some of their first characters.

    Raises:
        RecipeError: there is no template, it is empty, needs tokens that the tokenizer lacks, or draws by chance.
    """
    template = _find_template(tokenizer, choice)
    if not template.strip():
        named = "the tokenizer's own chat template" if choice is None else f"the chat template {choice}"
        message = f"{named} is empty, so nothing is written; set chatml, plain or a file that writes each message"
        raise RecipeError(Problem("", "data.chat_template", message, code="DL119"))
    if drawn := DRAWS.search(template):
        message = f"the chat template draws by chance ({drawn[0]}), so no text is written twice alike; take it out"
        raise RecipeError(Problem("", "data.chat_template", message, code="DL119"))
    if choice in ("chatml", "plain") and _begins_with_bos(tokenizer):
        template = BEGIN + template
    chosen = tokenizer.model_copy(update={"chat_template": template, "templates": {}, "blank": "", "ending": ""})
    chosen = chosen.model_copy(update={"ending": _unmarked_ending(chosen)})
    ends = _end_tokens(chosen)
    if not ends:
        info(
            "the chat template ends the assistant's turns with no token of their own, so no end is learned and answers "
            "go on until a limit or a stop; write one in the template, as {{ eos_token }}"
        )
    stops = tuple(dict.fromkeys((*tokenizer.stops, tokenizer.end, *ends)))
    return chosen.model_copy(update={"stops": stops, "blank": _joined_end(chosen, tuple(beginnings))})


def _find_template(tokenizer: TokenizerFile, choice: str | None) -> str:
    """Return the template that a recipe chooses.

    Raises:
        RecipeError: there is none of that name, or it needs tokens that the tokenizer lacks.
    """
    if choice is None:
        if tokenizer.chat_template is None and tokenizer.templates:
            names = ", ".join(tokenizer.templates)
            message = f"the tokenizer has several chat templates and none is named default; name one of {names}"
            raise RecipeError(Problem("", "data.chat_template", message, code="DL119"))
        if tokenizer.chat_template is None:
            message = "the tokenizer has no chat template; set plain, a file, or chatml if it has the tokens"
            raise RecipeError(Problem("", "data.chat_template", message, code="DL119"))
        return tokenizer.chat_template
    if choice in tokenizer.templates:
        return tokenizer.templates[choice]
    if choice == "chatml":
        reader = tokenizer.open()
        if any(reader.token_to_id(token) is None for token in (TURN, TURN_END)):
            message = f"the tokenizer has no {TURN} and {TURN_END}, which chatml needs; set plain or a file"
            raise RecipeError(Problem("", "data.chat_template", message, code="DL119"))
        return CHATML
    if choice == "plain":
        return PLAIN
    if _is_name(choice):
        near = suggestion(choice, ["chatml", "plain", *tokenizer.templates])
        message = f"the tokenizer has no template {choice!r}{near}"
        raise RecipeError(Problem("", "data.chat_template", message, code="DL119"))
    return _read(choice)


def _joined_end(tokenizer: TokenizerFile, beginnings: tuple[str, ...]) -> str:
    """Return the end of the assistant's header that tokens join with answers.

    Where it joins some answers and not others, it belongs to the answer all the same, so that generation, which does
    not know the answer, begins where training did. White space must stay apart from any letter, and all of the header
    from the answers at hand: "\n" may join another "\n", and ":" a ")".
    """
    text = render(tokenizer, SHORTEST[:1], answer_next=True)
    reader = tokenizer.open()

    def first_joined(begins: Sequence[str], earliest: int) -> int:
        """Return the last place at which no token joins what comes then."""
        whole = reader.encode_batch([text + each for each in begins], add_special_tokens=False)
        for cut in range(len(text), earliest, -1):
            alone = reader.encode(text[:cut], add_special_tokens=False).ids
            if all(one.ids[: len(alone)] == alone for one in whole):
                return cut
        return earliest

    # As little of it as need be: new lines before a blank may be tokens of their own.
    said = sorted(_written_beginnings(tokenizer, text, beginnings))
    return text[min(first_joined(ascii_letters, len(text.rstrip())), first_joined(said, max(0, len(text) - REACH))) :]


def answer_beginnings(answers: Iterable[str]) -> list[str]:
    """Return with what answers begin that is no plain letter, the most frequent first."""
    counts = Counter(match[0] for answer in answers if (match := BEGINNING.match(answer)))
    return [beginning for beginning, _ in counts.most_common(MOST_BEGINNINGS)]


def _written_beginnings(tokenizer: TokenizerFile, header: str, beginnings: tuple[str, ...]) -> set[str]:
    """Return how the template writes the beginnings of answers, which it may trim."""
    found: set[str] = set()
    for begins in beginnings:
        answer: Message = {"role": "assistant", "content": begins + SHORTEST[-1]["content"]}
        try:
            text = render(tokenizer, [SHORTEST[0], answer], answer_next=False)
        except DataError:  # it refuses such an answer
            continue
        if text.startswith(header):
            found.add(text[len(header) : len(header) + len(begins) + 1])
    return found


def _begins_with_bos(tokenizer: TokenizerFile) -> bool:
    """Return whether the tokenizer puts its BOS, and nothing else, before a text."""
    begin = tokenizer.special.get("bos_token")
    return begin is not None and tokenizer.begins == (tokenizer.open().token_to_id(begin),)


def _is_name(choice: str) -> bool:
    """Return whether a choice is a name; a file has a suffix or folder."""
    return not any(sign in choice for sign in "./\\")


def check_template_file(choice: str | None) -> None:
    """Raise unless a template file can be read and writes a question with its answer.

    Needs no tokenizer: special tokens have names of the form `<eos_token>` here.

    Args:
        choice: `data.chat_template`; what is no file passes.

    Raises:
        RecipeError: the file cannot be read.
        DataError: it is no Jinja template, or cannot write a conversation.
    """
    if choice is None or _is_name(choice):
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
        answer_next: whether the text ends where the assistant's next turn begins; then without the tokenizer's `blank`.
        variables: what the template is told besides the messages, as `tools`.

    Raises:
        DataError: the template refuses it, as many refuse roles in an unusual order.
    """
    text = _render(tokenizer, messages, answer_next=answer_next, variables=variables)[0]
    return text.removesuffix(tokenizer.blank) if answer_next else text


def render_prompt(tokenizer: TokenizerFile, messages: list[Message], variables: Mapping[str, Any] = NOTHING) -> str:
    """Render a conversation to the text that an answer is generated after.

    A last message of the assistant is the beginning of its answer, and is continued; the text ends where it does.
    """
    if messages[-1]["role"] != "assistant":
        return render(tokenizer, messages, answer_next=True, variables=variables)
    begun = messages[-1]["content"]
    if not begun.strip():
        return render(tokenizer, messages[:-1], answer_next=True, variables=variables)
    whole = render(tokenizer, messages, answer_next=False, variables=variables)
    marked = [*messages[:-1], {**messages[-1], "content": begun.rstrip() + CONTINUED}]
    until = render(tokenizer, marked, answer_next=False, variables=variables).rpartition(CONTINUED)[0]
    if not until.endswith(begun.strip()) or not whole.startswith(until):
        raise DataError(
            "the chat template does not write the assistant's last message as it is, so it cannot be continued; "
            "leave it out, or name another template",
            code="DL119",
        )
    # Some templates take the white space around a message away; where it stays, it is part of what was begun.
    rest = begun[len(begun.rstrip()) :]
    return until + (rest if whole.startswith(rest, len(until)) else "")


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
            ends = [(_with_blank(tokenizer, text, begin), _with_ending(tokenizer, text, end)) for begin, end in spans]
            return text, _without_silent(ends, messages, silent)
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


def _with_blank(tokenizer: TokenizerFile, text: str, begin: int) -> int:
    """Return where an answer begins, with the blank before it that belongs to it."""
    return begin - len(tokenizer.blank) if text[:begin].endswith(tokenizer.blank) else begin


def _with_ending(tokenizer: TokenizerFile, text: str, end: int) -> int:
    """Return where an answer ends, with the token that ends its turn."""
    return end + len(tokenizer.ending) if text.startswith(tokenizer.ending, end) else end


def _unmarked_ending(tokenizer: TokenizerFile) -> str:
    """Return what stands between a marked answer and its turn's end, included."""
    text, spans = render_answers(tokenizer, SHORTEST)
    rest = text[spans[-1][1] :]
    known = sorted(_added_tokens(tokenizer.json_text), key=len, reverse=True)
    blank = rest[: len(rest) - len(rest.lstrip())]
    return next((blank + token for token in known if rest.startswith(token, len(blank))), "")


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


def exported_template(tokenizer: TokenizerFile) -> str | None:
    """Return the template for other readers, which asks for answers before `blank`."""
    template = tokenizer.chat_template
    if template is None or not tokenizer.blank:
        return template
    # Neither the white space at its edges nor what Jinja takes away of it may change within other tags.
    inner = "\n" + template.removesuffix("\n") + "{{ '' }}"
    size = len(tokenizer.blank)
    cut = f"{{{{- whole[:-{size}] if whole[-{size}:] == {json.dumps(tokenizer.blank)} else whole -}}}}"
    asked = "{%- if add_generation_prompt -%}{%- set whole %}" + inner + "{% endset -%}" + cut
    return asked + "{%- else %}" + inner + "{% endif -%}"


def asks_for_date(tokenizer: TokenizerFile) -> bool:
    """Return whether the chat template writes today's date."""
    return tokenizer.chat_template is not None and DATE_FUNCTION in tokenizer.chat_template


def _date_words(template: str, date: str) -> list[list[str]]:
    """Return the directives of a template's dates with their words, in order of replacement."""
    day, percent = datetime.fromisoformat(date), "\0"  # no text of a template holds this character
    signs = sorted(set(DIRECTIVES.findall(template)))
    return [["%%", percent], *([sign, day.strftime(sign)] for sign in signs), [percent, "%"]]


def _end_tokens(tokenizer: TokenizerFile) -> list[int]:
    """Return the template's end of turn, or none."""
    text, spans = render_answers(tokenizer, SHORTEST)
    reader = tokenizer.open()
    last = reader.encode(text[: spans[-1][1]], add_special_tokens=False).ids[-1:]
    return [token for token in last if token in reader.get_added_tokens_decoder()]
