"""Dates and times as people and programs write them.

A layout is the date's part of a format, such as `%d/%m/%Y`; a time of day may stand behind it, with or without a zone.
"""

import polars as pl


def date_layouts(words: pl.Series) -> tuple[str, ...]:
    """Return the layouts in which all words are dates; two or more where it is ambiguous.

    Args:
        words: distinct ones, without missing ones.
    """
    raise NotImplementedError


def parse_dates(words: pl.Expr, layout: str) -> pl.Expr:
    """Return the words as Datetime("us") in UTC, null where a word is no date of this layout."""
    raise NotImplementedError
