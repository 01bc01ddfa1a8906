"""Numbers as people write them: decimal comma, digits in groups, currencies, per cent, units, exponents.

A format holds for a whole column: all of its words are read by it, or none is.
"""

import re
from collections.abc import Iterator
from typing import Literal, Self

import polars as pl
from pydantic import model_validator

from danlu.core.component import Frozen
from danlu.data.reading.currencies import is_currency
from danlu.data.reading.signs import fold_signs, fold_signs_of

Decimal = Literal[".", ","]
Grouping = Literal["", ",", ".", " ", "'", "_"]

# In this order a format is preferred to a later one that reads the same values.
SIGNS: tuple[tuple[Decimal, Grouping], ...] = (
    *((".", grouping) for grouping in ("", ",", " ", "'", "_")),
    *((",", grouping) for grouping in ("", ".", " ", "'", "_")),
)
# International ones, as +49 170 1234567, +1 (212) 555-0100 and +491701234567; no number has so many signs or digits.
PHONE = r"^\s*\+[1-9](?:[0-9]{7,14}|[0-9]{0,3}(?:(?: ?\([0-9]{1,5}\))?[ /-]?[0-9]+)+)\s*$"
PHONE_DIGITS = 7  # that most of them have at least
EXPONENT = r"(?:[eE][+-]?[0-9]+)?"
GROUPED = (
    r"^\s*[+\-(]?\s*(?:[1-9][0-9]{0,2}(?:\.[0-9]{3})*|0)\s*[\-)]?\s*$"  # each point may be decimal or group digits
)
PLAIN = rf"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+){EXPONENT}$"
AROUND = "+-() "  # what may stand around the digits beside the prefix and suffix

LEADING_ZEROS = r"^[+-]?0[0-9]+(?:[.,][0-9]*)?$"
CODE = r"^(?:[^0-9]*[^0-9.,])?0[0-9]"  # the first digits of the word, whatever stands before them, but `.05`
INDIAN, WESTERN = "[0-9],[0-9]{2},", "[0-9]{3},[0-9]{3}"  # groups that only the one or the other writes

# What may stand around the digits, to find it in one word; which digits are right is judged by the format.
DIGITS = rf"[.,]?[0-9](?:[0-9.,' _]*[0-9])?(?:\.|[.,]--?)?{EXPONENT}"
BARE = rf"^[+\-(]? *{DIGITS} *[\-)]?$"
PREFIX = r"\p{L}{0,4}\p{Sc}\p{L}{0,3}|%|\p{L}[\p{L}./]{0,4}"
# Digits in a unit are powers (m2, m^-1, s-1), so that `1A2` has none.
UNIT_SIGN = r"""(?:[a-z]?m[23]|\^-?[1-9]|[msh]-[1-3]|[\p{L}\p{M}\p{Sc}\p{So}%‰′″"'/·*.²³¹⁻])"""
SUFFIX = rf"{UNIT_SIGN}{{1,16}}(?: {UNIT_SIGN}{{1,16}}){{0,2}}"
NO_UNIT = frozenset(".·*^²³¹⁻")  # first signs of what is no unit
AFFIXES = rf"^[+\-(]? *(?P<prefix>{PREFIX})? *[+\-(]? *{DIGITS}[\-)]? *(?P<suffix>{SUFFIX})?[\-)]?$"

