"""The canonical spelling of one word, in plain Python; `spelling` has the same for columns.

Imports nothing else of danlu: `exporters.edge` copies this file beside an exported model.
"""

import re
from collections import Counter
from collections.abc import Sequence

NUMBER = r"^[+-]?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$"
WHOLE = r"^[+-]?(?:0|[1-9]\d*)(?:\.0+)?$"
MOMENT = r"^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:\.0+)?(?:Z|\+00:00)?$"
# Python counts separators of files among white space, Unicode and polars do not.
WHITE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
TRUTHS = {"true": "1", "false": "0"}


def canonical_word(word: str) -> str:
    """Return the canonical spelling of a word, as `spelling.canonical` has it.

    `1.0`, `+1` and ` 1` become `1`, `TRUE` becomes `true`, `1e2` becomes `100`, `2024-01-05T00:00:00` the day alone.
    """
    bare = word.strip(WHITE)
    if bare.lower() in TRUTHS:
        return bare.lower()
    if _fits(WHOLE, bare):
        whole = re.sub(r"\.0+\Z", "", bare.removeprefix("+"))
        return "0" if whole == "-0" else whole
    if _fits(NUMBER, bare):
        return shortest_number(float(bare))
    moment = _fits(MOMENT, bare)
    if moment is None:
        return bare
    return re.sub(r" (\d\d:\d\d):00\Z", r" \1", f"{moment[1]} {moment[2]}").removesuffix(" 00:00")


def shortest_number(value: float) -> str:
    """Return a number's shortest digits, as polars writes them."""
    shown = repr(value)
    small = re.search(r"e-0*([1-5])\Z", shown)
    if small is not None:
        shown = f"{value:.{int(small[1]) + len(shown[: small.start()].lstrip('-').replace('.', '')) - 1}f}"
    return re.sub(r"e-0*(\d+)\Z", r"e-\1", shown).removesuffix(".0")


def _fits(pattern: str, word: str) -> "re.Match[str] | None":
    return re.fullmatch(pattern.strip("^$"), word, re.ASCII)


def canonical_forms(known: Sequence[str]) -> dict[str, str]:
    """Return what other spellings of known words mean: canonical form -> the known word.

    A form that two known words share stands for neither: `1.1` and `1.10` may be two versions. Where all known words
    are truth values, 0 and 1 stand for them too, and the other way round.
    """
    forms = [canonical_word(word) for word in known]
    counts = Counter(forms)
    found = {form: word for form, word in zip(forms, known, strict=True) if counts[form] == 1}
    if found and found.keys() <= TRUTHS.keys():
        return found | {TRUTHS[form]: word for form, word in found.items()}
    if found and found.keys() <= set(TRUTHS.values()):
        return found | {truth: found[digit] for truth, digit in TRUTHS.items() if digit in found}
    return found


def merged_word(word: str) -> str:
    """Return a word in lower case, without outer white space and with single blanks inside."""
    return re.sub(f"[{WHITE}]+", " ", word.strip(WHITE)).lower()
