"""Remove channels of convolutions, neurons of linear layers and heads of attention, by torch-pruning.

Fang et al. 2023, DepGraph, https://arxiv.org/abs/2301.12900: what depends on a channel is removed with it.
"""

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from danlu.compression.base import Candidate, Material
from danlu.compression.gradients import add_gradients, renew_batch_norms
from danlu.core.imports import require_extra, silence_libraries
from danlu.core.seeds import Seed
from danlu.errors import ArgumentError
from danlu.exporters.ports import network_ports, sample_inputs
from danlu.models.structure import Convolution, structure_of

MOST_OF_A_LAYER = 0.9  # so that comparing all layers leaves some of each


@dataclass(frozen=True)
class Removal:
    """Say which channels are removed.

    Attributes:
        amount: share of the channels.
        by: magnitude, random or taylor.
        across_layers: compare the channels of all layers, not of each by itself.
        rows: training rows that taylor and batch norms look at.
    """

    amount: float
    by: str
    across_layers: bool
    rows: int


def obstacle_to_channels(candidate: Candidate) -> str | None:
    """Return why no channel can be removed from a network; None where it can."""
    if not any(isinstance(layer, nn.Linear | Convolution) for layer in candidate.network.modules()):
        return "it has no linear layer or convolution whose channels could be removed"
    return None


def remove_channels(candidate: Candidate, removal: Removal, material: Material, seed: Seed) -> tuple[Candidate, str]:
    """Remove a share of the channels, and take the statistics of batch norms anew.

    Returns:
        the smaller candidate, and a sentence about it.

    Raises:
        ArgumentError: the network cannot be followed, or nothing of it can be removed.
    """
    require_extra("compress", "removing channels", only=("torch_pruning",))
    network = deepcopy(candidate.network)
    before = _count(network)
    _prune(network, removal, material, seed)
    after = _count(network)
    if before == after:
        raise ArgumentError(
            f"prune: no channel of {candidate.options.name} can be removed: its layers have too few, or all of them "
            "are its input or answer; use what: weights, or a smaller model",
            code="DL409",
        )
    renew_batch_norms(network, material, removal.rows, seed)
    inputs, outputs = material.predictor.preprocessor.inputs, material.predictor.target.outputs
    ranks = dict(candidate.structure.ranks) if candidate.structure is not None else {}
    structure = structure_of(network, candidate.options.build(inputs, outputs), ranks)
    note = f"{after:,} of {before:,} parameters are left"
    return replace(candidate, network=network.eval(), structure=structure), note


def _count(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def _prune(network: nn.Module, removal: Removal, material: Material, seed: Seed) -> None:
    """Remove channels in place."""
    import torch_pruning

    inputs = material.predictor.preprocessor.inputs
    ports, samples = network_ports(inputs), sample_inputs(inputs)
    given = {port.name: values for port, values in zip(ports, samples, strict=True)}
    for weight in network.parameters():
        weight.requires_grad_(weight.is_floating_point())
    importance: Any = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    if removal.by == "taylor":
        importance = torch_pruning.importance.GroupTaylorImportance()
    elif removal.by == "random":
        torch.manual_seed(seed.value)
        importance = torch_pruning.importance.RandomImportance()
    heads = attention_heads(network)
    try:
        with torch.no_grad():
            answer: Any = network(**given)
        with silence_libraries():
            pruner = torch_pruning.pruner.BasePruner(
                network,
                given,
                importance,
                global_pruning=removal.across_layers,
                pruning_ratio=removal.amount,
                max_pruning_ratio=MOST_OF_A_LAYER,
                ignored_layers=_kept_whole(network, answer.shape[-1]),
                num_heads=heads,
                prune_num_heads=bool(heads),
                prune_head_dims=not heads,
                head_pruning_ratio=removal.amount if heads else 0.0,
                forward_fn=_call,
                output_transform=None,
            )
            if removal.by == "taylor":
                add_gradients(network, material, removal.rows, seed)
            pruner.step()
        with torch.no_grad():
            left = network(**given)
        if left.shape != answer.shape:
            raise ArgumentError(
                f"prune: {options_name(network)} would answer {list(left.shape)} in place of {list(answer.shape)}; use "
                "what: weights",
                code="DL409",
            )
    except ArgumentError:
        raise
    except Exception as error:  # networks may do anything, and torch-pruning follows what it knows
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ArgumentError(
            f"prune: torch-pruning cannot follow {options_name(network)}: {reason}; use what: weights",
            code="DL409",
        ) from error
    network.zero_grad(set_to_none=True)


def _call(network: nn.Module, given: dict[str, Any]) -> Any:
    return network(**given)


def options_name(network: nn.Module) -> str:
    """Return a network's class, as a person may know it."""
    return type(getattr(network, "network", network)).__name__


def _kept_whole(network: nn.Module, outputs: int) -> list[nn.Module]:
    """Return the layers of which nothing is removed: those that answer, and embeddings.

    Whatever adds to the embeddings, as blocks of a transformer do, keeps its width with them.
    """
    found: list[nn.Module] = []
    for layer in network.modules():
        is_answer = isinstance(layer, nn.Linear | Convolution) and layer.weight.shape[0] == outputs
        if is_answer or isinstance(layer, nn.Embedding | nn.EmbeddingBag):
            found.append(layer)
    return found


QUERY, KEYS, VALUES = (
    ("query", "q_proj", "q_lin", "q"),
    ("key", "k_proj", "k_lin", "k"),
    ("value", "v_proj", "v_lin", "v"),
)


def attention_heads(network: nn.Module) -> dict[nn.Module, int]:
    """Return the layers that make queries, keys and values of transformers' models, with their number of heads."""
    config: Any = getattr(getattr(network, "network", None), "config", None)
    if config is None:
        return {}
    heads = int(getattr(config, "num_attention_heads", 0) or 0)
    shared = int(getattr(config, "num_key_value_heads", None) or heads)
    found: dict[nn.Module, int] = {}
    for module in network.modules():
        children = dict(module.named_children())
        sides = [next((children[name] for name in names if name in children), None) for names in (QUERY, KEYS, VALUES)]
        if heads and all(isinstance(side, nn.Linear) for side in sides):
            query, keys, values = (side for side in sides if side is not None)
            found |= {query: heads, keys: shared, values: shared}
    return found
