"""Conversations in any usual form -> a column `messages` of JSON text; preferences -> three such columns.

Known forms: OpenAI's `messages`, ShareGPT's `conversations`, and pairs of columns such as `prompt` and `response`.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import polars as pl

from danlu.core.text import suggestion
from danlu.data.descriptors import RawData
from danlu.errors import DataError
from danlu.recipe.sections.data import Data
from danlu.tasks.language_modelling import LanguageModelling
from danlu.tasks.preference import Preference

MESSAGES, PROMPT, CHOSEN, REJECTED = "messages", "prompt", "chosen", "rejected"
PREFERENCE = (PROMPT, CHOSEN, REJECTED)
ROLES = ("system", "developer", "user", "assistant", "tool")
# Other names of the roles, in ShareGPT's files and similar ones.
ALSO_CALLED = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant"}
# Columns of a question and its answer, with an optional one between them (Alpaca's `input`).
PAIRS = (
    ("prompt", None, "response"),
    ("prompt", None, "completion"),
    ("question", None, "answer"),
    ("instruction", "input", "output"),
)

Message = dict[str, Any]


def read_messages(text: str) -> list[Message]:
    """Parse the messages of a conversation from JSON text."""
    found: list[Message] = json.loads(text)
    return found


def dump_messages(messages: Iterable[Message]) -> str:
    """Write messages as JSON text."""
    return json.dumps(list(messages), ensure_ascii=False)


def as_chats(source: RawData, section: Data) -> RawData:
    """Convert conversations or preferences to JSON text; return other data unchanged.

    Raises:
        DataError: a message lacks its role or content, a role is unknown, or a conversation holds nothing to learn.
    """
    if section.target or section.text or section.image or source.layout != "table":
        return source
    names = source.frame.columns
    if isinstance(section.task, Preference) or (section.task is None and {CHOSEN, REJECTED} <= set(names)):
        return preferences(source)
    if section.task is None or isinstance(section.task, LanguageModelling):
        return conversations(source)
    return source


def conversations(source: RawData) -> RawData:
    """Convert conversations of a known form to a column `messages` of JSON text."""
    frame = source.frame
    column = next((name for name in (MESSAGES, "conversations", "conversation") if _holds_messages(frame, name)), None)
    if column is not None:
        chats = [read_conversation(value, f"{source.origin}: row {row}") for row, value in _rows(frame[column])]
    else:
        pair = next((pair for pair in PAIRS if {pair[0], pair[2]} <= set(frame.columns)), None)
        if pair is None or not all(frame.schema[name] == pl.String for name in (pair[0], pair[2])):
            return source
        chats = _from_pairs(source, *pair)
    for row, chat in enumerate(chats, 1):
        if not any(message["role"] == "assistant" for message in chat):
            raise DataError(
                f"{source.origin}: row {row}: has no message of the assistant to learn from; remove it", code="DL240"
            )
    return _replace_columns(source, {MESSAGES: chats}, "chat")


def preferences(source: RawData) -> RawData:
    """Convert preferences to `prompt`, `chosen` and `rejected` as JSON text."""
    frame = source.frame
    for name in (CHOSEN, REJECTED):
        if name not in frame.columns:
            near = suggestion(name, frame.columns)
            raise DataError(f"{source.origin}: no column {name!r}, which preferences need{near}", code="DL210")
    prompts = frame[PROMPT].to_list() if PROMPT in frame.columns else [None] * frame.height
    found: dict[str, list[list[Message]]] = {name: [] for name in PREFERENCE}
    both = zip(prompts, frame[CHOSEN].to_list(), frame[REJECTED].to_list(), strict=True)
    for row, (prompt, chosen, rejected) in enumerate(both, 1):
        place = f"{source.origin}: row {row}"
        parts = _preference(prompt, chosen, rejected, place)
        for name, messages in zip(PREFERENCE, parts, strict=True):
            if not messages:
                raise DataError(f"{place}: {name} has no messages", code="DL240")
            found[name].append(messages)
    return _replace_columns(source, found, "preference")


def _preference(prompt: Any, chosen: Any, rejected: Any, place: str) -> tuple[list[Message], ...]:
    """Return the prompt and both answers; without a prompt, the answers' common beginning."""
    answers = [
        _turn(value, "assistant", f"{place}: {name}") for name, value in ((CHOSEN, chosen), (REJECTED, rejected))
    ]
    if prompt is not None:
        return _turn(prompt, "user", f"{place}: {PROMPT}"), *answers
    shared = 0
    for one, other in zip(*answers, strict=False):
        if one != other or shared + 1 >= min(map(len, answers)):
            break
        shared += 1
    if shared == 0:
        raise DataError(
            f"{place}: there is no prompt, and the two answers share no first message; add a column prompt",
            code="DL240",
        )
    return answers[0][:shared], answers[0][shared:], answers[1][shared:]


