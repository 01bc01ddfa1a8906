"""Conversations of several forms, put together: ShareGPT beside OpenAI's messages beside Alpaca.

In: tables of known forms with other columns each. Out: the same rows in danlu's own form, with the columns that all
have.
"""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from danlu.data.descriptors import RawData
from danlu.data.sources.chat_forms import CHOSEN, MESSAGES, PREFERENCE, REJECTED
from danlu.data.sources.conversations import conversations, preferences
from danlu.errors import DataError


def in_one_form(parts: Sequence[RawData]) -> list[RawData] | None:
    """Bring conversations, or preferences, of several forms to one; None if a part holds neither.

    Raises:
        DataError: a part is of a known form and a row of it is wrong, or some hold conversations and others pairs.
    """
    if any(part.layout != "table" for part in parts):
        return None
    read = [
        preferences(part) if {CHOSEN, REJECTED} <= set(part.frame.columns) else conversations(part) for part in parts
    ]
    if any(part.layout == "table" for part in read):
        return None
    first = read[0]
    for part in read[1:]:
        if part.layout != first.layout:
            raise DataError(
                f"{part.origin}: holds {_named(part)}, and {first.origin} {_named(first)}, which are learned in "
                "different ways; train on one, export that model, and name its folder in model.name for the other",
                code="DL204",
            )
    schemas = [part.frame.schema for part in read]
    said = (MESSAGES,) if first.layout == "chat" else PREFERENCE
    kept = [
        *said,
        *(name for name, dtype in schemas[0].items() if name not in said and _all_have(schemas, name, dtype)),
    ]
    return [
        replace(
            part,
            frame=part.frame.lazy().select(kept).collect(),
            added={name: why for name, why in part.added.items() if name in kept},
        )
        for part in read
    ]


def _all_have(schemas: Sequence[pl.Schema], name: str, dtype: pl.DataType) -> bool:
    return all(schema.get(name) == dtype for schema in schemas)


def _named(part: RawData) -> str:
    return "conversations" if part.layout == "chat" else "pairs of answers"
