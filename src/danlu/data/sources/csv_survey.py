"""Look through all of a file of separated values once, by blocks of bytes: what decides how it can be read."""

import re
from codecs import BOM_UTF8
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from danlu.data.sources.text_bytes import is_utf_8_block

BLOCK = 1 << 17  # bytes; fits into a processor's cache, since each is looked at several times
QUOTE, FEED, RETURN, BACKSLASH, SPACE = b'"\n\r\\ '


@dataclass
class Survey:
    """Hold what all of a file's bytes show.

    Attributes:
        utf_8: whether they are valid; if not, nothing else is looked at.
        blank_lines: whether a line is empty.
        quotes: whether there are quotation marks at all.
        opened: whether a value begins with one.
        spaced: whether one follows a separator and spaces.
        sound: whether each opens or closes a value, or is doubled within one.
        escapes: whether one follows a backslash.
        size: in bytes, unpacked.
        end: where the last row with a value ends; after it there are only separators and line ends.
        empty_rows: whether such rows follow.
    """

    utf_8: bool = True
    blank_lines: bool = False
    quotes: bool = False
    opened: bool = False
    spaced: bool = False
    sound: bool = True
    escapes: bool = False
    size: int = 0
    end: int = 0
    empty_rows: bool = False


def survey(path: Path, separator: str, line_end: str) -> Survey:
    """Look through a file.

    Args:
        path: the file.
        separator: one ASCII character.
        line_end: one character; a carriage return before a line feed is implied.
    """
    looker = _Looker(separator.encode(), line_end.encode())
    with path.open("rb") as file:
        if file.read(len(BOM_UTF8)) == BOM_UTF8:
            looker.found.size = len(BOM_UTF8)
        else:
            file.seek(0)
        while block := file.read(BLOCK):
            looker.look(block)
            if not looker.found.utf_8:
                return looker.found
    return looker.finish()


class _Looker:
    """Look at a file's blocks one after another.

    A block is cut before its last line end, quotation mark or unfinished character: what follows decides these.
    """

    def __init__(self, separator: bytes, line_end: bytes) -> None:
        self.found = Survey()
        self._separator, self._line_end = separator, line_end
        self._spaced = re.compile(re.escape(separator) + b' +"')
        self._nothing = separator + b" \r\n"
        self._before = b"\n"  # the last byte that was looked at; a file begins as a line does
        self._rest = b""
        self._inside = False  # a quoted value
        self._ended = True  # whether the row that `end` is in has ended

    def look(self, block: bytes) -> None:
        block = self._rest + block
        size = len(block)
        while size and (
            block[size - 1] in b'"\r\n\\ ' or block[size - 1] >= 0x80 or block[size - 1] in self._separator
        ):
            size -= 1
        self._rest = block[size:]
        if size:
            self._see(block[:size])

    def finish(self) -> Survey:
        if self._rest:
            self._see(self._rest)
        self.found.sound = self.found.sound and not self._inside
        if not self._ended:
            self.found.end = self.found.size
        return self.found

    def _see(self, block: bytes) -> None:
        found = self.found
        found.utf_8 = is_utf_8_block(block)
        if not found.blank_lines:
            found.blank_lines = _has_blank_line(self._before + block)
        if QUOTE in block:
            self._see_quotes(np.frombuffer(self._before + block + b"\n", np.uint8))
            found.escapes = found.escapes or (BACKSLASH in block and b'\\"' in block)
        self._see_end(block)
        found.size += len(block)
        self._before = block[-1:]

    def _see_quotes(self, block: npt.NDArray[np.uint8]) -> None:
        found = self.found
        found.quotes = True
        places = np.flatnonzero(block == QUOTE)
        first = int(self._inside)
        opening, closing = places[first::2], places[1 - first :: 2]
        before, after = block[opening - 1], block[closing + 1]
        found.sound = found.sound and self._may_surround(before) and self._may_surround(after)
        if not found.opened:
            found.opened = any(bool((block[places - 1] == each).any()) for each in (*self._separator, FEED, RETURN))
        if not found.spaced and (block[places - 1] == SPACE).any():
            found.spaced = self._spaced.search(block.tobytes()) is not None
        self._inside ^= bool(len(places) % 2)

    def _may_surround(self, values: npt.NDArray[np.uint8]) -> bool:
        """Return whether each byte may stand beside an opening or closing quotation mark.

        Four comparisons are much faster than one look into a table.
        """
        fits = (values == self._separator[0]) | (values == FEED) | (values == QUOTE) | (values == RETURN)
        return bool(fits.all())

    def _see_end(self, block: bytes) -> None:
        """Follow where the last row with a value ends."""
        found = self.found
        last = len(block.rstrip(self._nothing))
        if last:
            found.empty_rows = False
            self._ended = False
        if not self._ended:
            line = block.find(self._line_end, last)
            if line >= 0:
                self._ended, found.end = True, found.size + line + 1
                last = line + 1
            else:
                last = len(block)
        found.empty_rows = found.empty_rows or self._separator in block[last:]


def _has_blank_line(block: bytes) -> bool:
    """Return whether a block has an empty line.

    It begins with the byte before it.
    """
    if RETURN in block:
        return any(pair in block for pair in (b"\n\n", b"\n\r\n", b"\r\r"))
    feeds = np.frombuffer(block, np.uint8) == FEED  # searching for a pair stops at every line
    return bool((feeds[1:] & feeds[:-1]).any())
