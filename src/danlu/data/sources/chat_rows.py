"""A conversation as it is kept: JSON text of its messages, with what its chat template is told besides."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]
SILENT = "silent"  # key of the messages that are not learned
SHOWN = ("tools", "documents")


@dataclass(frozen=True)
class ChatRow:
    """Hold a conversation.

    Attributes:
        messages: with `role`, `content` and whatever else they have.
        beside: `tools`, `documents` and `chat_template_kwargs` of the row, as they were written.
        silent: places of the assistant's messages that are not learned.
    """

    messages: list[Message]
    beside: dict[str, Any] = field(default_factory=dict)
    silent: tuple[int, ...] = ()

    @property
    def variables(self) -> dict[str, Any]:
        """What the chat template is told besides the messages."""
        return {
            **self.beside.get("chat_template_kwargs", {}),
            **{name: self.beside[name] for name in SHOWN if name in self.beside},
        }

    def dump(self) -> str:
        """Write as JSON text: a list of messages where there is nothing else."""
        if not self.beside and not self.silent:
            return dump_messages(self.messages)
        return json.dumps(self.as_dict(), ensure_ascii=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the conversation as one object, as a file of conversations has it."""
        silent = {SILENT: list(self.silent)} if self.silent else {}
        return {"messages": self.messages, **self.beside, **silent}


def read_chat(text: str) -> ChatRow:
    """Parse a conversation from the JSON text that `ChatRow.dump` wrote."""
    return as_row(json.loads(text))


def kept_row(value: Any) -> ChatRow | None:
    """Return the conversation of an object with messages, or of its JSON text.

    None for other values.
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return as_row(value) if isinstance(value, dict) and isinstance(value.get("messages"), list) else None


def as_row(held: Any) -> ChatRow:
    """Return what the parsed JSON of a conversation holds."""
    if isinstance(held, list):
        return ChatRow(held)
    beside = {name: value for name, value in held.items() if name not in ("messages", SILENT)}
    return ChatRow(held["messages"], beside, tuple(held.get(SILENT, ())))


def read_messages(text: str) -> list[Message]:
    """Parse the messages of a conversation from JSON text."""
    return read_chat(text).messages


def dump_messages(messages: Iterable[Message]) -> str:
    """Write messages as JSON text."""
    return json.dumps(list(messages), ensure_ascii=False)