FEW = 500  # words that a format is tried on before all are


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

    @model_validator(mode="after")
    def _check_signs(self) -> Self:
        if self.decimal == self.grouping:
            raise ValueError(f"decimal and grouping are both {self.decimal!r}; name two different signs")
        return self

    @property
    def example(self) -> str:
        """A number as the column writes it."""
        space = " " if self.suffix[:1].isalpha() else ""
        return f"{self.prefix}1{self.grouping}234{self.decimal}5{space}{self.suffix}"

    def parse(self, words: pl.Expr) -> pl.Expr:
        """Return the words as Float64, null where a word is no number of this format.

        Zero may be written without prefix and suffix; zeros before a number are passed over.
        """
        return self._values(fold_signs(words))

    def _values(self, words: pl.Expr) -> pl.Expr:
        prefix, suffix = fold_signs_of(self.prefix), fold_signs_of(self.suffix)
        digits = words.str.strip_chars(AROUND).str.strip_prefix(prefix).str.strip_suffix(suffix).str.strip_chars(AROUND)
        if self.grouping:
            digits = digits.str.replace_all(self.grouping, "", literal=True)
        size = digits.str.replace(self.decimal, ".", literal=True).cast(pl.Float64, strict=False)
        zero = pl.when(words.str.contains(self._zero())).then(0.0) if prefix or suffix else None
        positive, negative = (words.str.contains(sign(prefix, suffix)) for sign in (self._positive, self._negative))
        value = pl.when(positive).then(size).when(negative).then(-size).otherwise(zero)
        return pl.when(value.is_finite()).then(value)  # 1e400 is beyond any float

    def _number(self) -> str:
        """Return the pattern of a number without a sign."""
        point = re.escape(self.decimal)
        digits = "[0-9]*" if self.decimal == "." else "[0-9]+"  # `5.` is written, `5,` is half a list
        fraction = f"(?:{point}(?:{digits}|--?))?"  # 5,- is a price
        forms = [rf"[0-9]+{fraction}{EXPONENT}", rf"{point}[0-9]+{EXPONENT}"]
        if self.grouping:
            sign = re.escape(self.grouping)
            forms.append(rf"[1-9][0-9]{{0,2}}(?:{sign}[0-9]{{3}})+{fraction}")
        if self.grouping == ",":  # Indian: 1,10,100
            forms.append(rf"[1-9][0-9]?(?:,[0-9]{{2}})+,[0-9]{{3}}{fraction}")
        return f"(?:{'|'.join(forms)})"

    def _positive(self, prefix: str, suffix: str) -> str:
        before, number, behind = re.escape(prefix), self._number(), re.escape(suffix)
        return rf"^(?:\+? *{before}|{before} *\+) *{number} *{behind}$"

    def _negative(self, prefix: str, suffix: str) -> str:
        """Return the pattern of numbers below zero.

        These are `-5 €`, `€ -5`, `(5 €)`, `(5) €`, and `5-` as ledgers have it.
        """
        before, number, behind = re.escape(prefix), self._number(), re.escape(suffix)
        forms = (
            rf"(?:- *{before}|{before} *-) *{number} *{behind}",
            rf"\( *{before} *{number} *{behind} *\)",
            rf"{before} *\( *{number} *\) *{behind}",
            rf"{before} *{number}(?:- *{behind}| *{behind}-)",
        )
        return f"^(?:{'|'.join(forms)})$"

    def _zero(self) -> str:
        point = re.escape(self.decimal)
        return rf"^[+-]?(?:0+(?:{point}0*)?|{point}0+)$"


POINTED = NumberFormat(decimal=",", grouping=".")  # may also read what looks like plain numbers, such as 1.234


def number_formats(words: pl.Series) -> tuple[NumberFormat, ...]:
    """Return the formats in which all words are numbers, plain ones first.

    Two or more where it is ambiguous, as of `1.234`, which Germans write for 1234.
    Words with leading zeros are codes, which have none.

    Args:
        words: distinct ones, without missing ones.
    """
    folded = words.to_frame("word").select(fold_signs(pl.col("word"))).to_series()
    if folded.is_empty() or not folded.head(FEW).str.contains("[0-9]").all():
        return ()  # most columns are no numbers, and the patterns below take long to compile
    if folded.str.contains(CODE).any() or are_phone_numbers(folded):
        return ()
    plain = NumberFormat()
    if _all_match(folded, PLAIN):
        return _plain_formats(folded) if folded.cast(pl.Float64).is_finite().all() else ()
    affixes = _affixes(folded)
    if affixes is None:
        return ()
    if not any(affixes) and _read(folded, plain) is not None:  # as ledgers write them: (5)
        return _plain_formats(folded)
    return tuple(_distinct_formats(folded, *affixes))


