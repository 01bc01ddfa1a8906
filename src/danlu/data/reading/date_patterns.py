"""Layouts of dates as regular expressions, in the syntax that Python and polars share.

In: a layout in strptime's letters. Out: an expression whose groups hold the parts of a date, by the letter of each.
Beyond strptime's own letters there are `%q`, the quarter of a year, and `%G-W%V`, the ISO week, which begins it. `%Y`
stands for four digits, never fewer; `%b` for a short month name, `%B` for a short or a long one, in English, and behind
an ordinal's point (`15. ledna 2024`) in the languages of `OTHER_MONTHS`.
"""

import re
from functools import cache

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LONG = "january|february|march|april|may|june|july|august|september|october|november|december"
# Names of months beside a day, in the genitive where a language has one: `listopad` is October in Croatian and November
# in Czech. Only these languages write a point behind the day or the year; a Polish `15 listopada` is in November.
OTHER_MONTHS = {
    "Czech": "ledna února března dubna května června července srpna září října listopadu prosince",
    "Croatian": "siječnja veljače ožujka travnja svibnja lipnja srpnja kolovoza rujna listopada studenoga prosinca",
    "Hungarian": ("január február március április május június július augusztus szeptember október november december"),
}
MONTH_NUMBERS = {
    **{name: number for names in OTHER_MONTHS.values() for number, name in enumerate(names.split(), 1)},
    **{name: number for number, name in enumerate(_LONG.split("|"), 1)},
    **{name: number for number, name in enumerate(MONTHS, 1)},
    "sept": 9,
    "studenog": 11,
    "febr": 2,
    "márc": 3,
    "ápr": 4,
    "máj": 5,
    "jún": 6,
    "júl": 7,
    "szept": 9,
    "okt": 10,
}
_SHORT = rf"(?:{'|'.join(MONTHS)}|sept)\.?"
_WEEKDAY = r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?"
_OFFSET = r"(?P<sign>[+-])(?P<zh>[0-9]{1,2})(?::?(?P<zm>[0-9]{2}))?(?:\[[\w/+-]+\])?"
_ZONE = rf"(?:(?:UTC|GMT)?{_OFFSET}|Z|UTC|GMT)"
# The time of day behind a date: 10:00, 10:00:00.5, 10:00 p.m., 10 AM, 10时30分, each with or without a zone. An hour
# alone is one only with AM or PM behind it, which the groups tell.
_TIME = (
    r"(?P<H>[0-9]{1,2})(?:[:时時](?P<M>[0-9]{2})(?:[:分](?P<S>[0-9]{2})(?:[.,](?P<f>[0-9]{1,9}))?秒?|分)?)?"
    rf"(?:\s*(?P<p>[ap])\.?m\.?)?(?:\s*{_ZONE})?"
)
TAIL = rf"(?:(?:\s*T\s*|,?\s+|[:_]){_TIME})?"

_LETTERS = {
    "Y": r"(?P<Y>[1-9][0-9]{3})",
    ":Y": r"(?P<Y>19[0-9]{2}|20[0-9]{2}|2100)",
    "y": r"(?P<y>[0-9]{2})",
    "m": r"(?P<m>[0-9]{1,2})",
    "d": r"(?P<d>[0-9]{1,2})",
    "e": r"\s*(?P<d>[0-9]{1,2})",
    "b": rf"(?P<b>{_SHORT})",
    "h": rf"(?P<b>{_SHORT})",
    "B": rf"(?P<b>{_LONG}|{_SHORT})",
    "q": r"(?P<q>[1-4])",
    "G": r"(?P<G>[1-9][0-9]{3})",
    "V": r"(?P<V>[0-5][0-9])",
    "H": r"(?P<H>[0-9]{1,2})",
    "I": r"(?P<H>[0-9]{1,2})",
    "M": r"(?P<M>[0-9]{1,2})",
    "S": r"(?P<S>[0-9]{1,2})",
    "f": r"(?P<f>[0-9]{1,9})",
    ".f": r"(?:\.(?P<f>[0-9]{1,9}))?",
    "p": r"(?P<p>[ap])\.?m\.?",
    "z": rf"\s*{_ZONE}",
    "a": _WEEKDAY,
    "A": _WEEKDAY,
    "%": "%",
}
_SHORTHANDS = {"%F": "%Y-%m-%d", "%D": "%m/%d/%y", "%T": "%H:%M:%S", "%R": "%H:%M"}
_TIMES = frozenset("HIMSfpz") | {".f"}
_PIECE = re.compile(r"%[-#]?(\.f|:Y|[a-zA-Z%])|(\s+)|(.)", re.DOTALL)


