"""Nested state (an optimizer's, a scaler's) as named tensors and plain JSON, restored to the same bits.

Dicts, lists, numbers, strings, None and tensors are allowed. In the JSON a tensor is replaced by its name.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from danlu.errors import ArtifactError

if TYPE_CHECKING:
    from torch import Tensor

TENSOR, ITEMS = "tensor", "pairs"  # a dict becomes {"pairs": …}, so that {"tensor": …} can mean nothing else


def flatten_state(tree: Any, name: str = "") -> "tuple[dict[str, Tensor], Any]":
    """Flatten a state into tensors by path and plain JSON that refers to them.

    Raises:
        TypeError: the state holds something that is neither a tensor nor plain.
    """
    import torch

    tensors: dict[str, Tensor] = {}

    def plain(value: Any, path: str) -> Any:
        if isinstance(value, torch.Tensor):
            tensors[path] = value.detach()
            return {TENSOR: path}
        if isinstance(value, dict):
            return {ITEMS: [[key, plain(inner, f"{path}/{key}")] for key, inner in value.items()]}
        if isinstance(value, list | tuple):
            return [plain(inner, f"{path}/{index}") for index, inner in enumerate(value)]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"{path or 'the state'}: a {type(value).__name__} cannot be stored as plain data")

    rest = plain(tree, name)
    return tensors, rest


def merge_states(one: Any, other: Any) -> Any:
    """Merge two JSON results of `flatten_state`; dicts are merged, the first plain value wins."""
    if not (isinstance(one, dict) and isinstance(other, dict) and ITEMS in one and ITEMS in other):
        return one
    theirs = dict(map(tuple, other[ITEMS]))
    own = [[key, merge_states(value, theirs.pop(key)) if key in theirs else value] for key, value in one[ITEMS]]
    return {ITEMS: [*own, *([key, value] for key, value in theirs.items())]}


def unflatten_state(tensors: "Mapping[str, Tensor]", rest: Any) -> Any:
    """Rebuild the state that `flatten_state` took apart; tuples come back as lists.

    Raises:
        ArtifactError: a tensor is missing.
    """
    if isinstance(rest, dict) and TENSOR in rest:
        if rest[TENSOR] not in tensors:
            raise ArtifactError(f"the state lacks the tensor {rest[TENSOR]!r}; the file is damaged", code="DL303")
        return tensors[rest[TENSOR]]
    if isinstance(rest, dict):
        return {key: unflatten_state(tensors, value) for key, value in rest[ITEMS]}
    if isinstance(rest, list):
        return [unflatten_state(tensors, value) for value in rest]
    return rest
