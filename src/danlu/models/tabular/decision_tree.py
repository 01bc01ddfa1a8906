"""A decision tree: fitted by scikit-learn one level at a time, kept as arrays, shown as rules."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from torch import nn

from danlu.models.base import FitData, Rows
from danlu.models.tabular.tree_arrays import BITS_PER_WORD, TreeBuilder
from danlu.models.tabular.tree_ensemble import TreeEnsemble
from danlu.tasks.base import Target

if TYPE_CHECKING:
    from danlu.data.tabular.preprocessor import TabularPreprocessor

NO_NODE = -1  # scikit-learn's id for the children of a leaf
MAX_CODES = 64  # codes per categorical column that splits may test: the most frequent ones
CategorySplit = tuple[int, int]  # position of a categorical column, and one of its codes


class TreeFit:
    """Fit trees of increasing depth; upper levels do not change with depth.

    Args:
        data: training and validation rows.
        depth: maximum depth.
        leaf_rows: fewest training rows per leaf.
    """

    def __init__(self, data: FitData, depth: int, leaf_rows: int) -> None:
        self.data, self.depth, self.leaf_rows = data, depth, leaf_rows
        self.network = TreeEnsemble(groups=1, width=data.outputs, zero_first=False)
        self.category_splits = frequent_category_splits(data.train.codes)
        self.estimators: list[Any] = []

    def iter_rounds(self) -> Iterator[float]:
        import torch

        from danlu.tasks.loss_weighting import LossWeighting

        data, features = self.data, one_hot(self.data.train, self.category_splits)
        for depth in range(1, self.depth + 1):
            tree = self._estimator(depth).fit(features, data.train.target, sample_weight=data.sample_weights)
            if self.estimators and tree.tree_.node_count == self.estimators[-1].tree_.node_count:
                return
            self.estimators.append(tree)
            self.load_rounds_into(self.network, depth)
            logits = torch.from_numpy(_predict(self.network, data.train))
            loss, count = data.loss(logits, torch.from_numpy(data.train.target), LossWeighting())
            yield float(loss) / count

    def _estimator(self, depth: int) -> Any:
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

        kind = DecisionTreeClassifier if self.data.outputs > 1 else DecisionTreeRegressor
        seed = self.data.seed.derive("tree").value % 2**32
        return kind(max_depth=depth, min_samples_leaf=self.leaf_rows, random_state=seed)

    def validation_scores(self) -> np.ndarray:
        return _predict(self.network, self.data.validation)

    def load_rounds_into(self, network: nn.Module, num_rounds: int) -> None:
        assert isinstance(network, TreeEnsemble)
        network.set_trees(_tree_builder(self.estimators[num_rounds - 1], self.data, self.category_splits).to_arrays())


def frequent_category_splits(codes: np.ndarray) -> list[CategorySplit]:
    """Return the most frequent codes of each column of [rows, categories]."""
    found: list[CategorySplit] = []
    for at in range(codes.shape[1]):
        counts = np.bincount(codes[:, at])
        most = np.argsort(-counts, kind="stable")[:MAX_CODES]
        found += [(at, int(code)) for code in np.sort(most[counts[most] > 0])]
    return found


def one_hot(rows: Rows, category_splits: list[CategorySplit]) -> np.ndarray:
    """Concatenate numbers and one indicator per category split, [rows, features] float32."""
    ones = np.empty((len(rows.codes), len(category_splits)), dtype=np.float32)
    for column, (at, code) in enumerate(category_splits):
        ones[:, column] = rows.codes[:, at] == code
    return np.concatenate([rows.numeric, ones], axis=1)


def _predict(network: TreeEnsemble, rows: Rows) -> np.ndarray:
    """Predict rows, [rows, outputs]."""
    import torch

    with torch.inference_mode():
        numeric = torch.from_numpy(rows.numeric) if rows.numeric.shape[1] else None
        codes = torch.from_numpy(rows.codes) if rows.codes.shape[1] else None
        return np.asarray(network(numeric, codes))


def _tree_builder(estimator: Any, data: FitData, category_splits: list[CategorySplit]) -> TreeBuilder:
    """Convert a scikit-learn tree; indicator splits become sets of one code."""
    tree, builder = estimator.tree_, TreeBuilder(data.outputs)
    numbers = data.inputs.numeric
    values = _leaf_values(tree, data.outputs)
    builder.roots.append(0)
    for node in range(tree.node_count):
        left, right, feature = int(tree.children_left[node]), int(tree.children_right[node]), int(tree.feature[node])
        if left == NO_NODE:
            builder.add_leaf(values[node].tolist())
        elif feature < numbers:
            missing_left = bool(tree.missing_go_to_left[node])
            builder.add_split(feature, float(tree.threshold[node]), missing_left, left, right)
        else:
            category, code = category_splits[feature - numbers]
            words = [0] * (code // BITS_PER_WORD) + [1 << (code % BITS_PER_WORD)]
            builder.add_category_split(
                numbers + category, words, right, left
            )  # indicator <= 0.5 goes left: another category
    return builder


def _leaf_values(tree: Any, outputs: int) -> np.ndarray:
    """Return means (regression) or log class frequencies (classification), [nodes, outputs].

    One extra row with the overall class frequencies keeps frequencies above 0.
    """
    if outputs == 1:
        return np.asarray(tree.value[:, 0, :1])
    counts = tree.value[:, 0, :] * tree.weighted_n_node_samples[:, None]
    shares = np.zeros((tree.node_count, outputs))
    shares[:, : counts.shape[1]] = counts
    whole = (shares[0] + 1 / outputs) / (shares[0].sum() + 1)
    return np.asarray(np.log((shares + whole) / (shares.sum(axis=1, keepdims=True) + 1)))


def extract_rules(network: TreeEnsemble, preprocessor: "TabularPreprocessor", target: Target) -> pl.DataFrame:
    """Return one rule per leaf, as described in `Tree.read`."""
    found: list[tuple[str, np.ndarray]] = []
    nodes = {name: values.cpu().numpy() for name, values in network.state_dict().items()}

    def walk(node: int, conditions: tuple[str, ...]) -> None:
        left, right = int(nodes["left"][node]), int(nodes["right"][node])
        if left == node:
            found.append((" and ".join(conditions) or "always", nodes["value"][node]))
            return
        yes, no = _condition(node, nodes, preprocessor)
        walk(left, (*conditions, yes))
        walk(right, (*conditions, no))

    walk(int(nodes["roots"][0]), ())
    words, values = [rule for rule, _ in found], np.stack([value for _, value in found])
    return pl.DataFrame({"rule": words}).hstack(target.decode_scores(values))


def _condition(node: int, nodes: dict[str, np.ndarray], preprocessor: "TabularPreprocessor") -> tuple[str, str]:
    """Return a node's condition for its left branch and for its right branch."""
    feature, numbers = int(nodes["feature"][node]), preprocessor.inputs.numeric
    if nodes["set_size"][node]:
        category = preprocessor.embedded[feature - numbers]
        start = int(nodes["set_start"][node])
        words = nodes["words"][start : start + int(nodes["set_size"][node])]
        named = [name for code, name in enumerate(category.names) if _contains(words, code)]
        return f"{category.column} is {' or '.join(named)}", f"{category.column} is not {' or '.join(named)}"
    place = float(preprocessor.to_units(feature, np.array([nodes["threshold"][node]], dtype=np.float64))[0])
    name = preprocessor.names[feature]
    return f"{name} <= {place:.6g}", f"{name} > {place:.6g}"


def _contains(words: np.ndarray, code: int) -> bool:
    return code // BITS_PER_WORD < len(words) and bool(int(words[code // BITS_PER_WORD]) >> (code % BITS_PER_WORD) & 1)
