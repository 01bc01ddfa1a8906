"""Trees as arrays of nodes, and LightGBM's text file as such arrays; imports neither torch nor LightGBM.

`decision_tree` and `boosting` make them; `tree_ensemble` runs them in torch, `danlu.models.engines` in numpy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from danlu.errors import ArtifactError

BITS_PER_WORD = 32  # category codes per number of a bit set
MODEL_FILE = "lightgbm.txt"
# Bits of a node's decision_type; the two bits above them tell which numbers count as missing.
CATEGORICAL, DEFAULT_LEFT = 1, 2
MISSING_NONE, MISSING_ZERO = 0, 1


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

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the trees as a `TreeEnsemble` keeps them."""
        numbers = {name: getattr(self, name) for name in ("feature", "left", "right", "set_start", "set_size", "roots")}
        return {
            **{name: np.array(values, dtype=np.int64) for name, values in numbers.items()},
            "words": np.array(self.words or [0], dtype=np.int64),
            "threshold": round_down_to_float32(np.array(self.threshold, dtype=np.float64)),
            "missing_left": np.array(self.missing_left, dtype=np.bool_),
            "value": np.array(self.value, dtype=np.float32).reshape(-1, self.width),
        }


def round_down_to_float32(thresholds: np.ndarray) -> np.ndarray:
    """Round thresholds down to float32, so that comparisons of float32 values do not change."""
    with np.errstate(over="ignore"):  # beyond float32 it becomes its largest number
        nearest = thresholds.astype(np.float32)
    return np.where(nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def boosted_groups(outputs: int) -> int:
    """Return the trees of a round: one per class beyond two, else one."""
    return outputs if outputs > 2 else 1


def read_boosted_trees(text: str, groups: int) -> dict[str, np.ndarray]:
    """Read the trees of LightGBM's text file, as `TreeBuilder.to_arrays` gives them.

    Args:
        groups: trees of a round.

    Raises:
        ArtifactError: it is not such a file, or has another number of outputs.
    """
    try:
        header, *trees = text.split("\nTree=")
        per_round = int(_fields(header)["num_tree_per_iteration"])
        builder = TreeBuilder(1)
        for tree in trees:
            _add_tree(builder, _fields(tree))
    except (KeyError, ValueError, IndexError) as error:
        raise ArtifactError(f"{MODEL_FILE}: is not a LightGBM model: {error!r}", code="DL303") from error
    if per_round != groups or not trees or len(trees) % groups:
        raise ArtifactError(
            f"{MODEL_FILE}: has {len(trees)} trees, {per_round} per round; this model has {groups}", code="DL303"
        )
    return builder.to_arrays()


def read_node_counts(text: str) -> np.ndarray:
    """Return how many training rows reached each node of LightGBM's text file, [nodes]."""
    found: list[float] = []
    for tree in text.split("\nTree=")[1:]:
        fields = _fields(tree)
        for name in ("internal_count", "leaf_count"):
            found += [float(value) for value in fields.get(name, "").split()]
        if not fields.get("leaf_count", "").split():  # a tree of a single leaf
            found.append(1.0)
    return np.array(found)


def _fields(lines: str) -> dict[str, str]:
    """Parse `name=value` lines up to the first empty line."""
    block = lines.split("\n\n")[0]
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _add_tree(builder: TreeBuilder, tree: dict[str, str]) -> None:
    """Add a tree; LightGBM numbers leaves separately, as -1, -2, … among children."""

    def numbers(name: str) -> list[float]:
        return [float(value) for value in tree.get(name, "").split()]

    def integers(name: str) -> list[int]:
        return [int(value) for value in tree.get(name, "").split()]

    if int(tree.get("is_linear", 0)):
        raise ValueError("linear trees")
    first, splits, values = len(builder), int(tree["num_leaves"]) - 1, numbers("leaf_value")
    features, thresholds, kinds = integers("split_feature"), numbers("threshold"), integers("decision_type")
    bounds, words = integers("cat_boundaries"), integers("cat_threshold")
    builder.roots.append(first)

    def child(name: int) -> int:
        return first + (name if name >= 0 else splits - 1 - name)

    for node, (left, right) in enumerate(zip(integers("left_child"), integers("right_child"), strict=True)):
        feature, threshold, kind = features[node], thresholds[node], kinds[node]
        if kind & CATEGORICAL:
            own = words[bounds[int(threshold)] : bounds[int(threshold) + 1]]
            builder.add_category_split(feature, own, child(left), child(right))
            continue
        missing = kind >> 2 & 3
        if missing == MISSING_ZERO:
            raise ValueError("trees that take 0 for missing")
        # If a number was never missing in training, LightGBM treats a missing value as 0.
        missing_left = threshold >= 0 if missing == MISSING_NONE else bool(kind & DEFAULT_LEFT)
        builder.add_split(feature, threshold, missing_left, child(left), child(right))
    for value in values:
        builder.add_leaf([value])
