"""Choose among encodings before Unicode: the one that can decode all of a file and makes it likely words."""

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from danlu.artifacts.cache import cached_dir, file_identity
from danlu.data.sources.letters import ORDINARY, likelihood
from danlu.data.sources.text_bytes import UTF_8, blocks_of_lines, broken_place, codec
from danlu.errors import DataError

WORDS = 4_000  # different words beyond ASCII that decide among encodings
LOOKED_AT = 100_000  # words beyond ASCII, at most, among which these are
CLEAR = 4.0  # by how much the likelihood of an encoding is above the others', as a logarithm
UNUSUAL = 0.45  # share of unlikely letters from which a reading is none; names have rare characters
VERSION = 2  # of what is kept in the cache
UNUSUAL_LATIN = 0.2  # accented letters are few
# (name, writing, how likely before the file is seen, as a logarithm)
LEGACY = (
    ("gb18030", "simplified", 1.0),
    ("big5", "traditional", 0.0),
    ("shift_jis", "japanese", 0.0),
    ("windows-1252", "latin", 0.0),
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

    def write(empty: Path) -> None:
        (empty / "encoding").write_text(_choose(path, likely), encoding=UTF_8)

    return (cached_dir("encodings", [VERSION, file_identity(path), likely], write) / "encoding").read_text(
        encoding=UTF_8
    )


def _choose(path: Path, likely: str | None) -> str:
    """Choose among encodings before Unicode by decoding all of a file that is not UTF-8.

    Raises:
        DataError: none is likely, or several are.
    """
    words, line = _words(path)
    where = f"{path}:{line}: is not UTF-8"
    _refuse_damaged(path, words)
    if likely is not None and _is_unknown(likely) and broken_place(path, likely) is None:
        return likely
    readings = [reading for entry in LEGACY if (reading := _read(words, *entry)) is not None]
    readings = sorted(readings, key=lambda reading: -reading.score)
    while readings and broken_place(path, readings[0].name) is not None:  # the words are only some of the file's
        readings.pop(0)
    if readings and readings[0].likely:
        near = [reading.name for reading in readings if reading.score > readings[0].score - CLEAR]
        near = [name for name in near if name == near[0] or broken_place(path, name) is None]
        if len(near) == 1 or likely in near:
            return near[0] if likely is None or likely not in near else likely
        raise DataError(
            f"{where}, and several encodings fit: {_shown(words[0], near)}; "
            f"name the right one, as `data.encoding: {near[0]}`",
            code="DL202",
        )
    if readings:
        tried = [reading.name for reading in readings]
        if likely in tried and broken_place(path, likely) is None:
            return likely
        raise DataError(
            f"{where}, and no encoding makes likely words of it: {_shown(words[0], tried)}; "
            "name its encoding, as `data.encoding: windows-1250`",
            code="DL202",
        )
    names = ", ".join(name for name, *_ in LEGACY)
    raise DataError(
        f"{where}, nor {names}; save it as UTF-8, or name its encoding, as `data.encoding: windows-1250`", code="DL202"
    )


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
    likely = unusual <= (UNUSUAL_LATIN if writing == "latin" else UNUSUAL)
    return _Reading(name, prior + sum(chance for _, chance in chances), likely)


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
