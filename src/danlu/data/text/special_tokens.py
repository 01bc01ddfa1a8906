"""Special tokens inside what people wrote: encoded as words, while those that the chat template writes stay tokens.

Before a conversation is rendered, each special token inside its messages is replaced by one character of a private use
plane. So whatever special token the rendered text holds is the template's.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from danlu.data.descriptors import TokenizerFile
from danlu.data.sources.conversations import Message

PLACEHOLDERS = 0x10F000  # the first character; fonts and programs use other parts of the private planes

_PLACEHOLDER = re.compile(f"[{chr(PLACEHOLDERS)}-{chr(0x10FFFD)}]")

Pieces = tuple[list[int], np.ndarray]  # ids, and where each begins and ends in the rendered text, [tokens, 2]


def hide_special_tokens(tokenizer: TokenizerFile, messages: list[Message]) -> list[Message]:
    """Replace special tokens inside messages by placeholders; nothing where they are parsed as tokens."""
    names = _special_tokens(tokenizer.json_text)
    if tokenizer.parses_special or not names:
        return messages
    pattern = _pattern(tokenizer.json_text)
    if pattern.search(json.dumps(messages, ensure_ascii=False)) is None:
        return messages
    hidden = {name: chr(PLACEHOLDERS + place) for place, name in enumerate(names)}

    def hide(value: Any) -> Any:
        if isinstance(value, str):
            return pattern.sub(lambda found: hidden[found[0]], value)
        if isinstance(value, list):
            return [hide(entry) for entry in value]
        return {key: hide(entry) for key, entry in value.items()} if isinstance(value, dict) else value

    return [{key: value if key == "role" else hide(value) for key, value in one.items()} for one in messages]


def encode_rendered(tokenizer: TokenizerFile, reader: Any, texts: list[str]) -> list[Pieces]:
    """Encode rendered texts; what placeholders stand for is encoded as words.

    Args:
        reader: the opened tokenizer.
    """
    holds = [not tokenizer.parses_special and _PLACEHOLDER.search(text) is not None for text in texts]
    usual = [text for text, held in zip(texts, holds, strict=True) if not held]
    encodings = iter(reader.encode_batch(usual, add_special_tokens=False))
    found, words_reader = list[Pieces](), None
    for text, held in zip(texts, holds, strict=True):
        if held:
            words_reader = words_reader or open_for_words(tokenizer.json_text)
            found.append(_encode_with_words(tokenizer.json_text, reader, words_reader, text))
            continue
        encoding = next(encodings)
        found.append((list(encoding.ids), np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)))
    return found


def open_for_words(json_text: str) -> Any:
    """Open a tokenizer that encodes special tokens inside a text as words."""
    from tokenizers import Tokenizer

    told = json.loads(json_text)
    if told["model"].get("type") == "Unigram":  # which finds them among its own pieces, too
        names = set(_special_tokens(json_text)) - {told["model"]["vocab"][told["model"]["unk_id"] or 0][0]}
        for place, piece in enumerate(told["model"]["vocab"]):
            if piece[0] in names:
                piece[0] = f"{chr(PLACEHOLDERS)}{place}"
        json_text = json.dumps(told)
    reader: Any = Tokenizer.from_str(json_text)
    reader.no_padding()
    reader.no_truncation()
    reader.encode_special_tokens = True
    return reader


def _encode_with_words(json_text: str, reader: Any, words_reader: Any, text: str) -> Pieces:
    """Encode a text piece by piece between its special tokens, which are the template's."""
    names = _special_tokens(json_text)
    ids: list[int] = []
    places: list[tuple[int, int]] = []
    for begin, end, token in _pieces(json_text, text):
        if token is not None:
            ids.append(reader.token_to_id(token))
            places.append((begin, end))
            continue
        words, origins = _reveal(text[begin:end], names)
        encoding = words_reader.encode(words, add_special_tokens=False)
        ids += encoding.ids
        places += [(begin + origins[one], begin + origins[max(one, last - 1)] + 1) for one, last in encoding.offsets]
    return ids, np.array(places, dtype=np.int64).reshape(-1, 2)


def _reveal(text: str, names: tuple[str, ...]) -> tuple[str, list[int]]:
    """Return a text with its placeholders replaced, and where each of its characters comes from."""
    parts = [names[ord(one) - PLACEHOLDERS] if _PLACEHOLDER.match(one) else one for one in text]
    origins = [place for place, part in enumerate(parts) for _ in part]
    return "".join(parts), [*origins, len(text)]


def _pieces(json_text: str, text: str) -> Iterator[tuple[int, int, str | None]]:
    """Yield a text's special tokens, and None for what stands between them."""
    begin = 0
    for match in _pattern(json_text, stripping=True).finditer(text):
        if match.start() > begin:
            yield begin, match.start(), None
        yield match.start(), match.end(), match[0].strip()
        begin = match.end()
    if begin < len(text):
        yield begin, len(text), None


@lru_cache(maxsize=4)  # parsing it for each conversation would take longer than all else
def _special_tokens(json_text: str) -> tuple[str, ...]:
    """Return a tokenizer's special tokens, the longest first."""
    found = [token["content"] for token in json.loads(json_text)["added_tokens"] if token.get("special")]
    return tuple(sorted(found, key=len, reverse=True))


@lru_cache(maxsize=8)
def _pattern(json_text: str, stripping: bool = False) -> re.Pattern[str]:
    """Return what finds special tokens; `stripping` with the white space that they take along."""
    flags = {token["content"]: token for token in json.loads(json_text)["added_tokens"]}
    before, after = ({name: stripping and flags[name].get(side) for name in flags} for side in ("lstrip", "rstrip"))
    return re.compile(
        "|".join(
            (r"\s*" if before[name] else "") + re.escape(name) + (r"\s*" if after[name] else "")
            for name in _special_tokens(json_text)
        )
    )
