"""Tokens of control inside what people wrote: encoded as words, while those that the chat template writes stay tokens.

Tokens of control are a tokenizer's special tokens (<|im_end|>, [SEP]) and those of its other added tokens that are
written as marks (<think>, <tool_call>); added words ("covid19", a run of blanks) are words. What an assistant says may
hold marks, since it is the model that writes them, but no special tokens.

Before a conversation is rendered, each such token inside its messages is replaced by one character of a private use
plane. So whatever token of control the rendered text holds is the template's or the assistant's.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from danlu.data.descriptors import TokenizerFile
from danlu.data.sources.chat_rows import SHOWN, ChatRow, Message

PLACEHOLDERS = 0x100000  # the first character of the last private plane; fonts and programs use the others
MOST = 0x10FFFD - PLACEHOLDERS  # tokens of control that are told apart
FIRST_ALONE = "first"  # of Metaspace: a blank is put before the first word of a text alone

Pieces = tuple[list[int], np.ndarray]  # ids, and where each begins and ends in the rendered text, [tokens, 2]


def hide_in_chat(tokenizer: TokenizerFile, chat: ChatRow) -> ChatRow:
    """Replace tokens of control inside messages, tools and documents by placeholders."""
    if tokenizer.parses_special:
        return chat
    beside = {name: _hidden(tokenizer, value) if name in SHOWN else value for name, value in chat.beside.items()}
    return replace(chat, messages=hide_in_messages(tokenizer, chat.messages), beside=beside)


def hide_in_messages(tokenizer: TokenizerFile, messages: list[Message]) -> list[Message]:
    """Replace tokens of control inside messages by placeholders; nothing where they are parsed as tokens."""
    if tokenizer.parses_special:
        return messages
    return [
        {
            key: value if key == "role" else _hidden(tokenizer, value, by_model=one["role"] == "assistant")
            for key, value in one.items()
        }
        for one in messages
    ]


def _hidden(tokenizer: TokenizerFile, value: Any, by_model: bool = False) -> Any:
    """Return a value whose texts have placeholders.

    Args:
        by_model: whether the model itself says it, and with it marks.
    """
    pattern, hidden = _hiding(tokenizer.json_text, by_model), _replacements(tokenizer.json_text)
    if pattern is None:
        return value

    def hide(value: Any) -> Any:
        if isinstance(value, str):
            return pattern.sub(lambda found: hidden[found[0]], value)
        if isinstance(value, list):
            return [hide(entry) for entry in value]
        return {hide(key): hide(entry) for key, entry in value.items()} if isinstance(value, dict) else value

    return hide(value)


def encode_rendered(tokenizer: TokenizerFile, reader: Any, texts: list[str]) -> list[Pieces]:
    """Encode rendered texts; what placeholders stand for is encoded as words.

    Args:
        reader: the opened tokenizer.
    """
    placeholder = _placeholders(tokenizer.json_text)
    holds = [not tokenizer.parses_special and placeholder.search(text) is not None for text in texts]
    usual = [text for text, held in zip(texts, holds, strict=True) if not held]
    encodings = iter(reader.encode_batch(usual, add_special_tokens=False))
    found = list[Pieces]()
    words_readers = _words_readers(tokenizer) if any(holds) else []
    for text, held in zip(texts, holds, strict=True):
        if held:
            found.append(_encode_with_words(tokenizer, reader, words_readers, text))
            continue
        encoding = next(encodings)
        found.append((list(encoding.ids), np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)))
    return found


def encode_apart(tokenizer: TokenizerFile, reader: Any, texts: Iterable[tuple[str, Iterable[int]]]) -> list[Pieces]:
    """Encode rendered texts in parts; no token joins both sides of a cut.

    Args:
        reader: the opened tokenizer.
        texts: each with the places at which it is cut.
    """
    words_readers = _words_readers(tokenizer)
    return [_encode_with_words(tokenizer, reader, words_readers, text, cuts) for text, cuts in texts]


def _words_readers(tokenizer: TokenizerFile) -> list[Any]:
    """Open one reader for the beginning of a text and one for what follows."""
    return [open_for_words(tokenizer.json_text, first=first) for first in (True, False)]


def open_for_texts(tokenizer: TokenizerFile) -> Any:
    """Open a tokenizer for what people wrote, where no template writes anything."""
    return tokenizer.open() if tokenizer.parses_special else open_for_words(tokenizer.json_text)


def open_for_words(json_text: str, first: bool = True) -> Any:
    """Open a tokenizer that encodes tokens of control inside a text as words.

    Args:
        first: whether what it reads is the beginning of a text.
    """
    from tokenizers import Tokenizer

    reader: Any = Tokenizer.from_str(_without_control(json_text, first))
    reader.no_padding()
    reader.no_truncation()
    reader.encode_special_tokens = True
    return reader


@lru_cache(maxsize=4)
def _without_control(json_text: str, first: bool) -> str:
    """Return a tokenizer's JSON in which tokens of control are no words."""
    told = json.loads(json_text)
    names, model = set(control_tokens(json_text)), told["model"]
    renamed = _rename_pieces(model, names)
    # Those that the vocabulary no longer has would take the ids of the tokens behind them.
    told["added_tokens"] = [
        {**token, "special": token["special"] or token["content"] in names}
        for token in told["added_tokens"]
        if token["content"] not in renamed
    ]
    if not first:
        told["pre_tokenizer"] = _never_first(told["pre_tokenizer"])
    return json.dumps(told)


