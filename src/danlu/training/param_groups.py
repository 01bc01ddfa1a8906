"""Parameter groups of an optimizer: weight decay, learning rate scale and role of each parameter.

In: a model and numbers. Out: parameter groups as torch's optimizers take them. Knows nothing of optimizers.
"""

import re
from typing import Any, Literal

from torch import nn

from danlu.errors import ArgumentError, DanluError
from danlu.models.task_model import PROJECTION_NAME

Role = Literal["matrix", "embedding", "head", "vector"]
BLOCK = re.compile(r"^(.+?\.\d+)\.")  # the outermost numbered part of a parameter's name: `encoder.layer.3`


def parameter_groups(model: nn.Module, weight_decay: float, layer_decay: float = 1.0) -> list[dict[str, Any]]:
    """Group the trained parameters by weight decay and learning rate scale.

    Biases, norms and all other parameters of fewer than two dimensions do not decay.

    Args:
        model: parameters that require no gradient are left out.
        weight_decay: of all parameters of two dimensions or more.
        layer_decay: factor on the learning rate from each block of layers to the one below it; the head learns at the
            full rate (Clark et al. 2020, ELECTRA, https://arxiv.org/abs/2003.10555; Bao et al. 2022, BEiT,
            https://arxiv.org/abs/2106.08254). 1 treats all alike.

    Returns:
        groups with `params`, `weight_decay`, `lr_scale`, `names` and `roles`; a name and a role for each parameter.

    Raises:
        ArgumentError: a number is out of range.
        DanluError: nothing is to be trained.
    """
    if weight_decay < 0:
        raise ArgumentError(f"weight_decay must not be negative, got {weight_decay}", code="DL507")
    if not 0 < layer_decay <= 1:
        raise ArgumentError(f"layer_decay must be above 0 and at most 1, got {layer_decay}", code="DL507")
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    if not trained:
        raise DanluError("all weights of the model are frozen, so nothing would be trained", code="DL507")
    scales = layer_lr_scales(model, layer_decay) if layer_decay < 1 else dict.fromkeys(trained, 1.0)
    roles = parameter_roles(model)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, value in trained.items():
        decay, scale = weight_decay if value.ndim >= 2 else 0.0, scales[name]
        empty: dict[str, Any] = {"params": [], "weight_decay": decay, "lr_scale": scale, "names": [], "roles": []}
        group = groups.setdefault((decay, scale), empty)
        group["params"].append(value)
        group["names"].append(name)
        group["roles"].append(roles[name])
    return list(groups.values())


def layer_lr_scales(model: nn.Module, layer_decay: float) -> dict[str, float]:
    """Return each parameter's learning rate factor: 1 for the head, powers of `layer_decay` below."""
    depths = layer_depths(model)
    deepest = max(depths.values())
    return {name: layer_decay ** (deepest - depth) for name, depth in depths.items()}


def layer_depths(model: nn.Module) -> dict[str, int]:
    """Count the blocks below each parameter: 0 in the stem, most in the head.

    timm's networks define their blocks. Elsewhere a block is an outermost numbered part of the names
    (`encoder.layer.3`, `model.layers.3`); parameters before the first block belong to the stem, those after the last to
    the head.
    """
    names = [name for name, _ in model.named_parameters()]
    for prefix, network in model.named_modules():
        if hasattr(network, "group_matcher"):
            return _timm_depths(names, prefix, network)
    blocks: dict[str, int] = {}
    depths: dict[str, int | None] = {}
    for name in names:
        block = BLOCK.match(name)
        depths[name] = blocks.setdefault(block[1], len(blocks) + 1) if block else None if blocks else 0
    return {name: len(blocks) + 1 if depth is None else depth for name, depth in depths.items()}


def _timm_depths(names: list[str], prefix: str, network: Any) -> dict[str, int]:
    """Return depths as timm counts them; parameters it does not place belong to the head."""
    from timm.models import group_parameters

    within = f"{prefix}." if prefix else ""
    placed: dict[str, int] = group_parameters(network, network.group_matcher(coarse=False), reverse=True)
    last = max(placed.values())
    return {name: placed.get(name.removeprefix(within), last) for name in names}


def parameter_roles(model: nn.Module) -> dict[str, Role]:
    """Return the role of each parameter in the network.

    `vector`: fewer than two dimensions, norms and biases. `embedding`: looked up or added rather than multiplied with:
    weights of `nn.Embedding`, and parameters in no layer of their own, such as a class token or positions. `head`: the
    last linear layer and any other outside of the numbered blocks with the same number of outputs. `matrix`: all other
    matrices and filters.
    """
    heads = _head_weights(model)
    roles: dict[str, Role] = {}
    for name, value in model.named_parameters():
        owner = model.get_submodule(name.rpartition(".")[0])
        if value.ndim < 2:
            roles[name] = "vector"
        elif name.startswith(f"{PROJECTION_NAME}."):
            roles[name] = "head"  # its outputs are entries of another network's states
        elif isinstance(owner, nn.Embedding | nn.EmbeddingBag) or not name.endswith("weight"):
            roles[name] = "embedding"
        else:
            roles[name] = "head" if name in heads else "matrix"
    return roles


def _head_weights(model: nn.Module) -> set[str]:
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    if not linear:
        return set()
    last = next(reversed(linear))
    outputs = linear[last].out_features
    alike = {name for name, module in linear.items() if module.out_features == outputs and not BLOCK.match(name + ".")}
    return {f"{name}.weight" for name in {last, *alike}}