def _turn(value: Any, role: str, place: str) -> list[Message]:
    """Turn a string into one message of `role`; keep a list of messages."""
    if isinstance(value, str) and not value.lstrip().startswith("[{"):
        if not value.strip():
            raise DataError(f"{place}: is empty", code="DL240")
        return [{"role": role, "content": value}]
    return read_conversation(value, place)


def _holds_messages(frame: Any, name: str) -> bool:
    """Return whether a column holds lists of messages, nested or as JSON text."""
    if name not in frame.columns:
        return False
    dtype = frame.schema[name]
    if isinstance(dtype, pl.List):
        return isinstance(dtype.inner, pl.Struct | pl.Null)
    if dtype != pl.String:
        return False
    first = frame[name].drop_nulls().head(1).to_list()
    return bool(first) and first[0].lstrip().startswith("[{")


def _rows(values: pl.Series) -> Iterable[tuple[int, Any]]:
    return enumerate(values.to_list(), 1)


def read_conversation(value: Any, place: str) -> list[Message]:
    """Return the messages of a conversation, checked.

    Args:
        value: a list of {role, content} or {from, value}, or its JSON text.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise DataError(f"{place}: is neither a list of messages nor JSON of one ({error})", code="DL240") from None
    if not isinstance(value, list) or not value:
        raise DataError(f"{place}: has no messages; remove such rows", code="DL240")
    return [_message(one, f"{place}, message {number}") for number, one in enumerate(value, 1)]


def _message(value: Any, place: str) -> Message:
    """Return one message with `role`, `content` and its other keys (tool calls, a name)."""
    if not isinstance(value, dict):
        raise DataError(
            f"{place}: is {type(value).__name__}; a message is an object with role and content", code="DL240"
        )
    said = {name: entry for name, entry in value.items() if entry is not None}
    role = said.pop("role", None) or said.pop("from", None)
    if not role:
        raise DataError(f"{place}: has no role; give every message one of ({', '.join(ROLES)})", code="DL240")
    role = ALSO_CALLED.get(str(role).lower(), str(role).lower())
    if role not in ROLES:
        raise DataError(f"{place}: unknown role {role!r}{suggestion(role, (*ROLES, *ALSO_CALLED))}", code="DL240")
    content = said.pop("content", said.pop("value", None))
    if content is None and not said:
        raise DataError(f"{place}: has no content", code="DL240")
    return {"role": role, "content": _plain(content, place), **said}


def _plain(content: Any, place: str) -> str:
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


def _from_pairs(source: RawData, asked: str, given: str | None, answered: str) -> list[list[Message]]:
    """Convert question and answer columns to conversations of two messages."""
    frame = source.frame
    beside = frame[given].to_list() if given in frame.columns else [None] * frame.height
    chats = []
    rows = zip(frame[asked].to_list(), beside, frame[answered].to_list(), strict=True)
    for row, (question, more, answer) in enumerate(rows, 1):
        for name, text in ((asked, question), (answered, answer)):
            if text is None or not text.strip():
                raise DataError(f"{source.origin}: row {row}: {name} is empty", code="DL240")
        question = f"{question}\n\n{more}" if more else question
        chats.append([{"role": "user", "content": question}, {"role": "assistant", "content": answer}])
    return chats


def _replace_columns(source: RawData, found: dict[str, list[list[Message]]], layout: Any) -> RawData:
    """Replace columns by messages as JSON text, and drop other nested columns."""
    frame = source.frame.lazy().collect()
    others = [name for name, dtype in frame.schema.items() if name not in found and not dtype.is_nested()]
    columns = [
        pl.Series(name, [dump_messages(chat) for chat in chats], dtype=pl.String) for name, chats in found.items()
    ]
    return replace(source, frame=pl.DataFrame(columns).hstack(frame.select(others)), layout=layout)
