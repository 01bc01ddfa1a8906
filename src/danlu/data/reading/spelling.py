"""Spellings: one canonical form for the words that writers spell differently, by which categories are matched.

A file keeps `1` as `1.0` where a gap stood in the column, and `True` as `true`, `TRUE` or `1`. A category keeps the
spelling of the training file; other spellings are compared by their canonical form.
"""

import re
from collections.abc import Iterable, Sequence

import polars as pl

from danlu.data.reading.word_spelling import MOMENT, NUMBER, TRUTHS, WHOLE, canonical_forms


def as_words(values: pl.Series) -> pl.Series:
    """Return values as words: text as it is written, others in canonical spelling."""
    if values.dtype == pl.String:
        return values
    words = values.cast(pl.String)
    return words.to_frame().select(canonical(pl.first())).to_series() if values.dtype.is_float() else words


def canonical(words: pl.Expr) -> pl.Expr:
    """Return the canonical spelling of words.

    `1.0`, `+1` and ` 1` become `1`, `TRUE` becomes `true`, `1e2` becomes `100`, `2024-01-05T00:00:00` the day alone.
    """
    bare = words.str.strip_chars()
    lower = bare.str.to_lowercase()
    whole = bare.str.replace(r"^\+", "").str.replace(r"\.0+$", "").str.replace("^-0$", "0")
    number = bare.cast(pl.Float64, strict=False).cast(pl.String).str.replace(r"\.0$", "")
    moment = bare.str.replace(MOMENT, "$1 $2").str.replace(r" (\d\d:\d\d):00$", " $1").str.replace(" 00:00$", "")
    return (
        pl.when(lower.is_in(list(TRUTHS)))
        .then(lower)
        .when(bare.str.contains(WHOLE))
        .then(whole)
        .when(bare.str.contains(NUMBER))
        .then(number)
        .when(bare.str.contains(MOMENT))
        .then(moment)
        .otherwise(bare)
    )


def canonical_series(words: pl.Series) -> pl.Series:
    """Return the canonical spelling of each word."""
    return words.to_frame().select(canonical(pl.first())).to_series()


def merge_spellings(counts: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Add up the counts of words that are spellings of one value.

    They go under the most frequent spelling.
    `1` and `1.0`, `True` and `TRUE` are one value; `1.1` and `1.10` may be two.
    """
    together: dict[str, list[tuple[str, int]]] = {}
    for word, count in counts:
        lower = word.lower()
        form = lower if lower in TRUTHS else re.sub(r"^([+-]?(?:0|[1-9]\d*))\.0+$", r"\1", word)
        together.setdefault(form, []).append((word, count))
    return [
        (min(same, key=lambda each: (-each[1], each[0]))[0], sum(count for _, count in same))
        for same in together.values()
    ]


def match(words: pl.Series, known: Sequence[str]) -> pl.Series:
    """Return which known word each word is, as spelled there or canonically.

    Null where it is none.
    """
    exact = words.is_in(list(known))
    if (exact | words.is_null()).all():
        return words
    others = words.filter(~exact & words.is_not_null()).unique()
    forms = canonical_forms(known)
    meant = {word: forms[form] for word, form in zip(others, canonical_series(others), strict=True) if form in forms}
    mapped = {word: word for word in known} | meant
    return words.replace_strict(mapped, default=None, return_dtype=pl.String)
