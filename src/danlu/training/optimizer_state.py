"""An optimizer's state keyed by parameter names instead of numbers, so that it fits any parallel layout.

Numbers depend on which parameters a process has; a name is the same in every layout.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from danlu.artifacts.tensors import StoredTensors
from danlu.core.distributed.shards import dtensor_like, is_dtensor, shard_of, to_local

STATE = "/state/"  # prefix of the path to a tensor of a weight's state, as `artifacts.trees` writes it
NOT_SAVED = ("params", "names", "roles")  # of a group: which weights it has, which a checkpoint need not store


def named_state_dict(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Any]:
    """Return the optimizer's state dict keyed by parameter name, its groups without parameter lists."""
    state, names, weights = optimizer.state_dict(), _param_names(optimizer, model), dict(model.named_parameters())
    return {
        "state": {
            names[number]: _as_dtensors(values, weights[names[number]]) for number, values in state["state"].items()
        },
        "param_groups": [
            {key: value for key, value in group.items() if key not in NOT_SAVED} for group in state["param_groups"]
        ],
    }


def load_named_state_dict(optimizer: torch.optim.Optimizer, model: nn.Module, state: dict[str, Any]) -> None:
    """Load a state dict made by `named_state_dict`; ignore parameters this process does not have."""
    own, names = optimizer.state_dict(), _param_names(optimizer, model)
    numbered = {number: state["state"][name] for number, name in names.items() if name in state["state"]}
    groups = [
        {**group, **_matching_group(group, number, state["param_groups"])}
        for number, group in enumerate(own["param_groups"])
    ]
    optimizer.load_state_dict({**own, "state": numbered, "param_groups": groups})


def _as_dtensors(values: Any, weight: Tensor) -> Any:
    """Wrap state tensors shaped like this process's shard as DTensors."""
    if not is_dtensor(weight):
        return values
    if isinstance(values, dict):
        return {key: _as_dtensors(value, weight) for key, value in values.items()}
    alike = isinstance(values, Tensor) and values.shape == to_local(weight).shape
    return dtensor_like(values, weight) if alike else values


def _matching_group(group: dict[str, Any], number: int, saved: list[dict[str, Any]]) -> dict[str, Any]:
    """Find the saved options of a group: by position, else by decay and scale.

    Other processes may have had other groups, so the position alone does not decide.
    """
    keys = ("weight_decay", "lr_scale")
    if number < len(saved) and all(saved[number].get(key) == group.get(key) for key in keys):
        return saved[number]
    return next((other for other in saved if all(other.get(key) == group.get(key) for key in keys)), {})


def _param_names(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[int, str]:
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
        if weight is None or not is_dtensor(weight) or self.stored.shape(path) != tuple(weight.shape):
            return self.stored[path]
        return read_local_shard(weight, self.stored, path)


def read_local_shard(weight: Tensor, stored: StoredTensors, name: str) -> Tensor:
    """Read a stored tensor, or the shard of it that this process holds of `weight`."""
    if not is_dtensor(weight):
        return stored[name]
    piece = shard_of(weight)
    return stored.read_slice(name, piece.offset, piece.shape)
