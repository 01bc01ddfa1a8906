"""Check the messages of a conversation and bring them to one form: `role`, `content`, and their other keys.

Forms of value: {role, content}, {from, value}, parts of text, calls in a message of their own, transcripts.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from danlu.core.text import suggestion
from danlu.data.sources.chat_forms import (
    ALSO_CALLED,
    CALLS,
    CONTENTS,
    LEARNED_IF,
    PAGE,
    ROLES,
    SILENT_IF,
    SPEAKERS,
    UNSUPPORTED,
)
from danlu.data.sources.chat_rows import Message
from danlu.data.sources.nested_json import looks_like_messages
from danlu.errors import DataError

SOUNDS_LEARNED = re.compile(r"train|learn|loss|mask|weight|ignore", re.IGNORECASE)
SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")  # hh-rlhf's transcripts


def read_conversation(value: Any, place: str) -> list[Message]:
    """Return the messages of a conversation, checked and without switches of what is learned.

    Args:
        value: a list of {role, content} or {from, value}, or its JSON text.

    Raises:
        DataError: a message lacks its role or content, or a role is unknown.
    """
    return read_marked(value, place)[0]


def read_marked(value: Any, place: str) -> tuple[list[Message], tuple[int, ...]]:
    """Return a conversation's messages, and the places of those not to be learned."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise DataError(f"{place}: is neither a list of messages nor JSON of one ({error})", code="DL240") from None
    if not isinstance(value, list) or not value:
        raise DataError(f"{place}: has no messages; remove such rows", code="DL240")
    messages: list[Message] = []
    silent: list[int] = []
    for number, one in enumerate(value, 1):
        message, learned = _message(one, f"{place}, message {number}")
        if not learned and message["role"] == "assistant":
            silent.append(len(messages))
        messages.append(message)
    return messages, tuple(silent)


def read_turn(value: Any, role: str, place: str) -> tuple[list[Message], tuple[int, ...]]:
    """Return the messages of a value, and the places of those not to be learned.

    Args:
        value: messages, one message, their JSON text, a transcript, or what `role` says.
    """
    if isinstance(value, dict):
        return read_marked([value], place)
    if not isinstance(value, str):
        return read_marked(value, place)
    if (held := parsed(value)) is not None:
        return read_marked(held, place)
    if (turns := _transcript(value)) is not None:
        return read_marked(turns, place)
    if not value.strip():
        raise DataError(f"{place}: is empty", code="DL240")
    return [{"role": role, "content": value}], ()


def question_text(row: Mapping[str, Any], asked: str, given: str | None, place: str) -> Any:
    """Return what a row asks, with the text given to it, as Alpaca's `input`.

    Raises:
        DataError: it asks by messages, to which no text can be given.
    """
    question, more = row[asked], row.get(given) if given else None
    if more and (not isinstance(question, str) or parsed(question) is not None):
        raise DataError(
            f"{place}: {given} stands beside {asked}, which holds messages; put it into one of them", code="DL240"
        )
    return f"{question}\n\n{more}" if isinstance(question, str) and isinstance(more, str) and more else question


def parsed(text: str) -> Any:
    """Return the messages of which a text is the JSON; None for other texts."""
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        held = json.loads(text)
    except ValueError:
        return None
    held = [held] if isinstance(held, dict) else held
    return held if looks_like_messages(held) else None


def parsed_objects(text: str) -> Any:
    """Return the object, or the list of objects, of which a text is the JSON.

    None for other texts.
    """
    if not text.lstrip().startswith(("[{", "{")):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def _transcript(text: str) -> list[Message] | None:
    """Return the turns of a text like "Human: ... Assistant: ..."; None for other texts.

    A last turn of the assistant that is empty only says whose turn it is.
    """
    marks = list(SPEAKER.finditer(text))
    if not marks or marks[0].group(1) != "Human" or text[: marks[0].start()].strip():
        return None
    if len(marks) == 1 and not text.startswith("\n\n"):  # may be what somebody says
        return None
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    turns = [
        {"role": ALSO_CALLED.get(mark.group(1).lower(), "assistant"), "content": text[mark.end() : end].strip()}
        for mark, end in zip(marks, ends, strict=True)
    ]
    return turns[:-1] if turns[-1]["role"] == "assistant" and not turns[-1]["content"] else turns


