"""Microbatches: a batch in the equal parts that go through a pipeline. In: a batch of any size.

Messages between stages have one shape, so a batch that does not divide is padded with copies that count for nothing.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

LOGITS_FIELDS = ("hidden", "local")  # fields of deferred and of split logits with one row per sample


@dataclass(frozen=True)
class Microbatch:
    """Hold a microbatch; its last rows may be padding copies of a sample.

    Attributes:
        inputs: [rows, …] each.
        target: [rows, …], or None.
        num_real: how many of the rows are samples; they come first.
    """

    inputs: dict[str, Tensor]
    target: Tensor | None
    num_real: int


def split_into_microbatches(inputs: dict[str, Tensor], target: Tensor | None, count: int) -> list[Microbatch]:
    """Split a batch into `count` microbatches of equal size.

    The last ones are padded with copies of the first row.
    """
    rows = len(next(iter(inputs.values())))
    size = max(1, -(-rows // count))
    bounds = [(min(rows, part * size), min(rows, (part + 1) * size)) for part in range(count)]
    return [
        Microbatch(
            {name: _padded_slice(values, start, end, size) for name, values in inputs.items()},
            None if target is None else target[start:end],
            end - start,
        )
        for start, end in bounds
    ]


def _padded_slice(values: Tensor, start: int, end: int, size: int) -> Tensor:
    if end - start == size:
        return values[start:end]
    copied = values[:1] if len(values) > 0 else values.new_ones(1, *values.shape[1:])
    return torch.cat([values[start:end], copied.expand(size - (end - start), *values.shape[1:])])


def drop_padding_rows(logits: Any, rows: int) -> Any:
    """Drop the logits of padding rows."""
    if len(hidden_or_logits(logits)) == rows:
        return logits
    if isinstance(logits, Tensor):
        return logits[:rows]
    named = {name: getattr(logits, name)[:rows] for name in LOGITS_FIELDS if hasattr(logits, name)}
    return logits._replace(**named)


def hidden_or_logits(logits: Any) -> Tensor:
    """Return logits, whole or split, or the hidden states of deferred ones, [rows, …]."""
    tensor: Tensor = (
        logits
        if isinstance(logits, Tensor)
        else next(getattr(logits, name) for name in LOGITS_FIELDS if hasattr(logits, name))
    )
    return tensor
