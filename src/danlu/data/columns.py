"""Infer each column's type (number, category, datetime, text, image, identifier), with the reason.

Only looks; changes nothing. A recipe's `data.columns` overrides every guess made here.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import polars as pl

from danlu.core.component import Frozen
from danlu.data.added_columns import added_by_program
from danlu.data.frames import Table, describe_columns, present
from danlu.data.messages import reason
from danlu.data.questions import Question
from danlu.data.reading.dates import EIGHT_DIGITS, are_dates, date_layouts, dates_among, parse_dates
from danlu.data.reading.formats import (
    Formats,
    allowed,
    ask,
    formats_of_numbers,
    reading_of,
    said_formats,
    settled,
    styles_shown,
    telling_word,
)
from danlu.data.reading.numbers import NumberFormat, are_phone_numbers, has_leading_zeros
from danlu.data.reading.reading import Reading
from danlu.data.sources.image_files import IMAGE_SUFFIXES, holds_images
from danlu.errors import DataError
from danlu.recipe.sections.data import ColumnOptions

ID_NAME = re.compile(r"(^|[_\s-])(id|uuid|guid|index|key|rowid|no)$|^unnamed|^$", re.IGNORECASE)
IMAGE_NAME = rf"\.({'|'.join(suffix[1:] for suffix in IMAGE_SUFFIXES)})$"
IMAGE_NAMES = 0.9  # share of words that are names of images, in a column of them
MAX_CATEGORIES = 1000
WORDS_OF_TEXT = 4.0  # a column of text has more words per value than this ...
EXACT_COUNT_ROWS = 200_000  # distinct values are counted exactly up to this many rows
CHARACTERS_OF_TEXT = 16.0  # ... or, in languages written without spaces, more characters


class Column(Frozen):
    """Describe one column: its type, why, how it is read, whether it is used."""

    name: str
    type: str
    reason: str
    used: bool
    missing: int
    unique: int
    reading: Reading = Reading()


@cache
def _no_words() -> pl.Series:
    """Return an empty column, made once: tables may have tens of thousands."""
    return pl.Series(dtype=pl.String)


@dataclass(frozen=True)
class Guess:
    """Hold what a column seems to be.

    Attributes:
        formats: the ways in which its words are numbers or dates; several where it is ambiguous.
        words: some of them.
    """

    type: str
    reason: str
    used: bool = True
    formats: Formats = ()
    words: pl.Series = field(default_factory=_no_words)


def infer_columns(
    frame: Table,
    said: Mapping[str, ColumnOptions],
    origin: str,
    added: Mapping[str, str] | None = None,
    shown: Collection[str] = (),
) -> tuple[tuple[Column, ...], tuple[Question, ...]]:
    """Infer the type of every column and how it is read.

    Args:
        frame: the rows as they were read.
        said: what the recipe says of columns; type `drop` leaves one out.
        origin: where the frame came from, for errors.
        added: columns that a program added, by what the file says of them, with the keys of their reasons.
        shown: styles of writing that the rest of the file has, see `styles_shown`.

    Returns:
        the columns, and a question for each that can be read in several ways.

    Raises:
        DataError: a column mixes numbers and words, or holds nested values.
    """
    counts = _distinct(frame)
    columns: list[Column] = []
    guesses: dict[str, Guess] = {}
    for name in frame.columns:
        values, options = frame[name], said.get(name, ColumnOptions())
        held = present(values)
        guess = _said(held, options) if options.type else _infer(values, held, counts[name], origin, added)
        guess = replace(guess, formats=allowed(guess.formats, options))
        missing = len(values) - len(held)
        columns.append(
            Column(
                name=name, type=guess.type, reason=guess.reason, used=guess.used, missing=missing, unique=counts[name]
            )
        )
        guesses[name] = guess
    styles = styles_shown((guess.formats, guess.words) for guess in guesses.values()) | {*shown}
    schema = frame.schema  # asked once: polars makes it anew each time, for all columns
    read: list[Column] = []
    questions: list[Question] = []
    for column in columns:
        guess = guesses[column.name]
        formats = settled(guess.formats, styles)
        why = _reason_of_numbers(guess, formats)
        spans = column.type == "number" and schema[column.name] in (pl.Duration, pl.Time)
        reading = Reading(spans=True) if spans else reading_of(formats)
        read.append(column.model_copy(update={"reading": reading, "reason": why}))
        questions.extend([ask(column.name, formats, guess.words)] if len(formats) > 1 else [])
    return tuple(read), tuple(questions)


def _reason_of_numbers(guess: Guess, formats: Formats) -> str:
    """Return why a column is of its type, now that its formats are settled."""
    if guess.reason != reason("worded-numbers"):
        return guess.reason
    if formats[0] == NumberFormat():
        return reason("numbers") if len(guess.formats) > 1 else guess.reason  # a file's numbers are kept as words then
    return reason("written-numbers", word=telling_word(guess.words, formats))


def _said(present: pl.Series, options: ColumnOptions) -> Guess:
    """Return what the recipe says a column is, and how to read its words."""
    type_ = "identifier" if options.type in ("drop", None) else str(options.type)
    used = options.type not in ("drop", "identifier")
    why = reason("dropped" if options.type == "drop" else "said")
    if present.dtype != pl.String or type_ not in ("number", "datetime"):
        return Guess(type_, why, used)
    words = present.unique(maintain_order=True)
    return Guess(type_, why, used, said_formats(words, type_, options), words)


def _distinct(frame: Table) -> dict[str, int]:
    """Count the distinct values of each column, missing ones aside; estimate in very large tables.

    Identifiers are recognised by an exact count, so columns that may be one are counted again.
    """
    schema = frame.schema
    countable = [name for name, dtype in schema.items() if dtype not in (pl.Object, pl.Binary)]
    if frame.height <= EXACT_COUNT_ROWS:
        counts = describe_columns(frame, countable, lambda values: values.drop_nulls().n_unique())
    else:
        countable = [name for name in countable if not schema[name].is_nested()]
        counts = describe_columns(frame, countable, lambda values: values.drop_nulls().approx_n_unique())
        unsure = [
            name
            for name, count in counts.items()
            if (count > 0.9 * frame.height and not schema[name].is_float()) or count < 5
        ]
        counts |= describe_columns(frame, unsure, lambda values: values.drop_nulls().n_unique())
    return {name: counts.get(name, frame.height - frame[name].null_count()) for name in frame.columns}


def _infer(values: pl.Series, present: pl.Series, unique: int, origin: str, added: Mapping[str, str] | None) -> Guess:
    """Infer what a column is that the recipe does not mention."""
    if len(present) == 0:
        return Guess("category", reason("empty"), used=False)
    if (by_program := added_by_program(values.name, values, added)) is not None:
        return Guess("identifier", reason(by_program), used=False)
    if values.dtype == pl.Binary:
        return _infer_bytes(present)
    if values.dtype.is_nested() or values.dtype == pl.Object:
        raise DataError(
            f"{origin}: column {values.name!r} holds nested values ({values.dtype}); "
            f"flatten it, or leave it out with data.columns: {{{values.name}: drop}}",
            code="DL211",
        )
    if unique == 1 and values.dtype != pl.Binary:
        return Guess("category", reason("constant"), used=False)
    if values.dtype.is_numeric():
        return _infer_number_type(values, present, unique)
    return _infer_by_type(values.dtype) or _infer_word_type(present.cast(pl.String), unique, origin)


def _infer_by_type(dtype: pl.DataType) -> Guess | None:
    """Return what a column is whose type alone tells it; None of words."""
    if dtype == pl.Binary:
        return Guess("image", reason("bytes"))
    if dtype == pl.Boolean:
        return Guess("category", reason("truth"))
    if dtype in (pl.Duration, pl.Time):
        return Guess("number", reason("seconds"))
    return Guess("datetime", reason("times")) if dtype.is_temporal() else None


def _infer_bytes(present: pl.Series) -> Guess:
    """Infer what a column of bytes is: images, or keys of some kind."""
    if holds_images(present):
        return Guess("image", reason("bytes"))
    return Guess("identifier", reason("other-bytes"), used=False)


def _infer_number_type(values: pl.Series, present: pl.Series, unique: int) -> Guess:
    if are_dates(present):
        return Guess("datetime", reason("numbered-dates"), formats=(EIGHT_DIGITS,))
    named_so = values.dtype.is_integer() and unique == len(values) and ID_NAME.search(values.name)
    if _is_row_number(present) or named_so:
        return Guess("identifier", reason("whole-number-a-row"), used=False)
    return Guess("number", reason("numbers"))


def _infer_word_type(present: pl.Series, unique: int, origin: str) -> Guess:
    """Infer type, reason and use of a column of strings."""
    words = present.unique(maintain_order=True) if unique < len(present) // 2 else present
    named = words.str.to_lowercase().str.contains(IMAGE_NAME)
    if named.sum() >= IMAGE_NAMES * len(words):  # `0.png` is no number with a unit
        return Guess("image", reason("paths"))
    if are_phone_numbers(words):
        return Guess("identifier", reason("phone-numbers"), used=False)
    coded = has_leading_zeros(words)
    if not coded and (formats := formats_of_numbers(words)):
        return Guess("number", reason("worded-numbers"), formats=formats, words=words)
    if not coded:
        _refuse_mixture(present, words, origin)
    if layouts := date_layouts(words):
        return Guess("datetime", reason("worded-dates"), formats=layouts, words=words)
    if not coded and (layout := dates_among(words)):
        dated = words.to_frame("word").select(parse_dates(pl.col("word"), layout)).to_series()
        _refuse(present, words.filter(dated.is_null()), "dates", origin)
    return _infer_text(present, words, unique, coded)


def _infer_text(present: pl.Series, words: pl.Series, unique: int, coded: bool) -> Guess:
    """Infer whether words are texts, identifiers or categories."""
    spaced = float(words.str.count_matches(r"\S+").mean() or 0)  # type: ignore[arg-type]
    characters = float(words.str.len_chars().mean() or 0)  # type: ignore[arg-type]
    varied = unique > 0.5 * len(present)
    # Texts that occur twice in the file are texts all the same.
    if (varied or unique > MAX_CATEGORIES) and (
        spaced >= WORDS_OF_TEXT or (spaced < 2 and characters >= CHARACTERS_OF_TEXT and _unspaced(words))
    ):
        return Guess("text", reason("text", words=f"{spaced:.0f}", characters=f"{characters:.0f}"))
    if len(present) >= 20 and unique == len(present):
        return Guess("identifier", reason("word-a-row"), used=False)
    if unique > MAX_CATEGORIES and varied:
        return Guess("identifier", reason("words-in-rows", unique=unique, rows=len(present)), used=False)
    return Guess("category", reason("codes" if coded else "words", unique=unique))


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
    numbers = words.str.strip_chars().cast(pl.Float64, strict=False)
    beyond = numbers.is_infinite() & words.str.contains(r"\d")  # 1e400
    odd = words.filter(numbers.is_null() | beyond.fill_null(False))
    if len(odd) == len(words) and formats_of_numbers(words.filter(words.str.contains(r"\d"))):
        odd = words.filter(~words.str.contains(r"\d"))  # the others are numbers as people write them
    if len(odd) not in (0, len(words)):
        _refuse(present, odd, "numbers", origin)


def _refuse(present: pl.Series, odd: pl.Series, what: str, origin: str) -> None:
    """Raise DataError where most values are numbers or dates, but for some odd words."""
    wrong = present.is_in(odd.implode())
    share = 1 - wrong.sum() / len(present)
    if share > 0.5:
        row = int(wrong.arg_max() or 0)
        examples = ", ".join(repr(value) for value in odd[:3])
        raise DataError(
            f"{origin}: column {present.name!r} mixes {what} ({share:.1%}) and words ({examples}, first in value "
            f"{row + 1}); correct them, add them to data.missing_values if they mean missing, or say "
            f"data.columns: {{{present.name}: category}}",
            code="DL211",
        )


def missing_values(values: pl.Series) -> np.ndarray:
    """Return which values are missing, NaN included, [rows] bool."""
    absent = values.is_null()
    return (absent | values.is_nan().fill_null(True) if values.dtype.is_float() else absent).to_numpy()


def _is_row_number(values: pl.Series) -> bool:
    """Return whether a column counts rows: 0, 1, 2 … or 1, 2, 3 …."""
    if not values.dtype.is_integer() or len(values) < 20 or values[0] not in (0, 1):
        return False
    return bool((values.diff().drop_nulls() == 1).all())