@cache
def pattern_of(layout: str) -> str | None:
    """Return the expression that a whole word of this layout matches.

    None where a letter is not known here.
    A layout of days without a time of day allows one behind it, with or without a zone; a weekday may stand before.
    """
    body = date_pattern(layout)
    if body is None:
        return None
    timed = any(letter in _TIMES for letter, _, _ in _pieces(layout))
    tail = "" if timed or not re.search(r"\(\?P<d>", body) else TAIL
    day = "" if re.match("%[aA]", layout) else rf"(?:{_WEEKDAY},?\s+)?"
    return rf"(?i)^\s*{day}{body}{tail}\s*$"


def pattern_of_any(layouts: tuple[str, ...]) -> str:
    """Return one expression for words of any of several layouts.

    The groups of the layout at place N end in `_N`, as `d_3`; those of the time of day behind have no number.
    """
    ways = [
        re.sub(r"\(\?P<(\w+)>", rf"(?P<\1_{place}>", str(date_pattern(layout))) for place, layout in enumerate(layouts)
    ]
    return rf"(?i)^\s*(?:{_WEEKDAY},?\s+)?(?:{'|'.join(ways)}){TAIL}\s*$"


def bare(layout: str) -> str:
    """Return a layout that takes only years that dates have, 1900 to 2100.

    It is for places where numbers and codes look like dates.
    """
    return layout.replace("%Y", "%:Y")


def date_pattern(layout: str) -> str | None:
    """Return the expression of a layout's own part, without a time of day behind it."""
    pieces = _pieces(layout)
    if any(letter and letter not in _LETTERS for letter, _, _ in pieces):
        return None
    letters = [letter for letter, _, _ in pieces if letter]
    if len(set(letters)) < len(letters):
        return None  # a group may stand once
    named = any(letter in "bhB" for letter in letters)
    return "".join(
        _letter(layout, letter, named) if letter else r"\s+" if space else _literal(layout, other)
        for letter, space, other in pieces
    )


def _pieces(layout: str) -> list[tuple[str, str, str]]:
    """Take a layout apart: letters, white space, and what else stands there."""
    for short, long in _SHORTHANDS.items():
        layout = layout.replace(short, long)
    return _PIECE.findall(layout)


def _letter(layout: str, letter: str, named: bool) -> str:
    """Return the expression of one letter."""
    if letter in tuple("mdHMS") and re.search("%:?[YymdHMS]%[YymdHMS]", layout):
        return _LETTERS[letter].replace("{1,2}", "{2}")  # nothing else tells where digits without a sign between end
    if letter == "B" and re.search(r"%[dY]\. ", layout):
        return rf"(?P<b>(?:{'|'.join(sorted(MONTH_NUMBERS, key=len, reverse=True))})\.?)"
    if letter == "d" and named:
        return _LETTERS[letter] + r"(?:st|nd|rd|th)?"
    return _LETTERS[letter]


def _literal(layout: str, sign: str) -> str:
    """Return the expression of a sign between the letters."""
    if sign in "年月日년월일":
        return rf"\s*{sign}" if sign in "日일" else rf"\s*{sign}\s*"
    if sign == ",":
        return ",?"  # January 15, 2024 and January 15 2024
    if sign == "-" and ("%q" in layout or "%V" in layout):
        return r"[-\s/]?"  # 2024-Q1 and 2024Q1
    return re.escape(sign)