def _rename_pieces(model: dict[str, Any], names: set[str]) -> set[str]:
    """Rename the pieces that are tokens of control; return their names.

    Only where a model finds whole words: merges make no such piece.
    """
    vocabulary = model.get("vocab", {})
    if isinstance(vocabulary, list):
        found = {piece[0] for piece in vocabulary if piece[0] in names}
        for place, piece in enumerate(vocabulary):
            if piece[0] in names:
                piece[0] = f"{chr(PLACEHOLDERS)}{place}"
        return found
    if model.get("type") == "BPE" and not model.get("ignore_merges"):
        return set()
    needed = {model.get("unk_token"), *("".join(_pair(merge)) for merge in model.get("merges", ()))}
    found = {name for name in names - needed if name in vocabulary}
    for name in found:
        place = vocabulary.pop(name)
        vocabulary[f"{chr(PLACEHOLDERS)}{place}"] = place
    return found


def _pair(merge: Any) -> list[str]:
    return merge.split(" ") if isinstance(merge, str) else merge


def _never_first(step: Any) -> Any:
    """Return a pre-tokenizer that takes no word for a text's first."""
    if not isinstance(step, dict):
        return step
    changed = {**step, "prepend_scheme": "never"} if step.get("prepend_scheme") == FIRST_ALONE else dict(step)
    if "pretokenizers" in changed:
        changed["pretokenizers"] = [_never_first(one) for one in changed["pretokenizers"]]
    return changed


def _encode_with_words(
    tokenizer: TokenizerFile, reader: Any, words_readers: list[Any], text: str, cuts: Iterable[int] = ()
) -> Pieces:
    """Encode a text piece by piece between cuts and tokens of control."""
    ids: list[int] = []
    places: list[tuple[int, int]] = []
    json_text = tokenizer.json_text
    for begin, end, token in _cut(_pieces(json_text, text), sorted(cuts)):
        if token is not None:
            ids.append(reader.token_to_id(token))
            places.append((begin, end))
            continue
        words, origins = text[begin:end], list(range(end - begin + 1))
        if not tokenizer.parses_special:
            words, origins = _reveal(json_text, words)
        encoding = words_readers[0 if begin == 0 else 1].encode(words, add_special_tokens=False)
        ids += encoding.ids
        places += [(begin + origins[one], begin + origins[max(one, last - 1)] + 1) for one, last in encoding.offsets]
    return ids, np.array(places, dtype=np.int64).reshape(-1, 2)


def _reveal(json_text: str, text: str) -> tuple[str, list[int]]:
    """Return a text with its placeholders replaced, and where each of its characters comes from."""
    names, parts, origins, before = control_tokens(json_text), list[str](), list[int](), 0
    for found in _placeholders(json_text).finditer(text):
        sign = found[0]
        part = sign[-1] if len(sign) > 1 else names[ord(sign) - PLACEHOLDERS]
        parts += [text[before : found.start()], part]
        origins += [*range(before, found.start()), *[found.start()] * len(part)]
        before = found.end()
    return "".join([*parts, text[before:]]), [*origins, *range(before, len(text) + 1)]


