"""Remove heads of attention and neurons of the feed-forward layers of transformers, whose blocks are known by name.

Whatever adds to the stream between blocks keeps its width. Following each channel through the graph, as for other
networks, takes minutes for a few blocks here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from danlu.models.structure import is_transposed_linear, set_sizes

# What transformers' models call the layers of attention and of what follows it.
QUERY, KEYS, VALUES = (
    ("query", "q_proj", "q_lin", "q"),
    ("key", "k_proj", "k_lin", "k"),
    ("value", "v_proj", "v_lin", "v"),
)
MIXED = ("o_proj", "out_proj", "out_lin", "o", "dense", "output.dense")
WIDENED = (("gate_proj", "up_proj"), ("fc1",), ("lin1",), ("wi",), ("wi_0", "wi_1"), ("c_fc",), ("intermediate.dense",))
NARROWED = ("down_proj", "fc2", "lin2", "wo", "c_proj", "output.dense")
Score = Callable[[nn.Parameter], Tensor]  # a weight -> what each of its entries is worth
MOST_OF_A_LAYER = 0.9  # so that comparing all layers leaves some of each


@dataclass(frozen=True)
class Group:
    """Hold layers that lose channels together.

    Attributes:
        parts: how many can be removed one by one: neurons, or heads with the queries that share their keys.
        outputs: layers that lose outputs.
        inputs: the layer that loses inputs.
    """

    parts: int
    outputs: tuple[nn.Module, ...]
    inputs: nn.Module

    def values(self, score: Score) -> Tensor:
        """Return what each part is worth, [parts], 1 in the mean."""
        total = torch.zeros(self.parts)
        for layer, is_output in (*((layer, True) for layer in self.outputs), (self.inputs, False)):
            rows = _rows(score(_weight(layer)), layer, is_output)
            total = total + rows.reshape(self.parts, -1).sum(dim=1)
        return total / total.mean().clamp_min(torch.finfo(total.dtype).tiny)

    @torch.no_grad()
    def keep(self, parts: Tensor) -> None:
        """Keep some parts, [kept] in ascending order, in place."""
        for layer in self.outputs:
            _select(layer, parts, self.parts, is_output=True)
        _select(self.inputs, parts, self.parts, is_output=False)


def transformer_config(network: nn.Module) -> Any:
    """Return the configuration of a model of transformers; None for other networks."""
    return getattr(getattr(network, "network", None), "config", None)


def find_groups(network: nn.Module) -> list[Group]:
    """Return the heads and neurons of a transformer of known names; none of other networks."""
    config = transformer_config(network)
    if config is None:
        return []
    heads = int(getattr(config, "num_attention_heads", 0) or 0)
    shared = int(getattr(config, "num_key_value_heads", None) or heads)
    return [*_attention(network, shared), *_feed_forward(network)]


def remove_parts(groups: Sequence[Group], amount: float, score: Score, *, across_layers: bool) -> None:
    """Remove the share `amount` of the parts that are worth least, in place.

    At least one of each group is kept.
    """
    values = [group.values(score) for group in groups]
    limit = _limit(torch.cat(values), amount) if across_layers else None
    for group, worth in zip(groups, values, strict=True):
        count = round(amount * group.parts) if limit is None else int((worth <= limit).sum())
        count = min(count, group.parts - 1, int(MOST_OF_A_LAYER * group.parts))
        if count:
            group.keep(torch.argsort(worth, stable=True)[count:].sort().values)


def _limit(values: Tensor, amount: float) -> float:
    count = round(amount * len(values))
    return float(values.sort().values[count - 1]) if count else float("-inf")


def _attention(network: nn.Module, shared: int) -> Iterator[Group]:
    for name, module in network.named_modules():
        sides = [_child(module, names) for names in (QUERY, KEYS, VALUES)]
        parent = network.get_submodule(name.rpartition(".")[0])
        mixed = _child(module, MIXED) or _child(parent, MIXED)
        layers = [side for side in sides if side is not None]
        if len(layers) == len(sides) and mixed is not None and shared > 1:
            yield Group(shared, tuple(layers), mixed)


def _feed_forward(network: nn.Module) -> Iterator[Group]:
    for module in network.modules():
        for names in WIDENED:
            found = [layer for layer in (_child(module, (name,)) for name in names) if layer is not None]
            narrowed = _child(module, NARROWED)
            if len(found) == len(names) and narrowed is not None:
                width = _rows(_weight(found[0]), found[0], True).shape[0]
                if _rows(_weight(narrowed), narrowed, False).shape[0] == width:
                    yield Group(width, tuple(found), narrowed)


def _child(module: nn.Module, names: Sequence[str]) -> nn.Module | None:
    """Return the first linear layer of these names below a module."""
    for name in names:
        try:
            layer = module.get_submodule(name)
        except AttributeError:
            continue
        if isinstance(layer, nn.Linear) or is_transposed_linear(layer):
            return layer
    return None


def _weight(layer: nn.Module) -> nn.Parameter:
    weight = layer.weight
    assert isinstance(weight, nn.Parameter)
    return weight


def _rows(values: Tensor, layer: nn.Module, is_output: bool) -> Tensor:
    """Return values of a weight with its outputs, or its inputs, in the first dimension."""
    return values if is_output != is_transposed_linear(layer) else values.T


def _select(layer: Any, parts: Tensor, count: int, *, is_output: bool) -> None:
    weight = _weight(layer)
    rows = _rows(weight.detach(), layer, is_output)
    kept = rows.reshape(count, -1, rows.shape[1])[parts].flatten(0, 1)
    changed = _rows(kept, layer, is_output).contiguous()
    layer.weight = nn.Parameter(changed, weight.requires_grad)
    if is_output and layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach().reshape(count, -1)[parts].flatten(), layer.bias.requires_grad)
    set_sizes(layer, tuple(changed.shape))
