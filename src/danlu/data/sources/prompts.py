"""Read prompts: texts or conversations, as given or from a file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from danlu.data.sources.chat_beside import template_values, with_system
from danlu.data.sources.chat_forms import MESSAGES, PROMPT
from danlu.data.sources.chat_messages import parsed, read_conversation
from danlu.data.sources.chat_rows import ChatRow, Message
from danlu.data.sources.conversations import iter_rows, messages_column
from danlu.data.sources.reader import read_source
from danlu.errors import ArgumentError, DataError

Prompt = str | list[Message] | ChatRow  # a ChatRow where the template is told more than the messages


def read_prompts(
    prompt: str | Sequence[str] | None,
    chat: str | Sequence[Message] | Mapping[str, Any] | None,
    source: str | Path | None,
) -> list[Prompt]:
    """Read prompts from exactly one of the three.

    Args:
        prompt: one or more texts to continue.
        chat: a user message, a conversation's messages, an object with `messages` and `tools`, or a .json or .jsonl
            file of them.
        source: a table with a column `messages` or `prompt`.

    Raises:
        ArgumentError: none or several are given.
        DataError: a file holds no prompts.
    """
    given = [value for value in (prompt, chat, source) if value is not None]
    if len(given) != 1:
        raise ArgumentError("give exactly one of the three: a prompt, a chat, or a file of prompts", code="DL401")
    if prompt is not None:
        return [prompt] if isinstance(prompt, str) else list(prompt)
    if source is not None:
        return _prompts_from_table(str(source))
    assert chat is not None
    if isinstance(chat, str) and Path(chat).suffix in (".json", ".jsonl") and Path(chat).is_file():
        return [_conversation_from_file(Path(chat))]
    if isinstance(chat, str):
        return [[{"role": "user", "content": chat}]]
    return [_conversation(chat if isinstance(chat, Mapping) else list(chat), "chat")]


def _conversation(value: Any, place: str) -> Prompt:
    """Read messages, or an object of them with what its template is told besides."""
    if not isinstance(value, Mapping):
        return read_conversation(value, place)
    return _row(value, value.get(MESSAGES), place)


def _row(row: Mapping[str, Any], messages: Any, place: str) -> Prompt:
    """Return a row's messages with what stands beside them."""
    chat = ChatRow(with_system(row, read_conversation(messages, place), place), template_values(row, place))
    return chat if chat.beside else chat.messages


def _conversation_from_file(path: Path) -> Prompt:
    """Read a conversation file.

    It holds a JSON list of messages, an object with such a list as `messages`, or (.jsonl) one message per line.
    """
    text = path.read_text(encoding="utf-8")
    try:
        lines = [json.loads(line) for line in text.splitlines() if line.strip()] if path.suffix == ".jsonl" else None
        value = json.loads(text) if lines is None else lines[0] if len(lines) == 1 else lines
    except ValueError as error:
        raise DataError(f"{path}: is not JSON ({error})", code="DL202") from None
    return _conversation(value, str(path))


def _prompts_from_table(source: str) -> list[Prompt]:
    """Read one conversation or prompt per row of a table."""
    read = read_source(source)
    frame = read.frame.lazy().collect()
    column = messages_column(frame, read.origin)
    if column is not None:
        return [_row(row, row[column], place) for place, row in iter_rows(frame, [column], read.origin)]
    if PROMPT not in frame.columns or not (frame.schema[PROMPT] == pl.String or frame.schema[PROMPT].is_nested()):
        raise DataError(
            f"{read.origin}: no column messages or prompt (columns: {', '.join(frame.columns)})", code="DL210"
        )
    missing = frame[PROMPT].is_null()
    if missing.any():
        raise DataError(f"{read.origin}: row {int(missing.arg_max() or 0) + 1}: the prompt is missing", code="DL240")
    return [_prompt(row, f"{place}: {PROMPT}") for place, row in iter_rows(frame, [PROMPT], read.origin)]


def _prompt(row: Mapping[str, Any], place: str) -> Prompt:
    """Return a row's prompt: a text to continue, or a conversation."""
    value = row[PROMPT]
    if not isinstance(value, str) or parsed(value) is not None:
        return _row(row, value, place)
    asked: list[Message] = [{"role": "user", "content": value}]
    chat = _row(row, asked, place)
    return value if chat == asked else chat
