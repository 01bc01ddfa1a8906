"""A batch in the parts that go through a pipeline, all of one size. In: a batch of any size.

Messages between stages have one shape, so a batch that does not divide is filled up with copies that count for nothing.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

HELD = ("hidden", "local")  # where projected and split logits have what there is a row of for each sample


@dataclass(frozen=True)
class Part:
    """A part of a batch; those at the end may be filled up with copies of a sample, which count for nothing.

    Attributes:
        inputs: [rows, …] each.
        target: [rows, …], or None.
        real: how many of the rows are samples, the first ones.
    """

    inputs: dict[str, Tensor]
    target: Tensor | None
    real: int


def split_evenly(inputs: dict[str, Tensor], target: Tensor | None, parts: int) -> list[Part]:
    """Cut a batch into so many parts of one size; where it is too short, the last ones are filled up with its first."""
    rows = len(next(iter(inputs.values())))
    size = max(1, -(-rows // parts))
    bounds = [(min(rows, part * size), min(rows, (part + 1) * size)) for part in range(parts)]
    return [
        Part(
            {name: _filled(values, start, end, size) for name, values in inputs.items()},
            None if target is None else target[start:end],
            end - start,
        )
        for start, end in bounds
    ]


def _filled(values: Tensor, start: int, end: int, size: int) -> Tensor:
    if end - start == size:
        return values[start:end]
    copied = values[:1] if len(values) > 0 else values.new_ones(1, *values.shape[1:])
    return torch.cat([values[start:end], copied.expand(size - (end - start), *values.shape[1:])])


def first_rows(logits: Any, rows: int) -> Any:
    """Logits without those of copies."""
    if len(hidden_or_logits(logits)) == rows:
        return logits
    if isinstance(logits, Tensor):
        return logits[:rows]
    named = {name: getattr(logits, name)[:rows] for name in HELD if hasattr(logits, name)}
    return logits._replace(**named)


def hidden_or_logits(logits: Any) -> Tensor:
    """Logits, whole or split, or what they would be made of, [rows, …]."""
    tensor: Tensor = (
        logits if isinstance(logits, Tensor) else next(getattr(logits, name) for name in HELD if hasattr(logits, name))
    )
    return tensor
