"""Choose among encodings before Unicode: the one that can decode all of a file and makes it likely words."""

import codecs
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from danlu.artifacts.cache import cached_dir, file_identity
from danlu.data.sources.latin_languages import language_likelihood
from danlu.data.sources.latin_letters import FREQUENCIES
from danlu.data.sources.letters import ORDINARY, likelihood
from danlu.data.sources.text_bytes import UTF_8, blocks_of_lines, broken_place, codec
from danlu.errors import DataError

WORDS = 4_000  # different words beyond ASCII that decide among encodings
LOOKED_AT = 100_000  # words beyond ASCII, at most, among which these are
CLEAR = 4.0  # by how much the likelihood of an encoding is above the others', as a logarithm
SURE = 10.0  # by how much it is so that nothing needs to be said
UNUSUAL = 0.45  # share of unlikely letters from which a reading is none; names have rare characters
VERSION = 4  # of what is kept in the cache
UNUSUAL_LATIN = 0.2  # accented letters are few
# (name, writing, how likely before the file is seen, as a logarithm)
LEGACY = (
    ("gb18030", "simplified", 1.0),
    ("big5", "traditional", 0.0),
    ("shift_jis", "japanese", 0.0),
    ("windows-1252", "western", 0.0),
    ("windows-1250", "central", -3.0),
    ("iso8859-2", "central", -4.0),
    ("windows-1254", "turkish", -4.0),
    ("windows-1257", "baltic", -4.0),
    ("euc_jp", "japanese", -3.0),
    ("euc_kr", "korean", -3.0),
    ("windows-1251", "cyrillic", -3.0),
    ("koi8-r", "cyrillic", -4.0),
    ("windows-1253", "greek", -3.0),
    ("windows-1255", "hebrew", -3.0),
)
# Bytes that are the second half of no character: ASCII but for letters, digits and a few signs.
_WORD = re.compile(rb"[\x30-\x39\x40-\xff]*[\x80-\xff][\x30-\x39\x40-\xff]*")


@dataclass(frozen=True)
class _Reading:
    """Hold what an encoding makes of a file's words beyond ASCII."""

    name: str
    writing: str
    texts: tuple[str, ...]
    score: float
    likely: bool


def legacy_encoding(path: Path, likely: str | None = None) -> str:
    """Choose among encodings before Unicode, once for each version of a file.

    Args:
        path: the file.
        likely: the encoding that decides where several fit, or none is known to.

    Raises:
        DataError: none is likely, or several are.
    """
    return _chosen(path, likely)[0]


def other_encodings(path: Path, likely: str | None = None) -> dict[str, tuple[str, str]]:
    """Return the encodings that are nearly as likely as that of `legacy_encoding`.

    Returns:
        by name, a word as the chosen encoding reads it and as this one does.

    Raises:
        DataError: as `legacy_encoding`.
    """
    return _chosen(path, likely)[1]


def _chosen(path: Path, likely: str | None) -> tuple[str, dict[str, tuple[str, str]]]:
    def write(empty: Path) -> None:
        (empty / "encoding.json").write_text(json.dumps(_choose(path, likely)), encoding=UTF_8)

    kept = cached_dir("encodings", [VERSION, file_identity(path), likely], write) / "encoding.json"
    name, others = json.loads(kept.read_text(encoding=UTF_8))
    return name, {other: (chosen, read) for other, (chosen, read) in others.items()}