def _pieces(json_text: str, text: str) -> Iterator[tuple[int, int, str | None]]:
    """Yield a text's tokens of control, and None for what stands between them."""
    begin = 0
    for match in _taking(json_text).finditer(text):
        if match.start() > begin:
            yield begin, match.start(), None
        yield match.start(), match.end(), match[match.lastindex or 0]
        begin = match.end()
    if begin < len(text):
        yield begin, len(text), None


def _cut(pieces: Iterable[tuple[int, int, str | None]], cuts: list[int]) -> Iterator[tuple[int, int, str | None]]:
    """Yield the pieces, those of words in parts that end at the cuts."""
    for begin, end, token in pieces:
        bounds = [begin, *(cut for cut in cuts if token is None and begin < cut < end), end]
        for start, until in pairwise(bounds):
            yield start, until, token


@lru_cache(maxsize=4)  # parsing it for each conversation would take longer than all else
def control_tokens(json_text: str) -> tuple[str, ...]:
    """Return a tokenizer's tokens of control, the longest first."""
    added = json.loads(json_text)["added_tokens"]
    found = [token["content"] for token in added if token.get("special") or is_mark(token["content"])]
    return tuple(sorted(filter(None, found), key=len, reverse=True)[:MOST])


@lru_cache(maxsize=4)
def _special_tokens(json_text: str) -> frozenset[str]:
    return frozenset(token["content"] for token in json.loads(json_text)["added_tokens"] if token.get("special"))


def is_mark(token: str) -> bool:
    """Return whether an added token is a mark: a name between signs.

    Of ":)" or a run of blanks nothing is a name, and "c++" does not begin with a sign.
    """
    name = token.strip().strip("▁")
    return len(name) > 2 and not (name[0].isalnum() or name[-1].isalnum()) and any(one.isalnum() for one in name)


@lru_cache(maxsize=4)
def _placeholders(json_text: str) -> re.Pattern[str]:
    """Return what finds placeholders, and characters of their plane that somebody wrote, behind an escape."""
    names = control_tokens(json_text)
    if not names:
        return re.compile("(?!)")
    escape = chr(PLACEHOLDERS + len(names))
    return re.compile(f"{escape}[{_range(len(names) + 1)}]|[{_range(len(names))}]")


@lru_cache(maxsize=4)
def _replacements(json_text: str) -> dict[str, str]:
    """Return what each token of control is replaced by.

    Also each character that would be taken for a placeholder.
    """
    names = control_tokens(json_text)
    hidden = {name: chr(PLACEHOLDERS + place) for place, name in enumerate(names)}
    escape = chr(PLACEHOLDERS + len(names))
    return hidden | {sign: escape + sign for sign in (*hidden.values(), escape)}


def _range(count: int) -> str:
    return f"{chr(PLACEHOLDERS)}-{chr(PLACEHOLDERS + count - 1)}"


@lru_cache(maxsize=8)
def _hiding(json_text: str, by_model: bool) -> re.Pattern[str] | None:
    """Return what finds tokens of control, and characters that would be taken for placeholders.

    None for a tokenizer without any.

    Args:
        by_model: find special tokens alone.
    """
    names = control_tokens(json_text)
    if not names:
        return None
    special = _special_tokens(json_text)
    sought = [re.escape(name) for name in names if name in special or not by_model]
    return re.compile("|".join([*sought, f"[{_range(len(names) + 1)}]"]))


@lru_cache(maxsize=4)
def _taking(json_text: str) -> re.Pattern[str]:
    """Return what finds tokens of control, as groups, with white space they take."""
    flags = {token["content"]: token for token in json.loads(json_text)["added_tokens"]}
    parts = [
        (r"\s*" if flags[name].get("lstrip") else "")
        + f"({re.escape(name)})"
        + (r"\s*" if flags[name].get("rstrip") else "")
        for name in control_tokens(json_text)
    ]
    return re.compile("|".join(parts) if parts else "(?!)")


def count_held(tokenizer: TokenizerFile, texts: Iterable[str]) -> tuple[int, list[str]]:
    """Return how many texts hold tokens of control, and which, the most frequent first."""
    names = control_tokens(tokenizer.json_text)
    pattern = re.compile("|".join(map(re.escape, names)) if names else "(?!)")
    found: Counter[str] = Counter()
    held = 0
    for text in texts:
        inside = set(pattern.findall(text))
        held += bool(inside)
        found.update(inside)
    return held, [name for name, _ in found.most_common()]
