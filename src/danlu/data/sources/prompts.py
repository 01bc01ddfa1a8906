"""Read prompts: texts or conversations, as given or from a file."""

import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from danlu.data.sources.conversations import MESSAGES, PROMPT, Message, read_conversation
from danlu.data.sources.reader import read_source
from danlu.errors import ArgumentError, DataError

Prompt = str | list[Message]


def read_prompts(
    prompt: str | Sequence[str] | None, chat: str | Sequence[Message] | None, source: str | Path | None
) -> list[Prompt]:
    """Read prompts from exactly one of the three.

    Args:
        prompt: one or more texts to continue.
        chat: a user message, a conversation's messages, or a .json or .jsonl file of them.
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
    return [read_conversation(list(chat), "chat")]


def _conversation_from_file(path: Path) -> list[Message]:
    """Read a conversation file.

    It holds a JSON list of messages, an object with such a list as `messages`, or (.jsonl) one message per line.
    """
    text = path.read_text(encoding="utf-8")
    try:
        lines = [json.loads(line) for line in text.splitlines() if line.strip()] if path.suffix == ".jsonl" else None
        value = json.loads(text) if lines is None else lines[0] if len(lines) == 1 else lines
    except ValueError as error:
        raise DataError(f"{path}: is not JSON ({error})", code="DL202") from None
    return read_conversation(value.get(MESSAGES) if isinstance(value, dict) else value, str(path))


def _prompts_from_table(source: str) -> list[Prompt]:
    """Read one conversation or prompt per row of a table."""
    read = read_source(source)
    frame = read.frame.lazy().collect()
    if MESSAGES in frame.columns:
        values = enumerate(frame[MESSAGES].to_list(), 1)
        return [read_conversation(value, f"{read.origin}: row {row}") for row, value in values]
    if PROMPT not in frame.columns or frame.schema[PROMPT] != pl.String:
        raise DataError(
            f"{read.origin}: no column messages or prompt (columns: {', '.join(frame.columns)})", code="DL210"
        )
    missing = frame[PROMPT].is_null()
    if missing.any():
        raise DataError(f"{read.origin}: row {int(missing.arg_max() or 0) + 1}: the prompt is missing", code="DL240")
    return list(frame[PROMPT].to_list())
