"""Tree ensembles as buffers of a torch module: saved as safetensors, run on any device.

`decision_tree` and `boosting` fit the trees and fill the buffers.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from danlu.models.tabular.tree_arrays import BITS_PER_WORD, TreeBuilder


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
        for name, values in builder.to_arrays().items():
            self.register_buffer(name, torch.from_numpy(values))
        self._update_depth()

    def set_trees(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Replace the trees by those of `TreeBuilder.to_arrays`."""
        device = self.value.device
        for name, values in arrays.items():
            setattr(self, name, torch.from_numpy(values).to(device))
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
        self.set_trees({name: values.cpu().numpy() for name, values in found.items() if values is not None})
        super()._load_from_state_dict(state_dict, prefix, *others)

    def forward(self, numeric: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        parts = [] if numeric is None else [numeric.float()]
        if categories is not None:
            parts.append(categories.float())  # exact for up to 16 million codes
        features = torch.cat(parts, dim=1)
        at = self.roots.expand(features.shape[0], -1)
        for _ in range(self.depth):
            seen = features.gather(1, self.feature[at])
            left = torch.where(seen.isnan(), self.missing_left[at], seen <= self.threshold[at])
            if self.has_category_splits:
                size = self.set_size[at]
                left = torch.where(size > 0, self.contains(seen, at, size), left)
            at = torch.where(left, self.left[at], self.right[at])
        said = self.value[at].reshape(features.shape[0], -1, self.groups, self.width)  # [batch, rounds, groups, width]
        sums = said.sum(dim=1).flatten(1)
        return torch.cat([torch.zeros_like(sums[:, :1]), sums], dim=1) if self.zero_first else sums

    def contains(self, seen: Tensor, at: Tensor, size: Tensor) -> Tensor:
        """Return whether categories are in the nodes' sets, [batch, trees]."""
        code = seen.nan_to_num(-1.0).long()
        word = torch.div(code, BITS_PER_WORD, rounding_mode="floor")
        there = (code >= 0) & (word < size)
        found = self.words[torch.where(there, self.set_start[at] + word, 0)]
        return there & ((found >> (code % BITS_PER_WORD)) & 1).bool()
