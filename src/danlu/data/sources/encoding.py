"""Find out how a text file is encoded, and give polars a UTF-8 version of it.

Valid UTF-8 is UTF-8, a byte order mark is believed, and of the encodings before Unicode that can decode the whole file
the one is taken that makes it likely words; where several do, the recipe decides.
"""

import codecs
import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import polars as pl

from danlu.artifacts.cache import cached_dir, file_identity
from danlu.core.text import suggestion
from danlu.data.sources.letters import ORDINARY, likelihood
from danlu.errors import DataError

BLOCK = 1 << 20  # bytes
UTF_8 = "utf-8"
WORDS = 4_000  # different words beyond ASCII that decide among encodings
CLEAR = 4.0  # by how much the likelihood of an encoding is above the others', as a logarithm
UNUSUAL = 0.45  # share of unlikely letters from which a reading is none; names have rare characters
UNUSUAL_LATIN = 0.2  # accented letters are few
VERSION = 1  # of copies in the cache

# A longer mark may begin with a shorter one.
MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
# What programs write under a name is often a larger set: https://encoding.spec.whatwg.org/#names-and-labels
WIDER = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "iso8859-1": "cp1252",
    "utf-8": "utf-8-sig",
}
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
OTHER_KINDS = (
    (b"PK\x03\x04", "is an archive (or a workbook), not {}; save the table in it as csv"),
    (b"\xd0\xcf\x11\xe0", "is an old workbook or document, not {}; save the table in it as csv"),
    (b"%PDF", "is a PDF document, not {}; save the table in it as csv"),
    (b"PAR1", "is Parquet, not {}; give it the suffix .parquet"),
    (b"\x1f\x8b", "is compressed by gzip; add .gz to its name"),
)
# Bytes that are the second half of no character: ASCII but for letters, digits and a few signs.
_WORD = re.compile(rb"[\x30-\x39\x40-\xff]*[\x80-\xff][\x30-\x39\x40-\xff]*")


def text_file(path: Path, encoding: str | None) -> tuple[Path, str]:
    """Return a text file that is UTF-8, and the encoding of the given one.

    Args:
        path: plain or gzipped.
        encoding: as the recipe says; None to find it out.

    Returns:
        The file itself if it is UTF-8, else a copy in the cache.

    Raises:
        DataError: the encoding is unknown, does not fit, or is not clear.
    """
    found = detect_encoding(path) if encoding is None else _known(path, encoding)
    return utf_8_version(path, found), found


def detect_encoding(path: Path) -> str:
    """Detect the encoding of a text file by trial decoding of all of it.

    Raises:
        DataError: none is likely, or several are.
    """
    head = read_head(path)
    marked = encoding_by_mark(path, head)
    if marked is not None:
        return marked
    return UTF_8 if is_utf_8(path) else legacy_encoding(path)


def encoding_by_mark(path: Path, head: bytes) -> str | None:
    """Return the encoding that a file's first bytes name, None if they name none.

    Raises:
        DataError: they are those of another kind of file.
    """
    for magic, said in OTHER_KINDS:
        if head.startswith(magic):
            raise DataError(f"{path}: {said.format(path.suffix.lstrip('.'))}", code="DL202")
    for mark, name in MARKS:
        if head.startswith(mark):
            return name
    # Text of ASCII alone in two bytes a letter, without a mark: every other byte is zero.
    sample = head[: len(head) // 2 * 2][:4096]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if len(sample) >= 16 and max(even, odd) > 0.4 * len(sample) // 2 and min(even, odd) == 0:
        return "utf-16-be" if even else "utf-16-le"
    return None


def utf_8_version(path: Path, encoding: str) -> Path:
    """Return a UTF-8 version of a text file: itself, or a copy in the cache.

    Raises:
        DataError: the file is not of that encoding, with the line.
    """
    if encoding == UTF_8:
        return path
    name = path.name.removesuffix(".gz") if path.suffix.lower() == ".gz" else path.name
    key = [VERSION, file_identity(path), encoding]
    return cached_dir("utf-8", key, partial(_transcode, path, encoding, name)) / name


def is_utf_8(path: Path) -> bool:
    """Return whether all of a file is valid UTF-8."""
    with open_bytes(path) as file:
        rest = b""
        while block := file.read(BLOCK):
            block = rest + block
            end = whole_characters(block)
            if not is_utf_8_block(block[:end]):
                return False
            rest = block[end:]
    return not rest


def is_utf_8_block(block: bytes) -> bool:
    """Return whether bytes are valid UTF-8, several times as fast as decoding them."""
    if block.isascii():
        return True
    try:
        pl.Series([block], dtype=pl.Binary).cast(pl.String)
    except pl.exceptions.PolarsError:
        return False
    return True


def whole_characters(block: bytes) -> int:
    """Return the length of a block of UTF-8 without a character that it cuts off."""
    for back in range(1, min(4, len(block)) + 1):
        byte = block[-back]
        if byte >= 0xC0:  # a character of two bytes or more begins here
            size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(block) - back if back < size else len(block)
        if byte < 0x80:
            break
    return len(block)


def read_head(path: Path, size: int = BLOCK) -> bytes:
    """Return a file's first bytes, unpacked."""
    with open_bytes(path) as file:
        return file.read(size)


def open_bytes(path: Path) -> "IO[bytes]":
    """Open a file, unpacked if it is gzipped."""
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]


@dataclass(frozen=True)
class _Reading:
    """Hold what an encoding makes of a file's words beyond ASCII."""

    name: str
    score: float
    likely: bool


