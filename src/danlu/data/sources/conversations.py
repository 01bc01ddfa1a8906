"""Conversations in any usual form -> a column `messages` of JSON text; preferences -> three such columns.

The forms are those of `chat_forms`; docs/formats.md shows each.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from danlu.data.descriptors import RawData
from danlu.data.sources.chat_beside import complete, earlier_turns
from danlu.data.sources.chat_forms import (
    BESIDE,
    CHOSEN,
    CONTENTS,
    CONVERSATIONS,
    HISTORY,
    JUDGEMENTS,
    KNOWN_FORMS,
    LEARNED_BY_PLACE,
    MEDIA,
    MESSAGES,
    NAMES,
    PAIRS,
    PREFERENCE,
    PROMPT,
    REJECTED,
)
from danlu.data.sources.chat_messages import (
    SOUNDS_LEARNED,
    parsed,
    question_text,
    read_conversation,
    read_marked,
    read_turn,
)
from danlu.data.sources.chat_rows import Message, dump_messages, kept_row, read_messages
from danlu.data.sources.nested_json import looks_like_messages, without_nulls
from danlu.data.sources.preference_rows import ANSWERS, pair_columns, read_pair, without_prompt
from danlu.errors import DataError
from danlu.recipe.sections.data import Data
from danlu.tasks.language_modelling import LanguageModelling
from danlu.tasks.preference import Preference

__all__ = [
    "CHOSEN",
    "MESSAGES",
    "PREFERENCE",
    "PROMPT",
    "REJECTED",
    "Message",
    "as_chats",
    "conversations",
    "dump_messages",
    "preferences",
    "read_conversation",
    "read_messages",
]

PART = "in-messages"  # key of the reason of a column that is part of the messages
UNREAD = {"chat": "only-messages", "preference": "only-pairs"}  # keys of the reason of a nested column that is not read
FEWEST_REPEATS = 3  # rows; an answer or two may begin like their question by chance
Row = Mapping[str, Any]


def as_chats(source: RawData, section: Data) -> RawData:
    """Convert conversations or preferences to JSON text; return other data unchanged.

    Raises:
        DataError: a message lacks its role or content, a role is unknown, or a conversation holds nothing to learn.
    """
    if section.target or section.text or section.image or source.layout != "table":
        return source
    names = source.frame.columns
    if isinstance(section.task, Preference) or (section.task is None and {CHOSEN, REJECTED} <= set(names)):
        return preferences(source)
    if section.task is None or isinstance(section.task, LanguageModelling):
        return conversations(source)
    return source


def conversations(source: RawData) -> RawData:
    """Convert conversations of a known form to a column `messages` of JSON text.

    Other data is returned unchanged.

    Raises:
        DataError: as `as_chats`; or a column is named as conversations are, and is of no known form.
    """
    frame = source.frame.lazy().collect()
    column = messages_column(frame, source.origin)
    pair = None if column is not None else _pair(frame)
    if column is not None:
        said = [column]
    elif pair is not None:
        said = [name for name in (*pair, HISTORY) if name in frame.columns]
    else:
        _refuse_unknown(frame, source.origin)
        return source
    _refuse_judged(frame, source.origin)
    _refuse_masks(frame, said, source.origin)
    told = frame if pair is None else without_repeated_texts(frame, pair[0], pair[2:])
    chats = []
    for place, row in iter_rows(told, said, source.origin):
        if column is None:
            assert pair is not None
            chats.append(complete(row, *_from_pair(row, pair, place), place))
        elif (kept := kept_row(row[column])) is not None:
            chats.append(complete({**row, **kept.beside}, read_conversation(kept.messages, place), kept.silent, place))
        else:
            chats.append(complete(row, *read_marked(row[column], place), place))
    return replace_columns(source, frame, {MESSAGES: [chat.dump() for chat in chats]}, said, "chat")


def preferences(source: RawData) -> RawData:
    """Convert preferences to `prompt`, `chosen` and `rejected` as JSON text.

    Raises:
        DataError: as `as_chats`; or an answer holds more than the assistant's messages.
    """
    frame = source.frame.lazy().collect()
    said = pair_columns(frame.columns, messages_column(frame, source.origin), source.origin)
    _refuse_masks(frame, said, source.origin)
    found: dict[str, list[str]] = {name: [] for name in PREFERENCE}
    for place, row in iter_rows(without_repeated_texts(frame, said[0], ANSWERS), said, source.origin):
        prompt, *answers = read_pair(row, said, place)
        found[PROMPT].append(prompt.dump())
        for name, messages in zip((CHOSEN, REJECTED), answers, strict=True):
            found[name].append(dump_messages(messages))
    return replace_columns(source, frame, found, said, "preference")


def iter_rows(frame: pl.DataFrame, said: Sequence[str], origin: str) -> Iterator[tuple[str, Row]]:
    """Yield each row's place and the values of the columns that a form has."""
    names = [*said, *(name for name in (*BESIDE, *MEDIA) if name in frame.columns and name not in said)]
    for number, row in enumerate(frame.select(names).iter_rows(named=True), 1):
        yield f"{origin}: row {number}", {name: without_nulls(value) for name, value in row.items()}


