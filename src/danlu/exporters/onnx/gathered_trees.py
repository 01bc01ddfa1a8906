"""Trees for engines without an operator for them: torch's walk from node to node, its sets of categories as a table.

Bit sets of 32 bits do not fit into the 32-bit numbers with signs of some engines.
"""

from copy import deepcopy

import numpy as np
import torch
from torch import Tensor

from danlu.exporters.onnx.trees import codes_in
from danlu.models.tabular.tree_arrays import BITS_PER_WORD
from danlu.models.tabular.tree_ensemble import TreeEnsemble


class GatheredTrees(TreeEnsemble):
    """Look sets of categories up in a table of nodes and codes.

    Args:
        trees: whose answers these give.
    """

    held: Tensor
    row: Tensor

    def __init__(self, trees: TreeEnsemble) -> None:
        super().__init__(trees.groups, trees.width, trees.zero_first)
        arrays = {name: values.cpu().numpy() for name, values in deepcopy(trees).state_dict().items()}
        self.set_trees(arrays)
        with_set = np.flatnonzero(arrays["set_size"])
        codes = int(arrays["set_size"].max(initial=0)) * BITS_PER_WORD
        held = np.zeros((len(with_set) + 1, codes + 1), dtype=np.float32)  # the last column: codes beyond all sets
        row = np.zeros(len(arrays["set_size"]), dtype=np.int64)
        for place, node in enumerate(with_set, start=1):
            start = int(arrays["set_start"][node])
            held[place, codes_in(arrays["words"][start : start + int(arrays["set_size"][node])])] = 1.0
            row[node] = place
        self.register_buffer("held", torch.from_numpy(held), persistent=False)
        self.register_buffer("row", torch.from_numpy(row), persistent=False)

    def contains(self, seen: Tensor, at: Tensor, size: Tensor) -> Tensor:
        """Return whether categories are in the nodes' sets, [batch, trees], without shifting bits."""
        columns = self.held.shape[1]
        code = seen.nan_to_num(-1.0).long()
        code = torch.where((code >= 0) & (code < columns), code, columns - 1)
        return self.held.reshape(-1)[self.row[at] * columns + code] > 0.5
