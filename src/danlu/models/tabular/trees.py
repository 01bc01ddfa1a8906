"""Trees that answer: their arrays as buffers of a torch module, so that they travel as safetensors and run anywhere.

Who grew them does not matter here; `tree` and `boosting` make the arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

WORD = 32  # categories that one number of a set tells of


@dataclass
class Grower:
    """Nodes as they are added; a node's number is its position.

    Attributes:
        width: numbers that a leaf gives.
    """

    width: int
    feature: list[int] = field(default_factory=list)
    threshold: list[float] = field(default_factory=list)
    missing_left: list[bool] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    set_start: list[int] = field(default_factory=list)
    set_size: list[int] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    value: list[Sequence[float]] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.feature)

    def leaf(self, value: Sequence[float]) -> None:
        """Add a node that answers; it leads to itself."""
        at = len(self)
        self._add(0, np.inf, True, at, at, (), value)

    def split(self, feature: int, threshold: float, missing_left: bool, left: int, right: int) -> None:
        """Add a node that leads left where a feature is at most so much."""
        self._add(feature, threshold, missing_left, left, right, (), [0.0] * self.width)

    def choose(self, feature: int, words: Sequence[int], left: int, right: int) -> None:
        """Add a node that leads left where a category is in a set: bit c of the words, 32 each, is category c."""
        self._add(feature, np.inf, False, left, right, words or (0,), [0.0] * self.width)

    def _add(
        self,
        feature: int,
        threshold: float,
        missing_left: bool,
        left: int,
        right: int,
        words: Sequence[int],
        value: Sequence[float],
    ) -> None:
        self.feature.append(feature)
        self.threshold.append(threshold)
        self.missing_left.append(missing_left)
        self.left.append(left)
        self.right.append(right)
        self.set_start.append(len(self.words))
        self.set_size.append(len(words))
        self.words += words
        self.value.append(value)

    def tensors(self) -> dict[str, Tensor]:
        """What `Trees` takes."""
        numbers = {name: getattr(self, name) for name in ("feature", "left", "right", "set_start", "set_size", "roots")}
        return {
            **{name: torch.tensor(values, dtype=torch.int64) for name, values in numbers.items()},
            "words": torch.tensor(self.words or [0], dtype=torch.int64),
            "threshold": torch.from_numpy(rounded_down(np.array(self.threshold, dtype=np.float64))),
            "missing_left": torch.tensor(self.missing_left),
            "value": torch.tensor(self.value, dtype=torch.float32).reshape(-1, self.width),
        }


def rounded_down(thresholds: np.ndarray) -> np.ndarray:
    """The largest float32 that is no larger: a float32 is at most the one exactly where it is at most the other."""
    nearest = thresholds.astype(np.float32)
    return np.where(nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest)


class Trees(nn.Module):
    """The sum of what trees say: numeric: [batch, numbers], categories: [batch, categories] -> [batch, outputs].

    Features are the numbers, then the categories' codes. Of several groups, tree t adds to group t modulo groups.

    Args:
        groups: how many sums there are, of `width` outputs each.
        width: numbers that a leaf gives.
        zero_first: put an output before these that is always 0, as the first of two classes whose log odds are summed.
    """

    feature: Tensor
    threshold: Tensor
    missing_left: Tensor
    left: Tensor
    right: Tensor
    set_start: Tensor
    set_size: Tensor
    words: Tensor
    value: Tensor
    roots: Tensor

    def __init__(self, groups: int, width: int, zero_first: bool) -> None:
        super().__init__()
        self.groups, self.width, self.zero_first = groups, width, zero_first
        grower = Grower(width)
        for at in range(groups):  # until something is put in, trees of one leaf that says nothing
            grower.roots.append(at)
            grower.leaf([0.0] * width)
        for name, values in grower.tensors().items():
            self.register_buffer(name, values)
        self._look()

    def put(self, tensors: dict[str, Tensor]) -> None:
        """Take on other trees."""
        device = self.value.device
        for name, values in tensors.items():
            setattr(self, name, values.to(device))
        self._look()

    def _look(self) -> None:
        """See how deep the trees are, and whether any asks for sets of categories."""
        left, right, at = (values.cpu().numpy() for values in (self.left, self.right, self.roots))
        self.depth = 0
        while True:
            at = at[left[at] != at]
            if not len(at):
                break
            at = np.concatenate([left[at], right[at]])
            self.depth += 1
        self.asks_sets = bool((self.set_size > 0).any())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """Take trees of any number and size: how many there are is known only once they are grown."""
        found = {name: state_dict.get(prefix + name) for name in self._buffers}
        self.put({name: values for name, values in found.items() if values is not None})
        super()._load_from_state_dict(state_dict, prefix, *others)

    def forward(self, numeric: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        parts = [] if numeric is None else [numeric.float()]
        if categories is not None:
            parts.append(categories.float())  # exact for up to 16 million codes
        features = torch.cat(parts, dim=1)
        at = self.roots.expand(len(features), -1)
        for _ in range(self.depth):
            seen = features.gather(1, self.feature[at])
            left = torch.where(seen.isnan(), self.missing_left[at], seen <= self.threshold[at])
            if self.asks_sets:
                size = self.set_size[at]
                left = torch.where(size > 0, self._in_set(seen, at, size), left)
            at = torch.where(left, self.left[at], self.right[at])
        said = self.value[at].reshape(len(features), -1, self.groups, self.width)  # [batch, rounds, groups, width]
        sums = said.sum(dim=1).flatten(1)
        return torch.cat([torch.zeros_like(sums[:, :1]), sums], dim=1) if self.zero_first else sums

    def _in_set(self, seen: Tensor, at: Tensor, size: Tensor) -> Tensor:
        """Whether categories are in the sets of nodes, [batch, trees]."""
        code = seen.nan_to_num(-1.0).long()
        word = torch.div(code, WORD, rounding_mode="floor")
        there = (code >= 0) & (word < size)
        found = self.words[torch.where(there, self.set_start[at] + word, 0)]
        return there & ((found >> (code % WORD)) & 1).bool()
