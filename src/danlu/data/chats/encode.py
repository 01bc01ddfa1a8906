"""Conversations as token ids that mark which are the assistant's.

Kept as any texts' tokens are, in one array: an id that is not learned is stored as its complement (~id, negative).
"""

import json
from dataclasses import replace

import numpy as np
import polars as pl

from danlu.data.descriptors import TokenizerFile
from danlu.data.sources.chat_rows import ChatRow, as_row, read_chat
from danlu.data.text.chat_template import Span, render, render_answers
from danlu.data.text.tokenize import UNCACHED_TEXTS, RaggedTokens, cached_tokens
from danlu.errors import DataError


def plain_ids(marked: np.ndarray) -> np.ndarray:
    """Return token ids without the marks."""
    return np.where(marked < 0, ~marked, marked)


def conversation_tokens(tokenizer: TokenizerFile, chats: pl.Series, origin: str) -> RaggedTokens:
    """Tokenize conversations; tokens that are not the assistant's are complements.

    Args:
        chats: JSON text of messages.
        origin: how errors name the data.
    """

    def encode(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        return _encode(tokenizer, [_render(tokenizer, read_chat(text), origin) for text in texts])

    return cached_tokens(chats, encode, tokenizer, f"chat {_rule(tokenizer)}")


def answer_tokens(tokenizer: TokenizerFile, prompts: pl.Series, answers: pl.Series, origin: str) -> RaggedTokens:
    """Tokenize prompts with their answers; tokens of the prompt are complements.

    Args:
        prompts: JSON text of the messages that were asked.
        answers: JSON text of the messages that answer.
    """

    def encode(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        chats = []
        for text in texts:
            prompt, answer = json.loads(text)
            asked = as_row(prompt)
            whole, spans = _render(tokenizer, replace(asked, messages=asked.messages + answer), origin)
            begins = len(render(tokenizer, asked.messages, answer_next=True, variables=asked.variables))
            chats.append((whole, [span for span in spans if span[0] >= begins]))
        return _encode(tokenizer, chats)

    both = pl.Series([f"[{one}, {other}]" for one, other in zip(prompts.to_list(), answers.to_list(), strict=True)])
    return cached_tokens(both, encode, tokenizer, f"answer {_rule(tokenizer)}")


def _rule(tokenizer: TokenizerFile) -> str:
    told = [tokenizer.chat_template, tokenizer.special, *([tokenizer.date] if tokenizer.date else [])]
    return json.dumps(told, sort_keys=True)


def _render(tokenizer: TokenizerFile, chat: ChatRow, origin: str) -> tuple[str, list[Span]]:
    try:
        return render_answers(tokenizer, chat.messages, chat.variables, chat.silent)
    except DataError as error:
        raise DataError(f"{origin}: {error}", code="DL240") from error


def _encode(tokenizer: TokenizerFile, chats: list[tuple[str, list[Span]]]) -> tuple[np.ndarray, np.ndarray]:
    """Return all marked tokens, [tokens] int32, and the number of each conversation."""
    reader = tokenizer.open()
    reader.no_padding()
    reader.no_truncation()
    found: list[np.ndarray] = [np.zeros(0, dtype=np.int32)]
    for start in range(0, len(chats), UNCACHED_TEXTS):
        some = chats[start : start + UNCACHED_TEXTS]
        encodings = reader.encode_batch([text for text, _ in some], add_special_tokens=False)
        for encoding, (_, spans) in zip(encodings, some, strict=True):
            ids = np.array(encoding.ids, dtype=np.int32)
            begins = np.array([begin for begin, _ in encoding.offsets], dtype=np.int64)
            learned = np.zeros(len(ids), dtype=bool)
            for begin, end in spans:
                learned |= (begins >= begin) & (begins < end)
            found.append(np.where(learned, ids, ~ids).astype(np.int32))
    return np.concatenate(found), np.array([len(ids) for ids in found[1:]], dtype=np.int64)
