"""An optimizer's state by the names of weights instead of their numbers, so that it fits however weights are held.

Numbers follow from which weights a process has; a name is the same in every layout.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from danlu.artifacts.tensors import StoredTensors
from danlu.core.pieces import held, is_split, piece_like, piece_of

STATE = "/state/"  # what the path to a tensor of a weight's state begins with, as `artifacts.trees` writes it
OWN = ("params", "names", "roles")  # of a group: which weights it has, which a checkpoint need not say


def named_state(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Any]:
    """The state dict with the names of weights for their numbers, its groups without lists of weights."""
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
    """Take up what `named_state` gave; of weights that this process has not, nothing is looked at."""
    own, names = optimizer.state_dict(), _names(optimizer, model)
    numbered = {number: state["state"][name] for number, name in names.items() if name in state["state"]}
    groups = [
        {**group, **_alike(group, number, state["param_groups"])} for number, group in enumerate(own["param_groups"])
    ]
    optimizer.load_state_dict({**own, "state": numbered, "param_groups": groups})


def _in_pieces(values: Any, weight: Tensor) -> Any:
    """A weight's state, in which what is as large as this process's piece of the weight is said to be one too."""
    if not is_split(weight):
        return values
    if isinstance(values, dict):
        return {key: _in_pieces(value, weight) for key, value in values.items()}
    alike = isinstance(values, Tensor) and values.shape == held(weight).shape
    return piece_like(values, weight) if alike else values


def _alike(group: dict[str, Any], number: int, saved: list[dict[str, Any]]) -> dict[str, Any]:
    """The saved options of a group: by its place, or, where other processes had other groups, by what tells it."""
    keys = ("weight_decay", "lr_scale")
    if number < len(saved) and all(saved[number].get(key) == group.get(key) for key in keys):
        return saved[number]
    return next((other for other in saved if all(other.get(key) == group.get(key) for key in keys)), {})


def _names(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[int, str]:
    names = {id(weight): name for name, weight in model.named_parameters()}
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    return {number: names[id(weight)] for number, weight in enumerate(weights)}


class StateTensors(Mapping[str, Tensor]):
    """Stored tensors of an optimizer's state or an average, by path; pieces where this process holds one of the weight.

    Args:
        stored: what was written.
        model: its weights say which piece of a tensor of the same shape is wanted.
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
    """What this process is to hold of a stored tensor that is held as a weight is."""
    if not is_split(weight):
        return stored[name]
    piece = piece_of(weight)
    return stored.part(name, piece.offset, piece.shape)
