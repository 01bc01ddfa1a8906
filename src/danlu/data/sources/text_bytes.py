"""The bytes of a text file: cut into blocks, checked against an encoding."""

import codecs
from collections.abc import Iterator
from pathlib import Path

import polars as pl

BLOCK = 1 << 20  # bytes
UTF_8 = "utf-8"

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


def read_head(path: Path, size: int = BLOCK) -> bytes:
    """Return a file's first bytes."""
    with path.open("rb") as file:
        return file.read(size)


def is_utf_8(path: Path) -> bool:
    """Return whether all of a file is valid UTF-8."""
    with path.open("rb") as file:
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


def codec(encoding: str) -> str:
    """Return the name of the codec that decodes an encoding.

    It also decodes all that programs write under the encoding's name.
    """
    name = codecs.lookup(encoding).name
    return WIDER.get(name, name)


def broken_place(path: Path, encoding: str) -> tuple[int, int] | None:
    """Return the line and byte at which a file is not of an encoding.

    None if it is throughout.
    """
    decoder = codecs.getincrementaldecoder(codec(encoding))()
    line, start = 1, 0
    for block in (*blocks_of_lines(path), b""):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as broken:
            before = broken.object[: broken.start].decode(codec(encoding), errors="replace")
            return line + before.count("\n"), start + len(block) - (len(broken.object) - broken.start)
        line, start = line + text.count("\n"), start + len(block)
    return None


def blocks_of_lines(path: Path) -> Iterator[bytes]:
    """Yield all of a file in blocks that end where a line does."""
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block + file.readline(BLOCK)
