"""Infinity as programs write it: a number that counts as a missing value. And the largest number that models hold."""

import polars as pl

LARGEST = 3.4028234663852886e38  # of float32, in which models calculate
INFINITY = r"(?i)^\s*[+-]?inf(?:inity)?\s*$"


def is_infinity(words: pl.Expr) -> pl.Expr:
    """Return which words are infinity, with or without a sign."""
    return words.str.contains(INFINITY)


def parse_infinity(words: pl.Expr) -> pl.Expr:
    """Return infinities as Float64, null where a word is none."""
    size = pl.when(words.str.strip_chars().str.starts_with("-")).then(float("-inf")).otherwise(float("inf"))
    return pl.when(is_infinity(words)).then(size)