def without_repeated_texts(frame: pl.DataFrame, asked: str, answered: Sequence[str]) -> pl.DataFrame:
    """Take away the question that all answers begin with, in every row.

    Where only some do, they may do so by chance.
    """
    if asked in answered or any(frame.schema[name] != pl.String for name in (asked, *answered)):
        return frame
    question = pl.col(asked)
    repeats = frame.select(
        pl.all_horizontal(
            (question.str.strip_chars().str.len_chars() > 0) & pl.col(name).str.starts_with(question)
            for name in answered
        ).all()
    ).item()
    if not repeats or frame.height < FEWEST_REPEATS:
        return frame
    rests = [pl.col(name).str.slice(question.str.len_chars()).str.strip_chars_start() for name in answered]
    return frame.with_columns(rests)


def messages_column(frame: pl.DataFrame, origin: str) -> str | None:
    """Return the column of lists of messages, nested or as JSON text.

    Raises:
        DataError: several hold some, under names that danlu does not know.
    """
    known = next((name for name in CONVERSATIONS if name in frame.columns and _holds(frame, name)), None)
    if known is not None:
        return known
    others = [name for name in frame.columns if name not in NAMES and _holds(frame, name)]
    if len(others) > 1:
        raise DataError(
            f"{origin}: columns {', '.join(others)} hold conversations each; rename the one to read to "
            f"messages, or give pairs as chosen and rejected; known forms: {KNOWN_FORMS}",
            code="DL240",
        )
    return next(iter(others), None)


def _holds(frame: pl.DataFrame, name: str) -> bool:
    """Return whether a column holds lists of messages.

    One named as such may lack their keys.
    """
    dtype = frame.schema[name]
    named = name in CONVERSATIONS
    if isinstance(dtype, pl.List):
        fields = {field.name for field in dtype.inner.fields} if isinstance(dtype.inner, pl.Struct) else set()
        return bool(fields & {"role", "from"}) or (named and isinstance(dtype.inner, pl.Struct | pl.Null))
    if dtype != pl.String:
        return False
    first = str(frame[name].drop_nulls().first()).lstrip()
    if named and kept_row(first) is not None:
        return True
    return first.startswith("[{") and (named or looks_like_messages(parsed(first)))


def _pair(frame: pl.DataFrame) -> tuple[str, str | None, str] | None:
    """Return the columns of a question, what is beside it, and its answer."""
    return next(
        (
            pair
            for pair in PAIRS
            if {pair[0], pair[2]} <= set(frame.columns)
            and all(_holds_turns(frame.schema[name]) for name in (pair[0], pair[2]))
        ),
        None,
    )


def _holds_turns(dtype: pl.DataType) -> bool:
    return dtype == pl.String or (isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.Struct))


def _from_pair(row: Row, pair: tuple[str, str | None, str], place: str) -> tuple[list[Message], tuple[int, ...]]:
    """Return the messages of a question and its answer, which alone is learned."""
    asked, given, answered = pair
    for name in (asked, answered):
        if row[name] is None:
            raise DataError(f"{place}: {name} is empty", code="DL240")
    question, _ = read_turn(question_text(row, asked, given, place), "user", f"{place}: {asked}")
    answer, silent = read_turn(row[answered], "assistant", f"{place}: {answered}")
    answer = without_prompt(question, answer, f"{place}: {answered}")[1]
    earlier = earlier_turns(row, place)
    before = len(earlier) + len(question)
    unlearned = [at for at, message in enumerate(question, len(earlier)) if message["role"] == "assistant"]
    return [*earlier, *question, *answer], (*unlearned, *(at + before for at in silent))