def legacy_encoding(path: Path) -> str:
    """Choose among encodings before Unicode by decoding all of a file that is not UTF-8.

    Raises:
        DataError: none is likely, or several are.
    """
    words, line = _words(path)
    where = f"{path}:{line}: is not UTF-8"
    _refuse_damaged(path, words)
    readings = [reading for entry in LEGACY if (reading := _read(words, *entry)) is not None]
    readings = sorted(readings, key=lambda reading: -reading.score)
    while readings and _broken_line(path, readings[0].name) is not None:  # the words are only some of the file's
        readings.pop(0)
    if readings and readings[0].likely:
        near = [reading.name for reading in readings if reading.score > readings[0].score - CLEAR]
        near = [name for name in near if name == near[0] or _broken_line(path, name) is None]
        if len(near) == 1:
            return near[0]
        raise DataError(
            f"{where}, and several encodings fit: {_shown(words[0], near)}; "
            f"name the right one, as `data.encoding: {near[0]}`",
            code="DL202",
        )
    if readings:
        tried = [reading.name for reading in readings]
        raise DataError(
            f"{where}, and no encoding makes likely words of it: {_shown(words[0], tried)}; "
            "name its encoding, as `data.encoding: windows-1250`",
            code="DL202",
        )
    names = ", ".join(name for name, *_ in LEGACY)
    raise DataError(
        f"{where}, nor {names}; save it as UTF-8, or name its encoding, as `data.encoding: windows-1250`", code="DL202"
    )


def _shown(word: bytes, names: list[str]) -> str:
    return ", ".join(f"{name} reads {word.decode(_codec(name))!r}" for name in names)


def _read(words: list[bytes], name: str, writing: str, prior: float) -> _Reading | None:
    """Return what an encoding makes of words, None if it cannot decode them."""
    try:
        texts = [word.decode(_codec(name)) for word in words]
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
    line = lines = 0
    for block in _blocks_of_lines(path):
        for match in _WORD.finditer(block):
            line = line or lines + block.count(b"\n", 0, match.start()) + 1
            words[match[0]] = None
            if len(words) == WORDS:
                return list(words), line
        lines += block.count(b"\n")
    return list(words), line


def _refuse_damaged(path: Path, words: list[bytes]) -> None:
    """Raise DataError where most letters beyond ASCII are UTF-8 and a few bytes are not."""
    text = b" ".join(words).decode(UTF_8, errors="replace")
    odd = [letter for letter in text if not letter.isascii()]
    if odd.count("\ufffd") < 0.3 * len(odd):
        line, byte = _broken_line(path, UTF_8) or (0, 0)
        raise DataError(
            f"{path}:{line}: is UTF-8 but for a damaged character (byte {byte}); correct it, "
            "or name another encoding, as `data.encoding: windows-1252`",
            code="DL202",
        )


def _broken_line(path: Path, encoding: str) -> tuple[int, int] | None:
    """Return the line and byte at which a file is not of an encoding, None if it is throughout."""
    decoder = codecs.getincrementaldecoder(_codec(encoding))()
    line, start = 1, 0
    for block in (*_blocks_of_lines(path), b""):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as broken:
            before = broken.object[: broken.start].decode(_codec(encoding), errors="replace")
            return line + before.count("\n"), start + len(block) - (len(broken.object) - broken.start)
        line, start = line + text.count("\n"), start + len(block)
    return None


def _blocks_of_lines(path: Path) -> Iterator[bytes]:
    """Yield all of a file in blocks that end where a line does."""
    with open_bytes(path) as file:
        while block := file.read(BLOCK):
            yield block + file.readline(BLOCK)


def _known(path: Path, encoding: str) -> str:
    """Return a stated encoding's name, UTF-8 by its own, after a look at the file.

    Raises:
        DataError: Python knows no such encoding, or the file begins with another one's mark.
    """
    try:
        name = codecs.lookup(encoding).name
        b"".decode(name)
    except LookupError as error:
        near = suggestion(encoding, [UTF_8, "utf-16", *(known for known, *_ in LEGACY)])
        raise DataError(f"{path}: data.encoding: no encoding {encoding!r}{near}", code="DL202") from error
    marked = encoding_by_mark(path, read_head(path, 4096))
    if marked and not name.startswith(marked[:6]):
        raise DataError(
            f"{path}:1: is not {encoding}, which data.encoding names: it begins as {marked} does; "
            f"write `data.encoding: {marked}`, or leave it out",
            code="DL202",
        )
    if name.startswith(UTF_8) and not is_utf_8(path):
        _refuse_encoding(path, UTF_8)
    return UTF_8 if name.startswith(UTF_8) else encoding


def _codec(encoding: str) -> str:
    name = codecs.lookup(encoding).name
    return WIDER.get(name, name)


def _transcode(path: Path, encoding: str, name: str, empty: Path) -> None:
    decoder = codecs.getincrementaldecoder(_codec(encoding))()
    try:
        with open_bytes(path) as file, (empty / name).open("wb") as copy:
            while block := file.read(BLOCK):
                copy.write(decoder.decode(block).encode(UTF_8))
            copy.write(decoder.decode(b"", final=True).encode(UTF_8))
    except UnicodeError:
        _refuse_encoding(path, encoding)
        raise


def _refuse_encoding(path: Path, encoding: str) -> None:
    line, byte = _broken_line(path, encoding) or (1, 0)
    raise DataError(
        f"{path}:{line}: is not {encoding} (byte {byte}); name its encoding in `data.encoding`, "
        "or leave that out to have it found out",
        code="DL202",
    )
