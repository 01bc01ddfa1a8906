"""Score single weights by what removing them would cost, and set the lowest to zero."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from danlu.compression.base import Material
from danlu.compression.gradients import mean_gradients
from danlu.core.seeds import Seed
from danlu.training.masks import prunable_weights, set_to_zero
from danlu.training.sparsity import ALREADY, choose_masks, weight_scores


def set_lowest_to_zero(
    network: nn.Module, scores: Mapping[str, Tensor], amount: float, *, by_layer: bool, pattern: str | None
) -> None:
    """Set a share of the weights to zero, in place.

    Those that are zero already come first.

    Args:
        network: its linear layers and convolutions are pruned.
        scores: of each weight, by name.
        amount: the share.
        by_layer: whether each weight loses that share, else all of them together.
        pattern: N:M in place of a share.
    """
    weights = prunable_weights(network)
    ranked = {name: score.masked_fill(weights[name] == 0, ALREADY) for name, score in scores.items()}
    set_to_zero(weights, choose_masks(network, ranked, amount, by_layer=by_layer, pattern=pattern))


def score_weights(network: nn.Module, by: str, material: Material, rows: int, seed: Seed) -> dict[str, Tensor]:
    """Return each weight's score: its size, a random number, or its loss.

    taylor is (w dL/dw)^2, Molchanov et al. 2019, https://arxiv.org/abs/1906.10771.
    """
    weights = prunable_weights(network)
    if by != "taylor":
        return weight_scores(weights, by, seed)
    gradients = mean_gradients(network, material, rows, seed)
    return {name: (weight.detach() * gradients[name]) ** 2 for name, weight in weights.items()}


def movement_scores(before: nn.Module, after: nn.Module) -> dict[str, Tensor]:
    """Return how far training moved each weight away from zero: w (w - w before).

    To first order the score of Sanh et al. 2020, https://arxiv.org/abs/2005.07683, which sums -w dL/dw over steps.
    """
    old, new = prunable_weights(before), prunable_weights(after)
    with torch.no_grad():
        return {name: weight.detach() * (weight.detach() - old[name].detach()) for name, weight in new.items()}