def _refuse_unknown(frame: pl.DataFrame, origin: str) -> None:
    """Raise if a column is named as conversations are, in no known form."""
    for name, dtype in frame.schema.items():
        if (name in CONVERSATIONS and dtype.is_nested()) or _says_something(dtype):
            raise DataError(
                f"{origin}: column {name!r} holds {dtype}, no messages with a role; known forms of conversations: "
                f"{KNOWN_FORMS}",
                code="DL240",
            )


def _says_something(dtype: pl.DataType) -> bool:
    """Return whether a column holds lists of objects with a text."""
    return (
        isinstance(dtype, pl.List)
        and isinstance(dtype.inner, pl.Struct)
        and bool({field.name for field in dtype.inner.fields} & {*CONTENTS, "utterance", "message"})
    )


def _refuse_judged(frame: pl.DataFrame, origin: str) -> None:
    """Raise if a column says which answers are good.

    Such rows must not be learned alike.
    """
    for name, dtype in frame.schema.items():
        if name in JUDGEMENTS and (dtype == pl.Boolean or isinstance(dtype, pl.List) or _is_yes_or_no(frame[name])):
            raise DataError(
                f"{origin}: column {name!r} says which answers are good, and danlu learns every answer it is given; "
                "keep the good rows and remove the column, or give pairs as chosen and rejected; known forms: "
                f"{KNOWN_FORMS}",
                code="DL240",
            )


def _refuse_masks(frame: pl.DataFrame, said: Sequence[str], origin: str) -> None:
    """Raise if an unknown column seems to say what of a row is learned."""
    for name in frame.columns:
        if name in (*said, *NAMES) or not SOUNDS_LEARNED.search(name):
            continue
        row = next((row for row, value in enumerate(frame[name].to_list(), 1) if _is_mask(value)), None)
        if row is not None:
            raise DataError(
                f"{origin}: column {name!r} seems to say what of a conversation is learned (row {row}), and is no name "
                f"that danlu knows; rename it to {LEARNED_BY_PLACE}, one 0 or 1 a message, or remove it",
                code="DL240",
            )


def _is_mask(value: Any) -> bool:
    """Return whether a value is a list of 0 and 1, or its JSON text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return False
    return isinstance(value, list) and bool(value) and all(one in (0, 1) for one in value if one is not None)


def _is_yes_or_no(values: pl.Series) -> bool:
    """Return whether a column holds 0 and 1 alone, as numbers."""
    return values.dtype.is_integer() and bool(values.is_in([0, 1]).all())


def replace_columns(
    source: RawData, frame: pl.DataFrame, found: Mapping[str, Sequence[str]], said: Iterable[str], layout: Any
) -> RawData:
    """Replace columns by messages as JSON text.

    Other nested columns become JSON text, which no model reads.

    Args:
        found: the new columns.
        said: the columns that they were made of, besides those that a form has beside the messages.
    """
    parts = {name for name in (*said, *_read_beside(said)) if name in frame.columns and name not in found}
    columns = [pl.Series(name, list(texts), dtype=pl.String) for name, texts in found.items()]
    others = [
        _as_text(frame[name]) if dtype.is_nested() else frame[name]
        for name, dtype in frame.schema.items()
        if name not in found
    ]
    unread = [name for name, dtype in frame.schema.items() if dtype.is_nested() and name not in found]
    added = {**source.added, **dict.fromkeys(unread, UNREAD[layout]), **dict.fromkeys(parts, PART)}
    return replace(source, frame=pl.DataFrame([*columns, *others]), layout=layout, added=added)


def _read_beside(said: Iterable[str]) -> list[str]:
    """Return the columns beside the messages that are read: history only where there are pairs."""
    return [name for name in BESIDE if name != HISTORY or HISTORY in said]


def _as_text(values: pl.Series) -> pl.Series:
    held = values.to_list()
    words = [None if value is None else json.dumps(value, default=str, ensure_ascii=False) for value in held]
    return pl.Series(values.name, words, dtype=pl.String)
