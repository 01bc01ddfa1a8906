"""Which weights unstructured pruning sets to zero: the lowest scores, over the whole network, a layer, or N of M.

The number of zeros is what was asked for, of the weights that can be pruned: matrices of linear layers and
convolutions. Biases, norms and embeddings stay as they are.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from danlu.models.structure import Convolution, is_transposed_linear

Scores = Mapping[str, Tensor]


def prunable_weights(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the matrices of linear layers and convolutions, by name; of shared ones the first."""
    found: dict[str, nn.Parameter] = {}
    # A head may share the matrix of the embeddings, which are not pruned.
    seen = {id(layer.weight) for layer in network.modules() if isinstance(layer, nn.Embedding)}
    for name, layer in network.named_modules():
        if not (isinstance(layer, nn.Linear | Convolution) or is_transposed_linear(layer)):
            continue
        weight = getattr(layer, "weight", None)
        if isinstance(weight, nn.Parameter) and id(weight) not in seen:
            seen.add(id(weight))
            found[f"{name}.weight" if name else "weight"] = weight
    return found


def embedding_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return the matrices of embeddings, by name."""
    return {
        f"{name}.weight": layer.weight for name, layer in network.named_modules() if isinstance(layer, nn.Embedding)
    }


def transposed_weights(network: nn.Module) -> frozenset[str]:
    """Return the names of matrices [inputs, outputs], which transformers' Conv1D has."""
    return frozenset(f"{name}.weight" for name, layer in network.named_modules() if is_transposed_linear(layer))


def lowest_masks(scores: Scores, amount: float, *, by_layer: bool) -> dict[str, Tensor]:
    """Return masks that are False for a share of the lowest scores.

    Args:
        scores: of each weight, by name; of equal ones the first in order is taken.
        amount: from 0 to 1; the number of zeros is rounded to the nearest.
        by_layer: whether each weight loses that share, else all of them together.
    """
    if by_layer:
        return {name: _lowest(score.flatten(), amount).reshape(score.shape) for name, score in scores.items()}
    if not scores:
        return {}
    flat = _lowest(torch.cat([score.flatten() for score in scores.values()]), amount)
    parts = torch.split(flat, [score.numel() for score in scores.values()])
    return {name: part.reshape(scores[name].shape) for name, part in zip(scores, parts, strict=True)}


def _lowest(scores: Tensor, amount: float) -> Tensor:
    kept = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
    count = round(amount * len(scores))
    kept[torch.argsort(scores, stable=True)[:count]] = False
    return kept


def n_of_m_masks(scores: Scores, kept: int, group: int, transposed: frozenset[str] = frozenset()) -> dict[str, Tensor]:
    """Return masks that keep the highest `kept` scores of each `group` neighbours along the inputs.

    Mishra et al. 2021, https://arxiv.org/abs/2104.08378. Inputs of a convolution are those of one output channel, its
    window included; neighbours at the end that make no whole group stay.

    Args:
        scores: of each weight, by name.
        transposed: names of matrices [inputs, outputs].
    """
    masks: dict[str, Tensor] = {}
    for name, score in scores.items():
        rows = score.T if name in transposed else score.flatten(1)
        whole = rows.shape[1] // group * group
        mask = torch.ones_like(rows, dtype=torch.bool)
        grouped = rows[:, :whole].reshape(len(rows), -1, group)
        order = torch.argsort(grouped, dim=-1, stable=True)
        part = torch.ones_like(grouped, dtype=torch.bool)
        part.scatter_(-1, order[..., : group - kept], False)
        mask[:, :whole] = part.reshape(len(rows), whole)
        masks[name] = mask.T.contiguous() if name in transposed else mask.reshape(score.shape)
    return masks


@torch.no_grad()
def set_to_zero(weights: Mapping[str, nn.Parameter], masks: Mapping[str, Tensor]) -> None:
    """Set the weights to zero where their mask is False, in place."""
    for name, mask in masks.items():
        weights[name].mul_(mask)


def sparsity_of(network: nn.Module) -> float:
    """Return the share of zeros among the weights that can be pruned."""
    weights = prunable_weights(network).values()
    total = sum(weight.numel() for weight in weights)
    return sum(int((weight == 0).sum()) for weight in weights) / total if total else 0.0
