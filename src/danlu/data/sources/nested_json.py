"""Nested columns of conversations keep the JSON text that they were written as.

A frame has one type a column: the arguments of one row's tool call would be nulls in all others.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from danlu.data.sources.chat_forms import NAMES


def without_nulls(value: Any) -> Any:
    """Return a value of a nested column without the keys that only other rows have."""
    if isinstance(value, dict):
        return {name: without_nulls(entry) for name, entry in value.items() if entry is not None}
    return [without_nulls(entry) for entry in value] if isinstance(value, list) else value


def nested_text(name: str, values: Sequence[Any]) -> pl.Series | None:
    """Return a conversation's nested column as JSON text; None for another column.

    Args:
        name: the column's.
        values: as Python has them; words among them stay as they are.
    """
    nested = next((value for value in values if _holds_objects(value)), None)
    if nested is None or not (name in NAMES or looks_like_messages(nested)):
        return None
    words = [
        value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values
    ]
    return pl.Series(name, words, dtype=pl.String)


def _holds_objects(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict) for one in value))


def looks_like_messages(value: Any) -> bool:
    """Return whether a value is a list of messages."""
    return (
        isinstance(value, list)
        and bool(value)
        and isinstance(value[0], dict)
        and ("role" in value[0] or "from" in value[0])
    )


def lines_of_chats(path: Path) -> list[dict[str, Any]] | None:
    """Return the objects of JSON lines whose first line is part of a conversation.

    None for other files, and for those with a broken line.
    """
    with path.open(encoding="utf-8-sig") as file:
        rows: list[dict[str, Any]] = []
        for line in file:
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                return None
            if not isinstance(row, dict):
                return None
            if not rows and not any(name in NAMES or looks_like_messages(value) for name, value in row.items()):
                return None
            rows.append(row)
    return rows or None
