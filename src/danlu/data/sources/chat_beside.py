"""What stands beside a row's messages: a system text, earlier turns, tools, documents, options, a mask of messages."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from danlu.data.sources.chat_forms import (
    CONTENTS,
    DOCUMENTS,
    FUNCTIONS,
    HISTORY,
    LEARNED_BY_PLACE,
    MEDIA,
    SYSTEM,
    TEMPLATE_OPTIONS,
    TOOLS,
)
from danlu.data.sources.chat_messages import parsed_objects, plain_text
from danlu.data.sources.chat_rows import ChatRow, Message
from danlu.errors import DataError

# What danlu itself tells a template.
RESERVED = ("messages", TOOLS, DOCUMENTS, "add_generation_prompt", "continue_final_message", "chat_template")


def complete(row: Mapping[str, Any], messages: list[Message], silent: Iterable[int], place: str) -> ChatRow:
    """Return a conversation with what its row says beside the messages.

    Args:
        row: the values of the row's columns.
        messages: of the conversation.
        silent: places of messages that say themselves that they are not learned.

    Raises:
        DataError: a value is of another form, or contradicts the messages.
    """
    for name in MEDIA:
        if row.get(name):
            raise DataError(f"{place}: has {name}; language models here read only text, remove such rows", code="DL240")
    before = _system(row, messages, place)
    quiet = {at + len(before) for at in (*silent, *_masked(row, messages, place))}
    messages = [*before, *messages]
    quiet = {at for at in quiet if messages[at]["role"] == "assistant"}
    answers = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    if not answers:
        raise DataError(f"{place}: has no message of the assistant to learn from; remove it", code="DL240")
    if quiet >= set(answers):
        raise DataError(
            f"{place}: says of every message of the assistant that it is not learned; remove the row", code="DL240"
        )
    return ChatRow(messages, template_values(row, place), tuple(sorted(quiet)))


def with_system(row: Mapping[str, Any], messages: list[Message], place: str) -> list[Message]:
    """Return messages that begin with the row's system text, if it has one."""
    return [*_system(row, messages, place), *messages]


def _system(row: Mapping[str, Any], messages: list[Message], place: str) -> list[Message]:
    """Return the system message beside a row's messages, unless it is among them."""
    texts = {name: text for name in SYSTEM if (text := _system_text(row.get(name), f"{place}: {name}"))}
    if len({text.strip() for text in texts.values()}) > 1:
        raise DataError(f"{place}: {' and '.join(texts)} say different things; keep one of them", code="DL240")
    for name, text in texts.items():
        first = messages[0]
        if first["role"] not in ("system", "developer"):
            return [{"role": "system", "content": text}]
        if first["content"].strip() != text.strip():
            raise DataError(
                f"{place}: {name} says otherwise than the first message, which is of the system; keep one of them",
                code="DL240",
            )
        return []
    return []


def _system_text(value: Any, place: str) -> str:
    """Return a system's text, written plainly, as parts or as a message."""
    held = parsed_objects(value) if isinstance(value, str) else value
    if isinstance(held, dict):
        held = next((held[name] for name in CONTENTS if held.get(name) is not None), None) if "role" in held else [held]
    text = value if held is None else plain_text(held, place)
    return text if isinstance(text, str) and text.strip() else ""


def earlier_turns(row: Mapping[str, Any], place: str) -> list[Message]:
    """Return the messages of Alpaca's `history`, pairs of a question and its answer."""
    held = _parsed(row.get(HISTORY), f"{place}: {HISTORY}")
    if not held:
        return []
    if not isinstance(held, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair) for pair in held
    ):
        raise DataError(f"{place}: {HISTORY} is no list of pairs of a question and its answer", code="DL240")
    return [
        {"role": role, "content": text} for pair in held for role, text in zip(("user", "assistant"), pair, strict=True)
    ]


def template_values(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return a row's tools, documents and template options as they were written.

    Raises:
        DataError: one is of another form.
    """
    found: dict[str, Any] = {}
    tools = _objects(row, TOOLS, place)
    functions = [{"type": "function", "function": one} for one in _objects(row, FUNCTIONS, place)]
    if tools and functions:
        raise DataError(f"{place}: has {TOOLS} and {FUNCTIONS}, two names of one thing; keep one of them", code="DL240")
    if tools or functions:
        found[TOOLS] = tools or functions
    if documents := _objects(row, DOCUMENTS, place):
        found[DOCUMENTS] = documents
    options = _parsed(row.get(TEMPLATE_OPTIONS), f"{place}: {TEMPLATE_OPTIONS}")
    if options:
        if not isinstance(options, dict):
            raise DataError(f"{place}: {TEMPLATE_OPTIONS} is no object", code="DL240")
        if wrong := [name for name in options if name in RESERVED]:
            raise DataError(
                f"{place}: {TEMPLATE_OPTIONS} sets {', '.join(wrong)}, which danlu itself gives the template; "
                "remove it there",
                code="DL240",
            )
        found[TEMPLATE_OPTIONS] = options
    return found


def _objects(row: Mapping[str, Any], name: str, place: str) -> list[Any]:
    """Return the objects of a column; each may be JSON text."""
    held = _parsed(row.get(name), f"{place}: {name}")
    if not held:
        return []
    listed = held if isinstance(held, list) else [held]
    one_each = [_object(one) for one in listed]
    if not all(isinstance(one, dict) for one in one_each):
        raise DataError(f"{place}: {name} is no list of objects; correct it or rename the column", code="DL240")
    return one_each


def _object(value: Any) -> Any:
    """Return the object of which a value is the JSON text, else the value."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _parsed(value: Any, place: str) -> Any:
    """Return the value of JSON text, or a nested value as it is.

    None for an empty text.
    """
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return json.loads(value)
    except ValueError as error:
        raise DataError(f"{place}: is no JSON ({error}); correct it or rename the column", code="DL240") from None


def _masked(row: Mapping[str, Any], messages: list[Message], place: str) -> list[int]:
    """Return the places that a row's mask leaves out.

    It has one number a message: 1 if it is learned.
    """
    mask = _parsed(row.get(LEARNED_BY_PLACE), f"{place}: {LEARNED_BY_PLACE}")
    if mask is None:
        return []
    if not isinstance(mask, list) or len(mask) != len(messages) or any(one not in (0, 1) for one in mask):
        raise DataError(
            f"{place}: {LEARNED_BY_PLACE} is not one 0 or 1 for each of the {len(messages)} messages; masks of tokens "
            "cannot be followed",
            code="DL240",
        )
    for number, (learned, message) in enumerate(zip(mask, messages, strict=True), 1):
        if learned and message["role"] != "assistant":
            raise DataError(
                f"{place}, message {number}: {LEARNED_BY_PLACE} says that it is learned, and it is of the "
                f"{message['role']}; the assistant's messages alone are learned",
                code="DL240",
            )
    return [at for at, learned in enumerate(mask) if not learned]
