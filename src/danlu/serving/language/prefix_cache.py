"""Keys and values of the beginnings of texts, shared by all sequences that begin alike.

A beginning is cut into blocks of tokens; a block's name is the digest of its tokens and of the block before it, so a
block is found only behind the very same text. Blocks used longest ago go first once the bytes are spent.
"""

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from danlu.serving.language.ragged_cache import KeyValues, RaggedCache

BLOCK = 16  # tokens


@dataclass(frozen=True)
class Block:
    """Hold what was computed of a block's tokens.

    Attributes:
        kept: keys and values of each layer.
        size: bytes of them.
    """

    kept: KeyValues
    size: int


class PrefixCache:
    """Keep blocks, within a number of bytes.

    Args:
        most_bytes: of all blocks; 0 keeps none.

    Attributes:
        bytes: of the blocks that are kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most, self.bytes = most_bytes, 0
        self._blocks: OrderedDict[bytes, Block] = OrderedDict()  # used longest ago first

    def __len__(self) -> int:
        return len(self._blocks)

    def find(self, tokens: Sequence[int]) -> list[Block]:
        """Return the blocks that a text begins with, but for its last token."""
        found: list[Block] = []
        names: list[bytes] = []
        for name, _ in _names(tokens[:-1]):
            block = self._blocks.get(name)
            if block is None:
                break
            found.append(block)
            names.append(name)
        for name in reversed(names):  # so that a text's end goes before its beginning
            self._blocks.move_to_end(name)
        return found

    def keep(self, tokens: Sequence[int], cache: RaggedCache, row: int) -> None:
        """Keep the whole blocks of a text that a row of a cache has computed."""
        if not self._most:
            return
        added: list[bytes] = []
        for name, start in _names(tokens):
            if name in self._blocks:
                continue
            kept = cache.read(row, start, start + BLOCK)
            block = Block(kept, sum(part.nbytes for layer in kept for part in layer))
            if block.size > self._most:
                return
            self._blocks[name] = block
            self.bytes += block.size
            added.append(name)
        for name in reversed(added):
            self._blocks.move_to_end(name)
        while self.bytes > self._most:
            _, gone = self._blocks.popitem(last=False)
            self.bytes -= gone.size


def _names(tokens: Sequence[int]) -> Iterator[tuple[bytes, int]]:
    """Yield the name of each whole block, and where it begins."""
    name = b""
    for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
        name = hashlib.blake2b(name + array("q", tokens[start : start + BLOCK]).tobytes(), digest_size=16).digest()
        yield name, start
