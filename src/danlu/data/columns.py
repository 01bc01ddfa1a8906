"""Infer each column's type (number, category, datetime, text, image, identifier), with the reason.

Only looks; changes nothing. A recipe's `data.columns` overrides every guess made here.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl

from danlu.core.component import Frozen
from danlu.data.frames import DiskFrame, Table
from danlu.data.messages import reason
from danlu.data.sources.reader import IMAGE_SUFFIXES
from danlu.errors import DataError

ID_NAME = re.compile(r"(^|[_\s-])(id|uuid|guid|index|key|rowid|no)$|^unnamed|^$", re.IGNORECASE)
DATES = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y年%m月%d日")
TIMES = ("", " %H:%M", " %H:%M:%S%.f", "T%H:%M", "T%H:%M:%S%.f", "T%H:%M:%S%.fZ", " %H:%M:%S%.f UTC")
DATE_FORMATS = tuple(date + time for time in TIMES for date in DATES)
# A decimal comma, thousands in groups, or a percent sign: as strings, every one would be a category of its own.
WRITTEN_NUMBER = r"^[+-]?(\d+,\d+|\d+(\.\d+)?\s?%|\d{1,3}(,\d{3})+(\.\d+)?|\d{1,3}(\.\d{3})+(,\d+)?|\d+)$"
MAX_CATEGORIES = 1000
WORDS_OF_TEXT = 4.0  # a column of text has more words per value than this ...
EXACT_COUNT_ROWS = 200_000  # distinct values are counted exactly up to this many rows
CHARACTERS_OF_TEXT = 16.0  # ... or, in languages written without spaces, more characters


class Column(Frozen):
    """Describe one column: its type, why, and whether the model uses it."""

    name: str
    type: str
    reason: str
    used: bool
    missing: int
    unique: int


def infer_columns(frame: Table, overrides: Mapping[str, str], origin: str) -> tuple[Column, ...]:
    """Infer the type of every column.

    Args:
        frame: the rows as they were read.
        overrides: types given in the recipe; `drop` leaves a column out.
        origin: where the frame came from, for errors.

    Raises:
        DataError: a column mixes numbers and words, or holds nested values.
    """
    counts = _distinct(frame)
    return tuple(_infer(frame[name], counts[name], overrides.get(name), origin) for name in frame.columns)


def _distinct(frame: Table) -> dict[str, int]:
    """Count the distinct values of each column, missing ones aside; estimate in very large tables.

    Identifiers are recognised by an exact count, so columns that may be one are counted again.
    """
    countable = [name for name, dtype in frame.schema.items() if dtype not in (pl.Object, pl.Binary)]
    if frame.height <= EXACT_COUNT_ROWS:
        counts = _counted(frame, countable, pl.Expr.n_unique)
    else:
        countable = [name for name in countable if not frame.schema[name].is_nested()]
        counts = _counted(frame, countable, pl.Expr.approx_n_unique)
        unsure = [
            name
            for name, count in counts.items()
            if (count > 0.9 * frame.height and not frame.schema[name].is_float()) or count < 5
        ]
        counts |= _counted(frame, unsure, pl.Expr.n_unique)
    return {name: counts.get(name, frame.height - frame[name].null_count()) for name in frame.columns}


def _counted(frame: Table, names: Sequence[str], count: Callable[[pl.Expr], pl.Expr]) -> dict[str, int]:
    """Count the values of some columns that are present.

    A table on disk is counted column by column: polars counts by holding what it counts, so all columns together would
    be the whole table.
    """
    together = [[name] for name in names] if isinstance(frame, DiskFrame) else [names] if names else []
    counts: dict[str, int] = {}
    for some in together:
        found = frame.lazy().select(count(pl.col(list(some)).drop_nulls()))
        counts |= found.collect(engine="streaming").row(0, named=True)
    return counts


def _infer(values: pl.Series, unique: int, said: str | None, origin: str) -> Column:
    present = (values.fill_nan(None) if values.dtype.is_float() else values).drop_nulls()
    if said is not None:
        why = reason("dropped" if said == "drop" else "said")
        kind = "identifier" if said == "drop" else said
        used = said not in ("drop", "identifier")
    else:
        kind, why, used = _infer_type(values, present, unique, origin)
    absent = len(values) - len(present)
    return Column(name=values.name, type=kind, reason=why, used=used, missing=absent, unique=unique)


def _infer_type(values: pl.Series, present: pl.Series, unique: int, origin: str) -> tuple[str, str, bool]:
    """Infer type, reason and use of a column that the recipe does not mention."""
    if len(present) == 0:
        return "category", reason("empty"), False
    if values.dtype == pl.Binary:
        return "image", reason("bytes"), True
    if values.dtype.is_nested() or values.dtype == pl.Object:
        raise DataError(
            f"{origin}: column {values.name!r} holds nested values ({values.dtype}); "
            f"flatten it, or leave it out with data.columns: {{{values.name}: drop}}",
            code="DL211",
        )
    if unique == 1:
        return "category", reason("constant"), False
    if values.dtype == pl.Boolean:
        return "category", reason("truth"), True
    if values.dtype in (pl.Duration, pl.Time):
        return "number", reason("seconds"), True
    if values.dtype.is_temporal():
        return "datetime", reason("times"), True
    if values.dtype.is_numeric():
        return _infer_number_type(values, present, unique)
    return _infer_word_type(present.cast(pl.String), unique, origin)


def _infer_number_type(values: pl.Series, present: pl.Series, unique: int) -> tuple[str, str, bool]:
    named_so = values.dtype.is_integer() and unique == len(values) and ID_NAME.search(values.name)
    if _is_row_number(present) or named_so:
        return "identifier", reason("whole-number-a-row"), False
    return "number", reason("numbers"), True


def _infer_word_type(present: pl.Series, unique: int, origin: str) -> tuple[str, str, bool]:
    """Infer type, reason and use of a column of strings."""
    words = present.unique(maintain_order=True) if unique < len(present) // 2 else present
    _refuse_mixture(present, words, origin)
    if words.str.strip_chars().cast(pl.Float64, strict=False).null_count() == 0:
        return "number", reason("worded-numbers"), True
    if words.str.strip_chars().str.contains(WRITTEN_NUMBER).all():
        raise DataError(
            f"{origin}: column {present.name!r} holds numbers in a human format ({words[0]!r}); write them "
            f"with a decimal point only, or set data.columns: {{{present.name}: category}}",
            code="DL211",
        )
    if date_format(words) is not None:
        return "datetime", reason("worded-dates"), True
    lower = words.str.to_lowercase()
    if sum(lower.str.ends_with(suffix).sum() for suffix in IMAGE_SUFFIXES) >= 0.9 * len(words):
        return "image", reason("paths"), True
    spaced = float(words.str.count_matches(r"\S+").mean() or 0)  # type: ignore[arg-type]
    characters = float(words.str.len_chars().mean() or 0)  # type: ignore[arg-type]
    varied = unique > 0.5 * len(present)
    # Texts that occur twice in the file are texts all the same.
    if (varied or unique > MAX_CATEGORIES) and (
        spaced >= WORDS_OF_TEXT or (spaced < 2 and characters >= CHARACTERS_OF_TEXT and _unspaced(words))
    ):
        return "text", reason("text", words=f"{spaced:.0f}", characters=f"{characters:.0f}"), True
    if len(present) >= 20 and unique == len(present):
        return "identifier", reason("word-a-row"), False
    if unique > MAX_CATEGORIES and varied:
        return "identifier", reason("words-in-rows", unique=unique, rows=len(present)), False
    return "category", reason("words", unique=unique), True


def _unspaced(present: pl.Series) -> bool:
    """Return whether most values hold Chinese, Japanese or Korean characters."""
    return float(present.str.contains(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]").mean() or 0) > 0.5  # type: ignore[arg-type]


def _refuse_mixture(present: pl.Series, words: pl.Series, origin: str) -> None:
    """Raise DataError where most values are numbers and some are not.

    Silently treating them as a category would be wrong.

    Args:
        present: the values.
        words: the same without repetitions, which is quicker to search.
    """
    odd = words.filter(words.str.strip_chars().cast(pl.Float64, strict=False).is_null())
    if len(odd) in (0, len(words)):
        return
    wrong = present.is_in(odd.implode())
    share = 1 - wrong.sum() / len(present)
    if share > 0.5:
        row = int(wrong.arg_max() or 0)
        examples = ", ".join(repr(value) for value in odd[:3])
        raise DataError(
            f"{origin}: column {present.name!r} mixes numbers ({share:.1%}) and words ({examples}, first in value "
            f"{row + 1}); correct them, add them to data.missing_values if they mean missing, or say "
            f"data.columns: {{{present.name}: category}}",
            code="DL211",
        )


def missing_values(values: pl.Series) -> np.ndarray:
    """Return which values are missing, NaN included, [rows] bool."""
    absent = values.is_null()
    return (absent | values.is_nan().fill_null(True) if values.dtype.is_float() else absent).to_numpy()


def date_format(values: pl.Series) -> str | None:
    """Return the one date format that all present strings have, or None."""
    first = values.drop_nulls().head(1)
    for form in DATE_FORMATS:
        if first.str.strptime(pl.Datetime("us"), form, strict=False).null_count():
            continue  # the first value already fails, so the column need not be parsed
        if values.str.strptime(pl.Datetime("us"), form, strict=False).null_count() == values.null_count():
            return form
    return None


def _is_row_number(values: pl.Series) -> bool:
    """Return whether a column counts rows: 0, 1, 2 … or 1, 2, 3 …."""
    if not values.dtype.is_integer() or len(values) < 20 or values[0] not in (0, 1):
        return False
    return bool((values.diff().drop_nulls() == 1).all())
