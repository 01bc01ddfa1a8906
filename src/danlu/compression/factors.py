"""Split layers by truncated SVD, at ranks that keep a share of the energy or of the parameters."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from danlu.compression.base import Candidate, Material
from danlu.experiment.model_summary import count_parameters
from danlu.models.structure import Convolution, can_be_split, empty_pair, matrix_of, replace_module


@dataclass(frozen=True)
class Factors:
    """Hold a layer's matrix [outputs, inputs] by its singular values.

    Attributes:
        left: [outputs, n].
        values: [n], the largest first.
        right: [n, inputs].
    """

    left: Tensor
    values: Tensor
    right: Tensor

    @classmethod
    def of(cls, layer: nn.Module) -> "Factors":
        """Return the factors of a layer's weights."""
        return cls(*torch.linalg.svd(matrix_of(layer).double(), full_matrices=False))

    @property
    def energies(self) -> Tensor:
        """Share of each singular value in the sum of squares, [n]."""
        squares: Tensor = self.values**2
        return squares / squares.sum().clamp_min(torch.finfo(torch.float64).tiny)

    @property
    def cost(self) -> int:
        """Parameters that each rank takes."""
        return len(self.left) + self.right.shape[1]

    @property
    def whole(self) -> int:
        """Parameters of the layer before it is split."""
        return len(self.left) * self.right.shape[1]


def splittable(network: nn.Module) -> dict[str, nn.Module]:
    """Return the layers that can be split, by name.

    Those whose weights another one shares are left out.
    """
    owners: dict[int, int] = {}
    for layer in network.modules():
        weight = getattr(layer, "weight", None)
        if isinstance(weight, nn.Parameter):
            owners[id(weight)] = owners.get(id(weight), 0) + 1
    return {
        name: layer
        for name, layer in network.named_modules()
        if name and can_be_split(layer) and owners[id(layer.weight)] == 1
    }


def split_by_energy(candidate: Candidate, energy: float, material: Material) -> tuple[Candidate, str]:
    """Split layers at the lowest ranks that keep a share of their energy.

    A layer that would not become smaller stays whole.
    """
    factors = {name: Factors.of(layer) for name, layer in splittable(candidate.network).items()}
    ranks = {name: rank_for(each.energies, energy) for name, each in factors.items()}
    return _split(candidate, factors, ranks, material)


def rank_for(energies: Tensor, energy: float) -> int:
    """Return the lowest rank whose singular values have a share of the energy."""
    if energy >= 1:
        return len(energies)
    reached = energies.cumsum(0)
    return min(len(energies), int(torch.searchsorted(reached, torch.tensor(energy, dtype=reached.dtype))) + 1)


def split_to_parameters(candidate: Candidate, share: float, material: Material) -> tuple[Candidate, str]:
    """Split layers so that they keep a share of their parameters.

    Those are kept that tell most of their layer's energy.
    """
    factors = {name: Factors.of(layer) for name, layer in splittable(candidate.network).items()}
    budget = share * sum(each.whole for each in factors.values())
    gains = sorted(((-float(energy) / each.cost, name) for name, each in factors.items() for energy in each.energies))
    ranks = dict.fromkeys(factors, 1)
    budget -= sum(each.cost for each in factors.values())
    seen = dict.fromkeys(factors, 0)
    for _, name in gains:
        seen[name] += 1
        if seen[name] <= ranks[name] or budget < factors[name].cost:
            continue
        ranks[name] += 1
        budget -= factors[name].cost
    return _split(candidate, factors, ranks, material)


def _split(
    candidate: Candidate, factors: dict[str, Factors], ranks: dict[str, int], material: Material
) -> tuple[Candidate, str]:
    smaller = {name: rank for name, rank in ranks.items() if rank * factors[name].cost < factors[name].whole}
    if not smaller:
        return candidate, "no layer would become smaller by being split; the network stays as it is"
    network = deepcopy(candidate.network)
    before = count_parameters(network)
    for name, rank in smaller.items():
        replace_module(network, name, split_layer(network.get_submodule(name), factors[name], rank))
    after = count_parameters(network)
    note = f"{len(smaller)} of {len(factors)} layers were split; {after:,} of {before:,} parameters are left"
    return candidate.resized(network, material, smaller), note


@torch.no_grad()
def split_layer(layer: Any, factors: Factors, rank: int) -> nn.Sequential:
    """Return two layers in a row that stand for one at a rank.

    Singular values go half to each.
    """
    pair = empty_pair(layer, rank)
    root = factors.values[:rank].sqrt()
    first, second = root[:, None] * factors.right[:rank], factors.left[:, :rank] * root
    weights: tuple[Any, Any] = (pair[0].weight, pair[1].weight)
    for weight, found in zip(weights, (first, second), strict=True):
        weight.copy_(found.reshape(weight.shape))
    if layer.bias is not None:
        bias: Any = pair[1].bias
        bias.copy_(layer.bias)
    weight = layer.weight
    if isinstance(layer, Convolution) and weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last):
        pair = pair.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return pair.to(weight.device)
