"""Parts of conversations that a chat template does not write, so that the model never reads them."""

import re
from collections.abc import Iterable
from dataclasses import replace

from danlu.data.descriptors import TokenizerFile
from danlu.data.sources.chat_rows import ChatRow
from danlu.data.text.chat_template import render
from danlu.errors import DataError

TRIED = 3  # conversations in which a part is looked for
BY_POSITION = ("role", "content", "tool_call_id", "id")  # what templates write, or tell by the order of messages
OTHER = " x"  # what a message says besides, to see whether the text tells


def unwritten_parts(tokenizer: TokenizerFile, chats: Iterable[ChatRow]) -> list[str]:
    """Return what conversations have and the tokenizer's template leaves out.

    Names of template variables (`tools`), keys of messages (`tool_calls`), and roles whose messages are not written.

    Args:
        chats: all of them; each part is tried in the first few that have it.
    """
    found: dict[tuple[str, str], list[ChatRow]] = {}
    for chat in chats:
        for part in sorted(_parts(chat)):
            rows = found.setdefault(part, [])
            if len(rows) < TRIED:
                rows.append(chat)
    template = str(tokenizer.chat_template)
    return [
        f"messages of the {name}" if place == "role" else name
        for (place, name), rows in found.items()
        if (place == "role" or not re.search(rf"\b{re.escape(name)}\b", template))
        and all(_same(tokenizer, row, _changed(row, place, name)) for row in rows)
    ]


def _parts(chat: ChatRow) -> set[tuple[str, str]]:
    keys = {name for message in chat.messages for name in message if name not in BY_POSITION}
    return {
        *(("variable", name) for name in chat.variables),
        *(("key", name) for name in keys),
        *(("role", message["role"]) for message in chat.messages),
    }


def _changed(chat: ChatRow, place: str, name: str) -> ChatRow:
    """Return a conversation without a part, or whose role says something else."""
    if place == "variable":
        options = {key: value for key, value in chat.beside.get("chat_template_kwargs", {}).items() if key != name}
        beside = {key: value for key, value in chat.beside.items() if key != name}
        return replace(chat, beside={**beside, "chat_template_kwargs": options})
    if place == "key":
        kept = [{key: value for key, value in message.items() if key != name} for message in chat.messages]
        return replace(chat, messages=kept)
    said = [
        {**message, "content": message["content"] + OTHER} if message["role"] == name else message
        for message in chat.messages
    ]
    return replace(chat, messages=said)


def _same(tokenizer: TokenizerFile, one: ChatRow, other: ChatRow) -> bool:
    """Return whether the template writes the same text.

    One that refuses either looks at the difference.
    """
    try:
        texts = [render(tokenizer, chat.messages, answer_next=False, variables=chat.variables) for chat in (one, other)]
    except DataError:
        return False
    return texts[0] == texts[1]
