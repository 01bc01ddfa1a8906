"""Keys and values of sequences of different lengths in one cache that transformers' networks read and write.

Rows end in the same column, so every step writes one column for all of them. What is free on a row's left is masked by
its first column. Rows join by being copied to that end, and leave by the last row taking their place; columns that no
row uses any longer are left out of what the network sees, and are taken up again where the cache grows.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

SPARE_COLUMNS, SPARE_ROWS = 64, 8  # beyond what is needed when a cache grows
KeyValues = list[tuple[Tensor, Tensor]]  # of each layer, [heads, tokens, width]


class Span:
    """Hold which rows and columns of keys and values are in use, in all layers.

    Attributes:
        rows: sequences.
        first, end: columns that the network sees.
    """

    def __init__(self, rows: int, first: int = 0, end: int = 0) -> None:
        self.rows, self.first, self.end = rows, first, end


class RaggedLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """Keep the keys and values of one layer, [rows, heads, columns, width] each."""

    keys: Tensor
    values: Tensor
    is_sliding = False  # a network with a window masks what is outside of it

    def __init__(self, span: Span) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.span = span

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make room for the first keys and values."""
        columns = self.span.end + key_states.shape[2] + SPARE_COLUMNS
        self.keys, self.values = (
            given.new_zeros(self.span.rows, given.shape[1], columns, given.shape[3])
            for given in (key_states, value_states)
        )
        self.dtype, self.device = key_states.dtype, key_states.device
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write behind the end, and return all that is seen."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        span, end = self.span, self.span.end + key_states.shape[2]
        self.keys[: span.rows, :, span.end : end] = key_states
        self.values[: span.rows, :, span.end : end] = value_states
        return self.keys[: span.rows, :, span.first : end], self.values[: span.rows, :, span.first : end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return how many columns a mask has, and where they begin."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Return how many columns are seen."""
        return self.span.end - self.span.first

    def get_max_length(self) -> int:
        """Return -1: it grows."""
        return -1


class RaggedCache:
    """Keep the sequences of a batch.

    Args:
        rows: how many there are.
        columns: that are filled by `write` before the network is asked first.

    Attributes:
        cache: what transformers' networks take as `past_key_values`.
        starts: each row's first column.
    """

    def __init__(self, rows: int = 0, columns: int = 0) -> None:
        self.span = Span(rows, 0, columns)
        self.starts = [columns] * rows
        self.cache = _layered(self.span, [])

    @property
    def layers(self) -> list[RaggedLayer]:
        """The layers that the network has written to."""
        layers: list[RaggedLayer] = self.cache.layers
        return layers

    @property
    def lengths(self) -> list[int]:
        """How many tokens of each row are kept."""
        return [self.span.end - start for start in self.starts]

    def mask(self, more: int, device: torch.device) -> Tensor:
        """Return 1 where a row has tokens, 0 before them, [rows, columns + more]."""
        columns = torch.arange(self.span.first, self.span.end + more, device=device)
        return (columns >= torch.tensor(self.starts, device=device)[:, None]).long()

    def positions(self, more: int, device: torch.device) -> Tensor:
        """Return the places of the next columns in each row's text, [rows, more]."""
        columns = torch.arange(self.span.end, self.span.end + more, device=device)
        return (columns - torch.tensor(self.starts, device=device)[:, None]).clamp(min=0)

    @torch.inference_mode()  # what the network wrote can be changed in no other
    def make_room(self, more: int) -> None:
        """See to it that columns can be written."""
        if self.layers and self.span.end + more > self.layers[0].keys.shape[2]:
            self._move(self.span.rows, self.span.end - self.span.first, more)

    def advance(self, more: int) -> None:
        """Take columns as written."""
        self.span.end += more

    @torch.inference_mode()
    def write(self, row: int, kept: Sequence[KeyValues]) -> None:
        """Fill the columns before the end with what was computed of the same tokens.

        Args:
            row: which.
            kept: pieces that follow one another.
        """
        size = sum(piece[0][0].shape[1] for piece in kept)
        self._begin_layers(kept[0])
        for number, layer in enumerate(self.layers):
            for whole, place in ((layer.keys, 0), (layer.values, 1)):
                whole[row, :, self.span.end - size : self.span.end] = torch.cat(
                    [piece[number][place] for piece in kept], dim=1
                )

    @torch.inference_mode()
    def read(self, row: int, start: int, end: int) -> KeyValues:
        """Return a copy of what is kept of a row's tokens `start` to `end`."""
        first = self.starts[row]
        return [
            (
                layer.keys[row, :, first + start : first + end].clone(),
                layer.values[row, :, first + start : first + end].clone(),
            )
            for layer in self.layers
        ]

    @torch.inference_mode()
    def join(self, other: "RaggedCache") -> None:
        """Take over the rows of another cache, behind its own."""
        if not self.span.rows:
            self.span, self.starts, self.cache = other.span, other.starts, other.cache
            return
        rows, more = self.span.rows, other.span.rows
        size = max(self.span.end - self.span.first, other.span.end - other.span.first)
        keys = self.layers[0].keys
        if rows + more > keys.shape[0] or self.span.end < size or self.span.end >= keys.shape[2]:
            self._move(rows + more, size, 1)
        taken = slice(other.span.first, other.span.end)
        placed = slice(self.span.end - (other.span.end - other.span.first), self.span.end)
        for own, given in zip(self.layers, other.layers, strict=True):
            own.keys[rows : rows + more, :, placed] = given.keys[:more, :, taken]
            own.values[rows : rows + more, :, placed] = given.values[:more, :, taken]
        self.starts += [self.span.end - length for length in other.lengths]
        self.span.rows += more
        self.span.first = min(self.starts)

    @torch.inference_mode()
    def drop(self, row: int) -> None:
        """Let a row leave; the last one takes its place."""
        last = self.span.rows - 1
        if row != last:
            seen = slice(self.starts[last], self.span.end)
            for layer in self.layers:
                layer.keys[row, :, seen] = layer.keys[last, :, seen]
                layer.values[row, :, seen] = layer.values[last, :, seen]
            self.starts[row] = self.starts[last]
        self.starts.pop()
        self.span.rows = last
        if last:
            self.span.first = min(self.starts)
        else:
            self.span = Span(0)
            self.cache = _layered(self.span, [])

    def _begin_layers(self, like: KeyValues) -> None:
        """Make the layers of a cache whose first columns are not computed."""
        if self.layers:
            return
        layers = []
        for key, value in like:
            layer = RaggedLayer(self.span)
            layer.lazy_initialization(key[None], value[None])
            layers.append(layer)
        self.cache = _layered(self.span, layers)

    def _move(self, rows: int, size: int, more: int) -> None:
        """Copy what is seen to larger tensors, with room for `more` columns."""
        span, shift = self.span, size - self.span.end
        for layer in self.layers:
            for name in ("keys", "values"):
                old = getattr(layer, name)
                new = old.new_zeros(
                    max(rows + SPARE_ROWS, old.shape[0]),
                    old.shape[1],
                    size + size // 2 + more + SPARE_COLUMNS,
                    old.shape[3],
                )
                new[: span.rows, :, span.first + shift : size] = old[: span.rows, :, span.first : span.end]
                setattr(layer, name, new)
        self.starts = [start + shift for start in self.starts]
        span.first, span.end = span.first + shift, size


def _layered(span: Span, layers: list[RaggedLayer]) -> Any:
    """Return a cache of transformers with these layers, or one that makes each."""
    made: Any = Cache
    if layers:
        return made(layers=layers)
    return made(layer_class_to_replicate=lambda: RaggedLayer(span))
