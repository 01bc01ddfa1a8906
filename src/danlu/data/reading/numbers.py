"""Numbers as people write them: decimal comma, digits in groups, currencies, per cent, units, exponents.

A format holds for a whole column: all of its words are read by it, or none is.
"""

from typing import Literal

import polars as pl

from danlu.core.component import Frozen

Decimal = Literal[".", ","]
Grouping = Literal["", ",", ".", " ", "'", "_"]


class NumberFormat(Frozen):
    """Say how a column writes its numbers.

    Attributes:
        decimal: the sign before the fraction.
        grouping: the sign between groups of digits; a space stands for every kind of space.
        prefix, suffix: what stands around every number, such as a currency, `%` or a unit; a share stays in per cent.
    """

    decimal: Decimal = "."
    grouping: Grouping = ""
    prefix: str = ""
    suffix: str = ""

    def parse(self, words: pl.Expr) -> pl.Expr:
        """Return the words as Float64, null where a word is no number of this format."""
        raise NotImplementedError


def number_formats(words: pl.Series) -> tuple[NumberFormat, ...]:
    """Return the formats in which all words are numbers, plain ones first; two or more where it is ambiguous.

    Args:
        words: distinct ones, without missing ones.
    """
    raise NotImplementedError