def _plain_formats(words: pl.Series) -> tuple[NumberFormat, ...]:
    """Return the plain format of plain words, and another where each point may group digits."""
    grouped = _all_match(words, GROUPED) and words.str.contains(".", literal=True).any()
    return (NumberFormat(), POINTED) if grouped else (NumberFormat(),)


def are_plain_numbers(words: pl.Series) -> bool:
    """Return whether the plain format surely reads all words.

    This is quicker than to read them by it.
    """
    return bool((words.str.contains(PLAIN) & words.cast(pl.Float64, strict=False).is_finite()).all())


def are_phone_numbers(words: pl.Series) -> bool:
    """Return whether words are international telephone numbers, which begin with + all of them.

    Words with fewer digits, such as `+1 100`, are numbers with a sign.
    """
    return (
        len(words) > 0
        and bool(words.head(FEW).str.contains(PHONE).all())
        and bool(words.str.contains(PHONE).all())
        and (words.str.count_matches("[0-9]") >= PHONE_DIGITS).sum() * 2 > len(words)
    )


def has_leading_zeros(words: pl.Series) -> bool:
    """Say whether any word is a number with leading zeros, as codes have them."""
    return bool(words.to_frame("word").select(fold_signs(pl.col("word")).str.contains(LEADING_ZEROS).any()).item())


def _distinct_formats(words: pl.Series, prefix: str, suffix: str) -> Iterator[NumberFormat]:
    """Yield each format that reads all words, and reads them otherwise than those before it."""
    if not _all_match(words, _shape(prefix, suffix)):  # one look at all words is cheaper than one by each format
        return
    readings: list[pl.Series] = []
    for decimal, grouping in SIGNS:
        if grouping and not words.str.contains(grouping, literal=True).any():
            continue
        format_ = NumberFormat(decimal=decimal, grouping=grouping, prefix=prefix, suffix=suffix)
        values = _read(words, format_)
        if values is None or any(values.equals(other) for other in readings):
            continue
        if grouping == "," and all(words.str.contains(groups).any() for groups in (INDIAN, WESTERN)):
            continue
        readings.append(values)
        yield format_


def _shape(prefix: str, suffix: str) -> str:
    """Return a pattern of all that formats with this prefix and suffix may read.

    It matches more than these, too.
    """
    before, behind = re.escape(prefix), re.escape(suffix)
    return rf"^[+\-(]? *(?:{before})? *[+\-(]? *{DIGITS} *[\-)]? *(?:{behind})? *[\-)]?$"


def _read(words: pl.Series, format_: NumberFormat) -> pl.Series | None:
    """Return the values of folded words; None where any is no such number."""
    for some in (words.head(FEW), words):
        values = some.to_frame("word").select(format_._values(pl.col("word"))).to_series()
        if values.null_count():
            return None
    return values


def _all_match(words: pl.Series, pattern: str) -> bool:
    return all(some.str.contains(pattern).all() for some in (words.head(FEW), words))


def _affixes(words: pl.Series) -> tuple[str, str] | None:
    """Return the prefix and suffix of the first word that has any.

    None where it has others than numbers have.
    """
    for some in (words.head(FEW), words):
        dressed = some.filter(~some.str.contains(BARE))
        if len(dressed):
            found = dressed.head(1).str.extract_groups(AFFIXES).struct.unnest()
            prefix, suffix = found["prefix"].item() or "", found["suffix"].item() or ""
            known = prefix in {"", "%"} or is_currency(prefix)
            return (prefix, suffix) if known and (prefix or suffix) and suffix[:1] not in NO_UNIT else None
    return "", ""
