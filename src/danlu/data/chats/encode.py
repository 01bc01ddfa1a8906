"""Conversations as token ids that mark which are the assistant's.

Kept as any texts' tokens are, in one array: an id that is not learned is stored as its complement (~id, negative).
"""

import json
from dataclasses import replace

import numpy as np
import polars as pl

from danlu.data.descriptors import TokenizerFile
from danlu.data.sources.chat_rows import ChatRow, as_row, read_chat
from danlu.data.text.chat_template import Span, render, render_answers, render_prompt
from danlu.data.text.special_tokens import Pieces, encode_apart, encode_rendered, hide_in_chat, hide_in_messages
from danlu.data.text.tokenize import RaggedTokens, cached_tokens
from danlu.errors import DataError

VERSION = 4  # of which tokens are learned; raise it when that changes


def conversation_tokens(tokenizer: TokenizerFile, chats: pl.Series, origin: str) -> RaggedTokens:
    """Tokenize conversations; tokens that are not the assistant's are complements.

    Args:
        chats: JSON text of messages.
        origin: how errors name the data.
    """

    def encode(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        chats = [hide_in_chat(tokenizer, read_chat(text)) for text in texts]
        return _encode(tokenizer, [_render(tokenizer, chat, origin) for chat in chats])

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
            asked = hide_in_chat(tokenizer, as_row(prompt))
            answered = [*asked.messages, *hide_in_messages(tokenizer, answer)]
            whole, spans = _render(tokenizer, replace(asked, messages=answered), origin)
            begins = len(render(tokenizer, asked.messages, answer_next=True, variables=asked.variables))
            chats.append((whole, [span for span in spans if span[0] >= begins]))
        return _encode(tokenizer, chats)

    both = pl.Series([f"[{one}, {other}]" for one, other in zip(prompts.to_list(), answers.to_list(), strict=True)])
    return cached_tokens(both, encode, tokenizer, f"answer {_rule(tokenizer)}")


def prompt_ids(tokenizer: TokenizerFile, chat: ChatRow) -> list[int]:
    """Return the ids that an answer is generated after, which are those of training.

    Raises:
        DataError: the chat template cannot write the conversation.
    """
    return prompt_pieces(tokenizer, chat)[1][0]


def prompt_pieces(tokenizer: TokenizerFile, chat: ChatRow) -> tuple[str, Pieces]:
    """Return the text before an answer, its ids, and where each stands in it.

    Raises:
        DataError: the chat template cannot write the conversation.
    """
    hidden = hide_in_chat(tokenizer, chat)
    text = render_prompt(tokenizer, hidden.messages, hidden.variables)
    (pieces,) = _encode_texts(tokenizer, [(text, _answered(tokenizer, hidden, text))])
    return text, pieces


def _answered(tokenizer: TokenizerFile, chat: ChatRow, text: str) -> list[Span]:
    """Return the spans of the answers that a prompt's text already holds."""
    if all(message["role"] != "assistant" for message in chat.messages):
        return []
    try:
        whole, spans = render_answers(tokenizer, chat.messages, chat.variables)
    except DataError:  # none can be told
        return []
    return [span for span in spans if text.startswith(whole[: span[0]])]


def count_answers(tokens: RaggedTokens, chats: pl.Series) -> tuple[int, int]:
    """Return how many of the assistant's answers are learned, and how many there are.

    Args:
        tokens: marked, of the conversations; each answer's tokens follow one another.
        chats: JSON text of messages.
    """
    learned = np.asarray(tokens.ids) >= 0
    follows = np.concatenate([[False], learned[:-1]]) & learned
    follows[tokens.offsets[:-1][np.diff(tokens.offsets) > 0]] = False
    given = sum(_answers_of(read_chat(text)) for text in chats.to_list())
    return int((learned & ~follows).sum()), given


def _answers_of(row: ChatRow) -> int:
    """Return how many answers of a conversation are there to be learned."""
    return sum(message["role"] == "assistant" and place not in row.silent for place, message in enumerate(row.messages))


def _rule(tokenizer: TokenizerFile) -> str:
    told = [
        VERSION,
        tokenizer.blank,
        tokenizer.ending,
        tokenizer.parses_special,
        tokenizer.chat_template,
        tokenizer.special,
        *([tokenizer.date] if tokenizer.date else []),
    ]
    return json.dumps(told, sort_keys=True)


def _render(tokenizer: TokenizerFile, chat: ChatRow, origin: str) -> tuple[str, list[Span]]:
    try:
        return render_answers(tokenizer, chat.messages, chat.variables, chat.silent)
    except DataError as error:
        raise DataError(f"{origin}: {error}", code="DL240") from error


def _encode(tokenizer: TokenizerFile, chats: list[tuple[str, list[Span]]]) -> tuple[np.ndarray, np.ndarray]:
    """Return all marked tokens, [tokens] int32, and the number of each conversation."""
    found: list[np.ndarray] = [np.zeros(0, dtype=np.int32)]
    for (ids, places), (_, spans) in zip(_encode_texts(tokenizer, chats), chats, strict=True):
        begins = places[:, 0]
        learned = np.zeros(len(ids), dtype=bool)
        for begin, end in spans:
            learned |= (begins >= begin) & (begins < end)
        own = np.array(ids, dtype=np.int32)
        found.append(np.where(learned, own, ~own).astype(np.int32))
    return np.concatenate(found), np.array([len(ids) for ids in found[1:]], dtype=np.int64)


def _encode_texts(tokenizer: TokenizerFile, chats: list[tuple[str, list[Span]]]) -> list[Pieces]:
    """Encode rendered texts; what stands before an answer has the ids of it alone.

    An answer that begins as no other does may join the header; it is encoded apart, as generation begins it.
    """
    reader = tokenizer.open()
    reader.no_padding()
    reader.no_truncation()
    found = encode_rendered(tokenizer, reader, [text for text, _ in chats])
    cut: dict[int, tuple[str, list[int]]] = {}
    for number, (text, spans) in enumerate(chats):
        ids, places = found[number]
        begins, ends = places.T
        across = [begin for begin, _ in spans if ((begins < begin) & (begin < ends)).any()]
        headers = [one for one, _ in encode_rendered(tokenizer, reader, [text[:begin] for begin in across])]
        # Where it is the same, as an unknown character beside another one, generation has the token in its prompt.
        joined = [begin for begin, header in zip(across, headers, strict=True) if ids[: len(header)] != header]
        if joined:
            cut[number] = text, joined
    if cut:
        for number, pieces in zip(cut, encode_apart(tokenizer, reader, cut.values()), strict=True):
            found[number] = pieces
    return found
