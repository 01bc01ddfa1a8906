"""An optimizer's state keyed by parameter names instead of numbers, so that it fits any parallel layout.

Numbers depend on which parameters a process has; a name is the same in every layout.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from danlu.artifacts.tensors import StoredTensors
from danlu.core.pieces import held, is_split, piece_like, piece_of

STATE = "/state/"  # prefix of the path to a tensor of a weight's state, as `artifacts.trees` writes it
OWN = ("params", "names", "roles")  # of a group: which weights it has, which a checkpoint need not store


def named_state(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Any]:
    """Return the optimizer's state dict keyed by parameter name, its groups without parameter lists."""
    state, names, weights = optimizer.state_dict(), _names(optimizer, model), dict(model.named_parameters())
    return {
        "state": {
            names[number]: _in_pieces(values, weights[names[number]]) for number, values in state["state"].items()
        },
        "param_groups": [
            {key: value for key, value in group.items() if key not in OWN} for group in state["param_groups"]
        ],
    }


def load_named_state(optimizer: torch.optim.Optimizer, model: nn.Module, state: dict[str, Any]) -> None:
    """Load a state dict made by `named_state_dict`; ignore parameters this process does not have."""
    own, names = optimizer.state_dict(), _names(optimizer, model)
    numbered = {number: state["state"][name] for number, name in names.items() if name in state["state"]}
    groups = [
        {**group, **_alike(group, number, state["param_groups"])} for number, group in enumerate(own["param_groups"])
    ]
    optimizer.load_state_dict({**own, "state": numbered, "param_groups": groups})


def _in_pieces(values: Any, weight: Tensor) -> Any:
    """Wrap state tensors shaped like this process's shard as DTensors."""
    if not is_split(weight):
        return values
    if isinstance(values, dict):
        return {key: _in_pieces(value, weight) for key, value in values.items()}
    alike = isinstance(values, Tensor) and values.shape == held(weight).shape
    return piece_like(values, weight) if alike else values


def _alike(group: dict[str, Any], number: int, saved: list[dict[str, Any]]) -> dict[str, Any]:
    """Find the saved options of a group: by position, else by decay and scale.

    Other processes may have had other groups, so the position alone does not decide.
    """
    keys = ("weight_decay", "lr_scale")
    if number < len(saved) and all(saved[number].get(key) == group.get(key) for key in keys):
        return saved[number]
    return next((other for other in saved if all(other.get(key) == group.get(key) for key in keys)), {})


def _names(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[int, str]:
    names = {id(weight): name for name, weight in model.named_parameters()}
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    return {number: names[id(weight)] for number, weight in enumerate(weights)}


class StateTensors(Mapping[str, Tensor]):
    """Read stored tensors of an optimizer or average by path, sharded like their weights.

    Args:
        stored: tensors as they were written.
        model: its weights tell which shard of a tensor of the same shape is read.
    """

    def __init__(self, stored: StoredTensors, model: nn.Module) -> None:
        self.stored = stored
        self.weights = dict(model.named_parameters())

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, path: str) -> Tensor:
        name = path.split("/")[2] if path.count("/") > 1 else ""
        weight = self.weights.get(name)
        if weight is None or not is_split(weight) or self.stored.shape(path) != tuple(weight.shape):
            return self.stored[path]
        return stored_like(weight, self.stored, path)


def stored_like(weight: Tensor, stored: StoredTensors, name: str) -> Tensor:
    """Read a stored tensor, or the shard of it that this process holds of `weight`."""
    if not is_split(weight):
        return stored[name]
    piece = piece_of(weight)
    return stored.part(name, piece.offset, piece.shape)
