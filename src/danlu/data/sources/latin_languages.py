"""Say how likely texts are in the languages that a Latin encoding of one byte is made for, by their letters alone.

Windows-1250 makes of a Czech `č` what windows-1252 makes a French `è` of: only the languages' letters tell them apart.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache

from danlu.data.sources.latin_letters import FREQUENCIES

UNHEARD_OF = math.log(2e-5)  # a letter that the language has not
OUTSIDE = -9.0  # what is no likelier in any Latin text is judged by its place, not as a letter of a language
NO_LETTERS = "ªºˆƒ"  # though Unicode calls them so


def language_likelihood(letters: Iterable[tuple[str, float]], writing: str) -> float:
    """Return the logarithm of all letters' chance in the language that fits best.

    Args:
        letters: each with the logarithm of its chance in any Latin text.
        writing: a key of `FREQUENCIES`.
    """
    apart, counts = 0.0, Counter[str]()
    for letter, chance in letters:
        if letter.isalpha() and chance > OUTSIDE and letter not in NO_LETTERS:
            counts[letter.lower()[0]] += 1
        else:
            apart += chance
    return apart + max(_sum(counts, chances) for chances in _languages(writing))


def _sum(counts: Mapping[str, int], chances: Mapping[str, float]) -> float:
    return sum(count * chances.get(letter, UNHEARD_OF) for letter, count in counts.items())


@cache
def _languages(writing: str) -> tuple[dict[str, float], ...]:
    """Return each letter's chance by language, and in texts of all, as a logarithm."""
    shares: list[dict[str, float]] = [
        {word[0]: int(word[1:]) / 10_000 for word in written.split()} for written in FREQUENCIES[writing].values()
    ]
    letters = {letter for each in shares for letter in each}
    mixed = {letter: sum(each.get(letter, 0.0) for each in shares) / len(shares) for letter in letters}
    return tuple({letter: math.log(share) for letter, share in each.items()} for each in (*shares, mixed))
