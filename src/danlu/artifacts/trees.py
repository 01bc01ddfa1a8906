"""Nested state (an optimizer's, a scaler's) as named tensors and plain JSON, and back to the same bits.

Dicts, lists, numbers, words, None and tensors go in. What stands for a tensor in the JSON is its name.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from danlu.core.errors import ArtifactError

if TYPE_CHECKING:
    from torch import Tensor

TENSOR, PAIRS = "tensor", "pairs"  # a dict becomes {"pairs": …}, so that {"tensor": …} can mean nothing else


def split_tree(tree: Any, name: str = "") -> "tuple[dict[str, Tensor], Any]":
    """The tensors of a tree by the path to each, and the tree with their names in their places.

    Raises:
        TypeError: the tree holds something that is neither a tensor nor plain.
    """
    import torch

    tensors: dict[str, Tensor] = {}

    def plain(value: Any, path: str) -> Any:
        if isinstance(value, torch.Tensor):
            tensors[path] = value.detach()
            return {TENSOR: path}
        if isinstance(value, dict):
            return {PAIRS: [[key, plain(inner, f"{path}/{key}")] for key, inner in value.items()]}
        if isinstance(value, list | tuple):
            return [plain(inner, f"{path}/{index}") for index, inner in enumerate(value)]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"{path or 'the state'}: a {type(value).__name__} cannot be kept as plain data")

    rest = plain(tree, name)
    return tensors, rest


def merged_trees(one: Any, other: Any) -> Any:
    """Two rests of `split_tree` as one; where both have a key its values are merged, and of plain values one stays."""
    if not (isinstance(one, dict) and isinstance(other, dict) and PAIRS in one and PAIRS in other):
        return one
    theirs = dict(map(tuple, other[PAIRS]))
    own = [[key, merged_trees(value, theirs.pop(key)) if key in theirs else value] for key, value in one[PAIRS]]
    return {PAIRS: [*own, *([key, value] for key, value in theirs.items())]}


def join_tree(tensors: "Mapping[str, Tensor]", rest: Any) -> Any:
    """What `split_tree` took apart; tuples come back as lists.

    Raises:
        ArtifactError: a tensor is missing.
    """
    if isinstance(rest, dict) and TENSOR in rest:
        if rest[TENSOR] not in tensors:
            raise ArtifactError(f"the state lacks the tensor {rest[TENSOR]!r}; it was damaged")
        return tensors[rest[TENSOR]]
    if isinstance(rest, dict):
        return {key: join_tree(tensors, value) for key, value in rest[PAIRS]}
    if isinstance(rest, list):
        return [join_tree(tensors, value) for value in rest]
    return rest
