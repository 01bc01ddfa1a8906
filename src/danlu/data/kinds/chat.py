"""Conversations: messages as JSON text, of which the assistant's are learned."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl

from danlu.data.chats.preprocessor import ChatPreprocessor
from danlu.data.columns import Column
from danlu.data.descriptors import RawData
from danlu.data.kind import use_only
from danlu.data.kinds.text import VOCABULARY_LINE, TokenizedKind
from danlu.data.messages import reason
from danlu.data.sources.chat_forms import MESSAGES, PREFERENCE
from danlu.data.sources.chat_rows import Message, dump_messages, read_messages
from danlu.data.sources.conversations import as_chats, conversations
from danlu.recipe.sections.data import Data
from danlu.tasks.language_modelling import LanguageModelling


class MessagesKind(TokenizedKind):
    """Decide what conversations and preferences share: columns of messages and a chat template."""

    default_model = "hf:llama"
    generates_text = True
    shows_a_row = True
    own_columns: ClassVar[tuple[str, ...]]
    starter_lines = (VOCABULARY_LINE,)

    def read(self, source: RawData, section: Data) -> RawData:
        return as_chats(source, section)

    def mark(self, column: Column, section: Data, source: RawData) -> Column:
        if source.layout != self.name or column.name not in self.own_columns:
            return column
        return column.model_copy(update={"type": "text", "used": True, "reason": reason("messages")})

    def near_duplicates(self, values: Sequence[Any], folder: Path, similarity: float) -> np.ndarray:
        """Group nearly equal conversations; shared tools and documents do not make them alike."""
        return super().near_duplicates([dump_messages(read_messages(text)) for text in values], folder, similarity)

    def default_batch_size(self, rows: int) -> int:
        return 16

    def cell_formatter(self, name: str, used: Sequence[str], target: str | None) -> Callable[[Any], Any] | None:
        """Write messages as lines of role and content."""
        return _conversation if name in (MESSAGES, *PREFERENCE) else None


class ChatKind(MessagesKind):
    """Decide all that is particular to conversations."""

    name = "chat"
    own_columns = (MESSAGES,)
    preprocessor = ChatPreprocessor
    default_epochs = 3
    own_task = LanguageModelling()
    own_task_reason = "task.chats"
    row_noun = "conversation"

    def recognize(self, columns: tuple[Column, ...], section: Data, source: RawData) -> tuple[Column, ...] | None:
        return use_only(columns, (MESSAGES,), reason("only-messages")) if source.layout == self.name else None

    def samples_to_frame(self, samples: Any, columns: Sequence[str]) -> pl.DataFrame:
        """Convert conversations to a frame; a list of messages is one conversation, and no rows."""
        if isinstance(samples, list) and not _are_rows(samples):
            return self.unnamed_to_frame(samples, columns)
        return super().samples_to_frame(samples, columns)

    def unnamed_to_frame(self, samples: Any, columns: Sequence[str]) -> pl.DataFrame:
        """Convert conversations, lists of messages or JSON text, to a column."""
        given: list[Any] = [samples] if isinstance(samples, str) else list(samples)
        chats: list[Any] = [given] if given and isinstance(given[0], dict) else given
        texts = [chat if isinstance(chat, str) else dump_messages(chat) for chat in chats]
        return pl.DataFrame({columns[0]: texts}, schema={columns[0]: pl.String})

    def read_samples(self, source: RawData, columns: Sequence[str]) -> RawData:
        return conversations(source)


def _are_rows(samples: list[Any]) -> bool:
    """Return whether a list holds rows, and not a conversation's messages or several conversations."""
    return bool(samples) and isinstance(samples[0], dict) and not {"role", "from"} & samples[0].keys()


def _conversation(text: str) -> str:
    return "\n".join(f"{message['role']}: {message['content']}{_calls(message)}" for message in read_messages(text))


def _calls(message: Message) -> str:
    calls = message.get("tool_calls")
    return json.dumps(calls, ensure_ascii=False) if calls else ""