def _message(value: Any, place: str) -> tuple[Message, bool]:
    """Return one message with all of its keys, and whether it may be learned."""
    if not isinstance(value, dict):
        raise DataError(
            f"{place}: is {type(value).__name__}; a message is an object with role and content, or from and value; "
            f"{PAGE} shows the known forms",
            code="DL240",
        )
    said = {name: entry for name, entry in value.items() if entry is not None}
    role = next((said.pop(name) for name in SPEAKERS if said.get(name)), None)
    if not role:
        raise DataError(f"{place}: has no role; give every message one of ({', '.join(ROLES)})", code="DL240")
    learned = _is_learned(said, place)
    content = next((said.pop(name) for name in CONTENTS if name in said), None)
    named = str(role).lower()
    if named in CALLS:
        return {"role": "assistant", "content": "", "tool_calls": _calls(content, place), **said}, learned is not False
    role = ALSO_CALLED.get(named, named)
    if role not in ROLES:
        raise DataError(f"{place}: unknown role {role!r}{suggestion(role, (*ROLES, *ALSO_CALLED))}", code="DL240")
    if learned and role != "assistant":
        switches = ", ".join(name for name in (*LEARNED_IF, *SILENT_IF) if name in value)
        raise DataError(
            f"{place}: {switches} says that it is learned, and it is of the {role}; the assistant's messages alone "
            "are learned",
            code="DL240",
        )
    if isinstance(written := said.get("tool_calls"), str):
        said = {**said, "tool_calls": _called(written, place)}
    if isinstance(call := said.get("function_call"), dict) and "tool_calls" not in said:  # OpenAI's older form
        said = {name: entry for name, entry in said.items() if name != "function_call"}
        said["tool_calls"] = [{"type": "function", "function": call}]
    told = any(name in value for name in (*CONTENTS, "tool_calls", "function_call"))
    if content is None and not (said and told):
        keys = f"; its keys are {', '.join(said)}" if said else ""
        raise DataError(f"{place}: has no content{keys}", code="DL240")
    return {"role": role, "content": plain_text(content, place), **said}, learned is not False


def _is_learned(said: Message, place: str) -> bool | None:
    """Take out a message's switches; return whether they say it is learned.

    None without any.
    """
    for name in UNSUPPORTED:
        if said.get(name):
            raise DataError(
                f"{place}: {name} cannot be followed; say what is learned by weight, 0 or 1 a message", code="DL240"
            )
        said.pop(name, None)
    answers = {name: _switch(name, said.pop(name), place) for name in (*LEARNED_IF, *SILENT_IF) if name in said}
    if unknown := [name for name in said if SOUNDS_LEARNED.search(name) and _says_yes_or_no(said[name])]:
        raise DataError(
            f"{place}: {unknown[0]} seems to say whether it is learned, and is no name that danlu knows; rename it to "
            "weight, 0 or 1 a message, or remove it",
            code="DL240",
        )
    learned = {answer != (name in SILENT_IF) for name, answer in answers.items()}
    if len(learned) > 1:
        raise DataError(f"{place}: {' and '.join(answers)} contradict each other; keep one of them", code="DL240")
    return learned.pop() if learned else None


def _says_yes_or_no(value: Any) -> bool:
    return isinstance(value, bool | int | float) and value in (0, 1)


def _switch(name: str, value: Any, place: str) -> bool:
    """Return what a switch says, 0 or 1."""
    if isinstance(value, str) and value.strip().lower() in ("true", "false", "0", "1"):
        return value.strip().lower() in ("true", "1")
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    raise DataError(f"{place}: {name} is {value!r}; a message is learned (1) or not (0)", code="DL240")


def _called(text: str, place: str) -> list[Any]:
    """Return the calls of which `tool_calls` is the JSON text; none of an empty one."""
    try:
        calls = json.loads(text) if text.strip() else []
    except ValueError as error:
        raise DataError(f"{place}: tool_calls is no JSON ({error})", code="DL240") from None
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise DataError(f"{place}: tool_calls is no list of calls; correct or remove it", code="DL240")
    return calls


def _calls(content: Any, place: str) -> list[Any]:
    """Return the tool calls that a message of ShareGPT holds as JSON text."""
    try:
        held = json.loads(content) if isinstance(content, str) else content
    except ValueError as error:
        raise DataError(f"{place}: is a call of a tool and no JSON of one ({error})", code="DL240") from None
    calls: Sequence[Any] = held if isinstance(held, list) else [held]
    if not calls or not all(isinstance(call, dict) and "name" in call for call in calls):
        raise DataError(f"{place}: is a call of a tool without its name", code="DL240")
    return [{"type": "function", "function": call} for call in calls]


def plain_text(content: Any, place: str) -> str:
    """Return a message's text; concatenate the texts of a list of parts."""
    if content is None:
        return ""
    if isinstance(content, list):
        if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content):
            raise DataError(
                f"{place}: holds parts other than text; remove them, language models here read only text", code="DL240"
            )
        return "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise DataError(f"{place}: its content is {type(content).__name__}, not text", code="DL240")
    return content
