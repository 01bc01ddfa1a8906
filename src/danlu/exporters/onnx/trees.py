"""Trees as one node of ONNX, `TreeEnsemble`, from danlu's own arrays.

Sets of categories and missing values go where danlu sends them. Leaves, numbered apart from the nodes, hold one output
each; a tree whose leaves hold several is written once an output.
"""

from typing import Any

import numpy as np

from danlu.exporters.onnx.graph import ML, GraphBuilder
from danlu.models.tabular.tree_arrays import BITS_PER_WORD
from danlu.models.tabular.tree_ensemble import TreeEnsemble

AT_MOST, IN_SET = 0, 6  # modes of a node
SUM, NO_TRANSFORM = 1, 0


def add_trees(builder: GraphBuilder, network: TreeEnsemble, numeric: str | None, categories: str | None) -> str:
    """Add trees to a graph, and return the name of their logits, [batch, outputs] float32.

    Args:
        builder: of the graph.
        network: the trees.
        numeric, categories: prepared inputs, if there are any.
    """
    parts = [numeric] if numeric is not None else []
    if categories is not None:
        parts.append(builder.cast(categories, "float32"))
    features = builder.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
    return builder.add("TreeEnsemble", features, domain=ML, output="scores", **tree_attributes(network))


def tree_attributes(network: TreeEnsemble) -> dict[str, Any]:
    """Return the attributes of `TreeEnsemble`, version 5."""
    from onnx import numpy_helper

    arrays = {name: values.cpu().numpy() for name, values in network.state_dict().items()}
    written, zeros = _Written(), int(network.zero_first)  # no leaf adds to the output that is 0
    for tree, root in enumerate(arrays["roots"].tolist()):
        group = tree % network.groups
        for output in range(network.width):
            written.add_tree(arrays, root, output, zeros + group * network.width + output)
    return {
        "n_targets": zeros + network.groups * network.width,
        "aggregate_function": SUM,
        "post_transform": NO_TRANSFORM,
        "tree_roots": written.roots,
        "nodes_featureids": written.features,
        "nodes_modes": numpy_helper.from_array(np.array(written.modes, dtype=np.uint8)),
        "nodes_splits": numpy_helper.from_array(np.array(written.splits, dtype=np.float32)),
        "nodes_missing_value_tracks_true": written.missing_true,
        "nodes_truenodeids": written.true,
        "nodes_trueleafs": written.true_is_leaf,
        "nodes_falsenodeids": written.false,
        "nodes_falseleafs": written.false_is_leaf,
        "leaf_targetids": written.targets,
        "leaf_weights": numpy_helper.from_array(np.array(written.weights, dtype=np.float32)),
        **(
            {"membership_values": numpy_helper.from_array(np.array(written.members, dtype=np.float32))}
            if written.members
            else {}
        ),
    }


class _Written:
    """Collect nodes and leaves, each numbered in its order."""

    def __init__(self) -> None:
        self.roots: list[int] = []
        self.features: list[int] = []
        self.modes: list[int] = []
        self.splits: list[float] = []
        self.missing_true: list[int] = []
        self.true: list[int] = []
        self.true_is_leaf: list[int] = []
        self.false: list[int] = []
        self.false_is_leaf: list[int] = []
        self.targets: list[int] = []
        self.weights: list[float] = []
        self.members: list[float] = []

    def add_tree(self, arrays: dict[str, np.ndarray], root: int, output: int, target: int) -> None:
        """Add a tree's nodes in depth-first order, with one output of its leaves."""
        self.roots.append(len(self.features))
        left, right = arrays["left"], arrays["right"]

        def leaf(node: int) -> int:
            self.targets.append(target)
            self.weights.append(float(arrays["value"][node, output]))
            return len(self.weights) - 1

        if left[root] == root:  # a tree of one leaf: a node that leads there either way
            at = self._add_node(0, AT_MOST, np.inf, True)
            only = leaf(root)
            self._connect(at, True, only, True)
            self._connect(at, False, only, True)
            return
        waiting = [(root, -1, True)]
        while waiting:
            node, parent, is_true = waiting.pop()
            is_leaf = bool(left[node] == node)
            at = leaf(node) if is_leaf else self._add_split(arrays, node)
            if parent >= 0:
                self._connect(parent, is_true, at, is_leaf)
            if not is_leaf:
                waiting += [(int(right[node]), at, False), (int(left[node]), at, True)]

    def _add_split(self, arrays: dict[str, np.ndarray], node: int) -> int:
        feature, size = int(arrays["feature"][node]), int(arrays["set_size"][node])
        if not size:
            missing = bool(arrays["missing_left"][node])
            return self._add_node(feature, AT_MOST, float(arrays["threshold"][node]), missing)
        start = int(arrays["set_start"][node])
        codes = codes_in(arrays["words"][start : start + size])
        if not codes:  # no value goes left
            return self._add_node(feature, AT_MOST, -np.inf, False)
        self.members += [*map(float, codes), np.nan]
        return self._add_node(feature, IN_SET, 0.0, False)

    def _add_node(self, feature: int, mode: int, split: float, missing_true: bool) -> int:
        self.features.append(feature)
        self.modes.append(mode)
        self.splits.append(split)
        self.missing_true.append(int(missing_true))
        for ids, leaves in ((self.true, self.true_is_leaf), (self.false, self.false_is_leaf)):
            ids.append(0)
            leaves.append(0)
        return len(self.features) - 1

    def _connect(self, parent: int, is_true: bool, child: int, is_leaf: bool) -> None:
        ids, leaves = (self.true, self.true_is_leaf) if is_true else (self.false, self.false_is_leaf)
        ids[parent], leaves[parent] = child, int(is_leaf)


def codes_in(words: np.ndarray) -> list[int]:
    """Return the category codes in a bit set of 32-bit words."""
    return [
        at * BITS_PER_WORD + bit
        for at, word in enumerate(words.tolist())
        for bit in range(BITS_PER_WORD)
        if word >> bit & 1
    ]
