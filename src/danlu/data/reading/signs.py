"""Digits, signs and spaces that are written in several ways, brought to one.

Not the whole of NFKC: it turns the unit of `5²` or `5 m²` into digits.
"""

import unicodedata

import polars as pl

FULL_WIDTH = [chr(code) for code in (*range(0xFF01, 0xFF5F), *range(0xFFE0, 0xFFE7))]
SPACES = [chr(code) for code in (0x09, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000)]
UNSEEN = ["\u200b", "\u200e", "\u200f", "\u2060", "\ufeff"]  # zero-width spaces, marks of direction, a byte order mark
MINUS = ["\u2010", "\u2011", "\u2012", "\u2013", "\u2014", "\u2212"]
APOSTROPHE = ["\u2018", "\u2019", "\u02bc"]
FOLDED = (
    {sign: unicodedata.normalize("NFKC", sign) for sign in FULL_WIDTH}
    | dict.fromkeys(SPACES, " ")
    | dict.fromkeys(UNSEEN, "")
    | dict.fromkeys(MINUS, "-")
    | dict.fromkeys(APOSTROPHE, "'")
)


def fold_signs(words: pl.Expr) -> pl.Expr:
    """Return the words with ASCII's digits, signs and spaces, without spaces around them."""
    return words.str.replace_many(list(FOLDED), list(FOLDED.values())).str.strip_chars()


def fold_signs_of(word: str) -> str:
    """Return one word as `fold_signs` does."""
    return "".join(FOLDED.get(sign, sign) for sign in word).strip()
