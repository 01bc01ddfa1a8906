"""Tree ensembles as buffers of a torch module: saved as safetensors, run on any device.

`decision_tree` and `boosting` fit the trees and fill the buffers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

BITS_PER_WORD = 32  # category codes per number of a bit set


@dataclass
class TreeBuilder:
    """Collect nodes in order; a node's id is its position.

    Attributes:
        width: outputs per leaf.
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

    def add_leaf(self, value: Sequence[float]) -> None:
        """Add a leaf; its children are the leaf itself."""
        at = len(self)
        self._add_node(0, np.inf, True, at, at, (), value)

    def add_split(self, feature: int, threshold: float, missing_left: bool, left: int, right: int) -> None:
        """Add a node that goes left if a feature is at most the threshold."""
        self._add_node(feature, threshold, missing_left, left, right, (), [0.0] * self.width)

    def add_category_split(self, feature: int, words: Sequence[int], left: int, right: int) -> None:
        """Add a node that goes left if a category is in a set.

        Bit c of the words, 32 bits each, stands for code c.
        """
        self._add_node(feature, np.inf, False, left, right, words or (0,), [0.0] * self.width)

    def _add_node(
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

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the buffers of a `TreeEnsemble`."""
        numbers = {name: getattr(self, name) for name in ("feature", "left", "right", "set_start", "set_size", "roots")}
        return {
            **{name: torch.tensor(values, dtype=torch.int64) for name, values in numbers.items()},
            "words": torch.tensor(self.words or [0], dtype=torch.int64),
            "threshold": torch.from_numpy(round_down_to_float32(np.array(self.threshold, dtype=np.float64))),
            "missing_left": torch.tensor(self.missing_left),
            "value": torch.tensor(self.value, dtype=torch.float32).reshape(-1, self.width),
        }


def round_down_to_float32(thresholds: np.ndarray) -> np.ndarray:
    """Round thresholds down to float32, so that comparisons of float32 values do not change."""
    nearest = thresholds.astype(np.float32)
    return np.where(nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest)


class TreeEnsemble(nn.Module):
    """Sum trees: numeric [batch, numbers], categories [batch, categories] -> [batch, outputs].

    Features are the numbers, then the category codes. With several groups, tree t adds to group t modulo groups.

    Args:
        groups: number of sums, of `width` outputs each.
        width: outputs per leaf.
        zero_first: prepend an output of 0, the first of two classes whose log odds are summed.
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
        builder = TreeBuilder(width)
        for at in range(groups):  # placeholders: trees of a single leaf of 0
            builder.roots.append(at)
            builder.add_leaf([0.0] * width)
        for name, values in builder.to_tensors().items():
            self.register_buffer(name, values)
        self._update_depth()

    def set_trees(self, tensors: dict[str, Tensor]) -> None:
        """Replace the trees."""
        device = self.value.device
        for name, values in tensors.items():
            setattr(self, name, values.to(device))
        self._update_depth()

    def _update_depth(self) -> None:
        """Measure the depth of the trees, and whether any has category splits."""
        left, right, at = (values.cpu().numpy() for values in (self.left, self.right, self.roots))
        self.depth = 0
        while True:
            at = at[left[at] != at]
            if not len(at):
                break
            at = np.concatenate([left[at], right[at]])
            self.depth += 1
        self.has_category_splits = bool((self.set_size > 0).any())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """Load trees of any number and size, which are unknown until they are fitted."""
        found = {name: state_dict.get(prefix + name) for name in self._buffers}
        self.set_trees({name: values for name, values in found.items() if values is not None})
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
            if self.has_category_splits:
                size = self.set_size[at]
                left = torch.where(size > 0, self.contains(seen, at, size), left)
            at = torch.where(left, self.left[at], self.right[at])
        said = self.value[at].reshape(len(features), -1, self.groups, self.width)  # [batch, rounds, groups, width]
        sums = said.sum(dim=1).flatten(1)
        return torch.cat([torch.zeros_like(sums[:, :1]), sums], dim=1) if self.zero_first else sums

    def contains(self, seen: Tensor, at: Tensor, size: Tensor) -> Tensor:
        """Return whether categories are in the nodes' sets, [batch, trees]."""
        code = seen.nan_to_num(-1.0).long()
        word = torch.div(code, BITS_PER_WORD, rounding_mode="floor")
        there = (code >= 0) & (word < size)
        found = self.words[torch.where(there, self.set_start[at] + word, 0)]
        return there & ((found >> (code % BITS_PER_WORD)) & 1).bool()