def _choose(path: Path, likely: str | None) -> tuple[str, dict[str, tuple[str, str]]]:
    """Choose among encodings before Unicode by decoding all of a file that is not UTF-8.

    Raises:
        DataError: none is likely, or several are.
    """
    words, line = _words(path)
    where = f"{path}:{line}: is not UTF-8"
    _refuse_damaged(path, words)
    if likely is not None and _is_unknown(likely) and broken_place(path, likely) is None:
        return likely, {}
    readings = [reading for entry in LEGACY if (reading := _read(words, *entry)) is not None]
    readings = sorted(readings, key=lambda reading: -reading.score)
    while readings and broken_place(path, readings[0].name) is not None:  # the words are only some of the file's
        readings.pop(0)
    if readings and readings[0].likely:
        near = [reading for reading in readings if reading.score > readings[0].score - SURE]
        near = [reading for reading in near if reading == near[0] or broken_place(path, reading.name) is None]
        if likely in [reading.name for reading in near]:
            return likely, {}
        best = readings[0]
        asked = [best, *(each for each in near[1:] if each.score > best.score - CLEAR and not _alike(each, best))]
        if len(asked) > 1:
            raise DataError(
                f"{where}, and several encodings fit: {_shown(words[0], [each.name for each in asked])}; "
                f"name the right one, as `data.encoding: {best.name}`",
                code="DL202",
            )
        # Of encodings that read all letters alike the usual one is named.
        usual = min((each for each in near if each.texts == best.texts), key=_place)
        return usual.name, _others(best, near[1:])
    if readings:
        tried = [reading.name for reading in readings]
        if likely in tried and broken_place(path, likely) is None:
            return likely, {}
        raise DataError(
            f"{where}, and no encoding makes likely words of it: {_shown(words[0], tried)}; "
            "name its encoding, as `data.encoding: mac-roman`",
            code="DL202",
        )
    names = ", ".join(name for name, *_ in LEGACY)
    raise DataError(
        f"{where}, nor {names}; save it as UTF-8, or name its encoding, as `data.encoding: mac-roman`", code="DL202"
    )


def _place(reading: _Reading) -> int:
    return [name for name, *_ in LEGACY].index(reading.name)


def _alike(one: _Reading, other: _Reading) -> bool:
    """Return whether two readings differ in accents alone.

    The likelier one is taken, and the other said.
    """
    return one.writing in FREQUENCIES and other.writing in FREQUENCIES


def _others(best: _Reading, near: Sequence[_Reading]) -> dict[str, tuple[str, str]]:
    """Return the other readings, each with the first word that it reads differently."""
    differing = {
        each.name: next((pair for pair in zip(best.texts, each.texts, strict=True) if pair[0] != pair[1]), None)
        for each in near
    }
    return {name: pair for name, pair in differing.items() if pair is not None}


def _is_unknown(name: str) -> bool:
    """Return whether words of an encoding before Unicode are not known here."""
    found = codecs.lookup(codec(name)).name
    return not found.startswith("utf") and found not in {codecs.lookup(codec(known)).name for known, *_ in LEGACY}


def _shown(word: bytes, names: list[str]) -> str:
    return ", ".join(f"{name} reads {word.decode(codec(name))!r}" for name in names)


def _read(words: list[bytes], name: str, writing: str, prior: float) -> _Reading | None:
    """Return what an encoding makes of words, None if it cannot decode them."""
    try:
        texts = [word.decode(codec(name)) for word in words]
    except UnicodeDecodeError:
        return None
    chances = [pair for text in texts for pair in zip(text, likelihood(text, writing), strict=True)]
    odd = [chance for letter, chance in chances if not letter.isascii()]
    unusual = sum(chance < ORDINARY for chance in odd) / max(1, len(odd))
    is_latin = writing in FREQUENCIES
    likely = unusual <= (UNUSUAL_LATIN if is_latin else UNUSUAL)
    score = language_likelihood(chances, writing) if is_latin else sum(chance for _, chance in chances)
    return _Reading(name, writing, tuple(texts), prior + score, likely)


def _words(path: Path) -> tuple[list[bytes], int]:
    """Return different words beyond ASCII, in order, and the first one's line."""
    words: dict[bytes, None] = {}
    line = lines = seen = 0
    for block in blocks_of_lines(path):
        for match in _WORD.finditer(block):
            line = line or lines + block.count(b"\n", 0, match.start()) + 1
            words[match[0]] = None
            seen += 1
            if len(words) == WORDS or seen == LOOKED_AT:
                return list(words), line
        lines += block.count(b"\n")
    return list(words), line


def _refuse_damaged(path: Path, words: list[bytes]) -> None:
    """Raise DataError where most letters beyond ASCII are UTF-8 and a few bytes are not."""
    text = b" ".join(words).decode(UTF_8, errors="replace")
    odd = [letter for letter in text if not letter.isascii()]
    if odd.count("\ufffd") < 0.3 * len(odd):
        line, byte = broken_place(path, UTF_8) or (0, 0)
        raise DataError(
            f"{path}:{line}: is UTF-8 but for a damaged character (byte {byte}); correct it, "
            "or name another encoding, as `data.encoding: windows-1252`",
            code="DL202",
        )
