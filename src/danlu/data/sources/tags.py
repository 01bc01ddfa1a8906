"""Tagged sentences -> two columns of JSON text; and lists of different lengths as arrays.

Known form: a column `tokens` of lists of words and a column `tags` of lists as long, or others that the recipe names.
"""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from danlu.data.descriptors import RawData
from danlu.errors import DataError
from danlu.recipe.sections.data import Data
from danlu.tasks.tagging import Tagging

TOKENS, TAGS = "tokens", "tags"
PADDING = -1  # fills arrays after a shorter list


def as_tagged(source: RawData, section: Data) -> RawData:
    """Convert tagged sentences to JSON text; return other data unchanged.

    Raises:
        DataError: a row's words and tags are not lists of the same length.
    """
    words, tags = section.text or TOKENS, section.target or TAGS
    asked = isinstance(section.task, Tagging)
    schema = source.frame.schema
    if source.layout != "table" or isinstance(tags, tuple) or (section.task is not None and not asked):
        return source
    missing = [name for name in (words, tags) if name not in schema]
    if asked and missing:
        raise DataError(
            f"{source.origin}: no column {missing[0]!r}; set data.text to the words, data.target to the tags",
            code="DL210",
        )
    if missing or not all(isinstance(schema[name], pl.List) for name in (words, tags)):
        if asked:
            raise DataError(
                f"{source.origin}: {words!r} and {tags!r} must hold lists, of words and of their tags", code="DL225"
            )
        return source
    if not asked and (section.text or TOKENS) != TOKENS:
        return source
    frame = source.frame.lazy().collect()
    both = zip(frame[words].to_list(), frame[tags].to_list(), strict=True)
    for row, (some, own) in enumerate(both, 1):
        if not some or own is None or len(some) != len(own) or None in some or None in own:
            counts = f"{len(some or [])} words and {len(own or [])} tags"
            raise DataError(
                f"{source.origin}: row {row}: {counts}; every row has words, and a tag for each", code="DL225"
            )
    columns = [_as_text(frame[name]) for name in (words, tags)]
    return replace(source, frame=frame.with_columns(columns), layout="words", target=tags)


def with_words(source: RawData, column: str) -> RawData:
    """Convert the list-of-words column of data to be tagged to JSON text."""
    if column not in source.frame.columns or not isinstance(source.frame.schema[column], pl.List):
        return source
    frame = source.frame.lazy().collect()
    return replace(source, frame=frame.with_columns(_as_text(frame[column])))


def _as_text(values: pl.Series) -> pl.Series:
    rows = [[str(value) for value in row or ()] for row in values.to_list()]
    return pl.Series(values.name, [json.dumps(row, ensure_ascii=False) for row in rows], dtype=pl.String)


def stack_ragged(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate arrays; rows of different lengths are padded with NOTHING."""
    if len({part.shape[1:] for part in parts}) <= 1:
        return np.concatenate(parts)
    longest = max(part.shape[1] for part in parts)
    return np.concatenate(
        [np.pad(part, ((0, 0), (0, longest - part.shape[1])), constant_values=PADDING) for part in parts]
    )
